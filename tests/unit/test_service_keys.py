"""Keys: who may be disabled and by whom, what a revoked one takes along, what is purged."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from shipway.domain.actor import Role
from shipway.domain.errors import Conflict, Unauthenticated
from shipway.domain.ids import KEY_SECRET_LENGTH, split_key
from shipway.server.app import SystemClock, build_service
from shipway.server.first_key import adopt_key
from shipway.service.keys import IDLE_MS, LINK_MS
from shipway.store.open import open_store
from tests.unit.conftest import World


@pytest.mark.parametrize("name", ["root", "Root"])
def test_nobody_disables_themselves(world: World, name: str) -> None:
    keys = world.service.keys
    with pytest.raises(Conflict, match="only another admin"):
        world.do(lambda tx: keys.set_disabled(tx, world.root, name, is_disabled=True))
    assert world.do(lambda tx: keys.authenticate(tx, world.admin_key)) == world.root


def test_one_admin_disables_another(world: World) -> None:
    other = world.person("zoe", Role.ADMIN)
    keys = world.service.keys
    found = world.do(lambda tx: keys.set_disabled(tx, other, "root", is_disabled=True))
    assert found.is_disabled
    back = world.do(lambda tx: keys.set_disabled(tx, other, "root", is_disabled=False))
    assert not back.is_disabled


def test_a_revoked_key_of_the_embedded_home_is_replaced_by_a_fresh_one(
    world: World, tmp_path: Path
) -> None:
    keys, file = world.service.keys, tmp_path / "key"
    first = f"sw_own-{'0' * KEY_SECRET_LENGTH}"
    file.write_text(first)
    assert world.do(lambda tx: keys.adopt(tx, "root", first)) == first
    assert world.do(lambda tx: keys.adopt(tx, "root", first)) == first
    world.do(lambda tx: keys.revoke(tx, world.root, "own"))
    fresh = world.do(lambda tx: keys.adopt(tx, "root", first))
    assert fresh != first
    assert world.do(lambda tx: keys.authenticate(tx, fresh)).user == "root"
    with pytest.raises(Unauthenticated):
        world.do(lambda tx: keys.authenticate(tx, first))


def test_the_fresh_key_is_written_over_the_revoked_one(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with closing(open_store(f"sqlite:///{tmp_path}/shipway.db", migrate=True)) as store:
        keys = build_service(SystemClock()).keys
        adopt_key(store, keys, file, name="admin")
        first = file.read_text().strip()
        parts = split_key(first)
        assert parts is not None
        store.write(lambda tx: tx.actors.revoke(parts[0], now=1)).result()
        adopt_key(store, keys, file, name="admin")
        fresh = file.read_text().strip()
        assert fresh != first
        assert file.stat().st_mode & 0o777 == 0o600
        with store.read() as tx:
            assert keys.authenticate(tx, fresh).user == "admin"


def test_what_lets_nobody_in_is_purged(world: World) -> None:
    keys = world.service.keys
    idle = world.do(lambda tx: keys.sign_in(tx, world.admin_key))
    link = world.do(lambda tx: keys.make_link(tx, world.root))
    world.clock.advance(LINK_MS)
    assert world.do(keys.purge) == 1
    with pytest.raises(Unauthenticated):
        world.do(lambda tx: keys.take_link(tx, link))
    world.clock.advance(IDLE_MS)
    live = world.do(lambda tx: keys.sign_in(tx, world.admin_key))
    assert world.do(keys.purge) == 1
    assert world.do(keys.purge) == 0
    with pytest.raises(Unauthenticated):
        world.do(lambda tx: keys.session(tx, idle))
    assert world.do(lambda tx: keys.session(tx, live))[0] == world.root
