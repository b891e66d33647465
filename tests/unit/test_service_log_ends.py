"""Logs of items that ended without a report: nothing is missing of what was never written."""

from __future__ import annotations

from tests.unit.conftest import World


def test_the_log_of_an_item_that_was_stopped_before_any_attempt_is_whole(world: World) -> None:
    item = world.add()
    logs = world.service.logs

    def state() -> tuple[bool, bool, int]:
        view = world.do(
            lambda tx: logs.view(tx, world.ann, item.id, name="program", attempt=None, offset=0)
        )
        return view.is_ended, view.is_complete, view.size

    assert state() == (False, False, 0)
    world.do(lambda tx: world.service.items.stop(tx, world.ann, item.id))
    assert state() == (True, True, 0)
