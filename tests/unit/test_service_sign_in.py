"""Signed addresses and sign-in links: who gets in by them, and when nobody does any more."""

from __future__ import annotations

import pytest

from shipway.domain.errors import Unauthenticated
from tests.unit.conftest import World


def test_every_server_of_a_database_signs_with_the_same_key(world: World) -> None:
    sign = world.do(world.service.keys.signing_key)
    assert len(sign) == 32
    assert any(sign)
    world.restart()
    assert world.do(world.service.keys.signing_key) == sign


def test_a_link_of_somebody_disabled_begins_no_session(world: World) -> None:
    keys = world.service.keys
    world.do(lambda tx: keys.create_user(tx, world.root, name="zoe", role="member"))
    text = world.do(lambda tx: keys.create_key(tx, world.root, user="zoe", role=None, label=""))[1]
    zoe = world.do(lambda tx: keys.authenticate(tx, text))
    link = world.do(lambda tx: keys.make_link(tx, zoe))
    world.do(lambda tx: keys.set_disabled(tx, world.root, "zoe", is_disabled=True))
    with pytest.raises(Unauthenticated, match="its user is disabled"):
        world.do(lambda tx: keys.take_link(tx, link))
