"""Blobs of entities: who has stored what, who reads it, and what has to be touched."""

from __future__ import annotations

import pytest

from shipway.domain.errors import Invalid, NotFound
from shipway.domain.ids import Digest
from shipway.service.stored_blobs import check_digest
from tests.unit.conftest import World

DAY_MS = 86_400_000
ONE, TWO = Digest("1" * 64), Digest("2" * 64)


def test_a_blob_is_missing_until_its_entity_stored_it(world: World) -> None:
    blobs = world.service.blobs
    world.do(lambda tx: blobs.admit(tx, world.ann, {ONE: 5}))
    assert world.do(lambda tx: blobs.missing(tx, world.ann, [ONE, TWO])) == [TWO]
    assert world.do(lambda tx: blobs.missing(tx, world.bob, [ONE, TWO])) == [ONE, TWO]
    assert world.do(lambda tx: blobs.missing(tx, world.root, [ONE, TWO], entity="ann")) == [TWO]
    with pytest.raises(NotFound, match="entity 'ann' that you may write to"):
        world.do(lambda tx: blobs.missing(tx, world.bob, [ONE], entity="ann"))


def test_blobs_are_read_by_their_entity_and_by_admins(world: World) -> None:
    blobs = world.service.blobs
    world.do(lambda tx: blobs.admit(tx, world.root, {ONE: 5}, entity="ann"))
    assert world.do(lambda tx: blobs.check_reads(tx, world.ann, [ONE])) == [ONE]
    assert world.do(lambda tx: blobs.check_reads(tx, world.root, [ONE])) == [ONE]
    for who, wanted in ((world.bob, [ONE]), (world.ann, [ONE, TWO])):
        with pytest.raises(NotFound, match=f"there is no blob {wanted[-1]}"):
            world.do(lambda tx: blobs.check_reads(tx, who, wanted))


def test_a_blob_that_was_not_used_for_a_day_is_touched(world: World) -> None:
    blobs = world.service.blobs
    world.do(lambda tx: blobs.admit(tx, world.ann, {ONE: 5}))
    world.clock.advance(DAY_MS)
    assert world.do(lambda tx: blobs.aging(tx, world.ann, [ONE, TWO])) == []
    world.clock.advance(1)
    assert world.do(lambda tx: blobs.aging(tx, world.ann, [ONE, TWO])) == [ONE]
    assert world.do(lambda tx: blobs.aging(tx, world.root, [ONE], entity="ann")) == [ONE]
    assert world.do(lambda tx: blobs.touch(tx, world.ann, [ONE, TWO])) == [TWO]
    assert world.do(lambda tx: blobs.aging(tx, world.ann, [ONE, TWO])) == []


@pytest.mark.parametrize("value", ["", "1" * 63, "A" * 64, 3, None])
def test_a_digest_is_sixty_four_hex_digits(value: object) -> None:
    assert check_digest(ONE) == ONE
    with pytest.raises(Invalid, match="is not a SHA-256 of 64 lower-case hex digits") as refused:
        check_digest(value)
    assert refused.value.details["field"] == "digest"
