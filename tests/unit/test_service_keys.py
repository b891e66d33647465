"""Who may be disabled, and by whom."""

from __future__ import annotations

import pytest

from shipway.domain.actor import Role
from shipway.domain.errors import Conflict
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
