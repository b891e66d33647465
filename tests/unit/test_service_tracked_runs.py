"""Runs whose own clients report: made, changed, streamed, stopped, given up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Forbidden, Invalid, LeaseLost, NotFound
from shipway.domain.ids import ItemId
from shipway.domain.item import Event
from shipway.domain.run import RunState, StreamLine
from shipway.service.runs import RunView
from shipway.service.tracked_runs import SILENT_MS, RunAsk, StreamReport

if TYPE_CHECKING:
    from tests.unit.conftest import World


def made(world: World, **ask: Any) -> RunView:
    """Let ann's client begin a run."""
    asked = RunAsk(**{"project": "demo", "id": "r1", "is_begun": True, **ask})
    return world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, asked))[0]


def now(world: World, actor: Actor | None = None) -> RunView:
    """Return ann's run as it is now."""
    who = actor or world.ann
    return world.do(lambda tx: world.service.tracked.get(tx, who, "ann", "demo", "r1"))


def report(world: World, actor: Actor | None = None, **said: Any) -> RunView:
    """Let a client report on ann's run."""
    who = actor or world.ann

    def work(tx: Any) -> None:
        view = world.service.tracked.get(tx, who, "ann", "demo", "r1")
        world.service.tracked.report(tx, who, view, StreamReport(**said))

    world.do(work)
    return now(world)


def a_job(world: World) -> tuple[Actor, ItemId]:
    """Let a program of ann's run with the run id r1; return what its own key makes it."""
    item_id, _ = world.running(run_id="r1", project="demo")
    return replace(world.ann, role=Role.JOB, item_id=item_id, attempt=1), item_id


def test_a_run_is_made_once_and_changed_afterwards(world: World) -> None:
    first = made(world, facts={"tags": ["a"], "notes": "n"}, config={"lr": 1, "old": 1}, name="one")
    assert (first.state, first.run.facts.tags, first.run.name) == (RunState.RUNNING, ("a",), "one")
    again = made(world, facts={"tags": [], "notes": None}, config={"lr": 2})
    assert (again.run.seq, again.run.name) == (first.run.seq, "one"), "null leaves as it is"
    assert (again.run.facts.tags, again.run.facts.notes) == ((), "n")
    assert again.run.config == {"lr": 2}, "a client sends its whole config"


def test_an_end_comes_with_an_exit_code_and_a_client_that_comes_back_goes_on(world: World) -> None:
    made(world)
    assert report(world, is_complete=True).state is RunState.FINISHED
    assert report(world, is_complete=True, exit_code=2).state is RunState.FAILED
    assert report(world, summary={"x": 1}).state is RunState.RUNNING
    assert report(world, is_complete=True).run.summary == {"x": 1}


def test_a_run_that_nobody_hears_of_has_crashed(world: World) -> None:
    made(world)
    world.pass_time(SILENT_MS - 2_000)
    report(world)
    world.pass_time(SILENT_MS - 2_000)
    assert world.do(world.service.upkeep.give_up_runs) == []
    world.pass_time(4_000)
    assert [run.id for run in world.do(world.service.upkeep.give_up_runs)] == ["r1"]
    assert now(world).state is RunState.CRASHED
    assert report(world).state is RunState.RUNNING, "it was alive after all"


def test_a_server_that_was_away_gives_each_run_a_new_term(world: World) -> None:
    made(world)
    world.pass_time(SILENT_MS - 2_000)
    world.restart()
    world.pass_time(4_000)
    assert world.do(world.service.upkeep.give_up_runs) == []


def test_a_stopped_run_ends_as_stopped_unless_it_finished(world: World) -> None:
    made(world)
    view = now(world)
    world.do(lambda tx: world.service.tracked.stop(tx, world.ann, view))
    assert now(world).run.stop_requested_at is not None
    assert report(world, is_complete=True, exit_code=255).state is RunState.STOPPED
    assert made(world).run.stop_requested_at is None, "begun anew"


def test_lines_are_kept_once(world: World) -> None:
    made(world)
    row = StreamLine(number=3, step=3, text='{"_step":3}')
    for _ in range(2):
        report(world, history=[row], system=[row])
    assert now(world).run.history_size == 1


def test_a_run_that_is_synced_again_has_no_row_twice(world: World) -> None:
    made(world)

    def row(number: int, step: int, text: str) -> StreamLine:
        return StreamLine(number=number, step=step, text=text)

    report(world, history=(row(0, 0, '{"_step": 0, "x": NaN}'), row(1, 1, '{"_step": 1}')))
    again = (row(2, 0, '{"x": NaN, "_step": 0}'), row(3, 1, '{"_step": 1}'), row(4, 2, '{"n": 1}'))
    assert report(world, history=again).run.history_size == 3
    other = (row(5, 0, '{"_step": 0, "x": 2}'),)
    assert report(world, history=other).run.history_size == 4, "another row of a known step"


def test_a_deleted_run_is_gone_and_its_id_used(world: World) -> None:
    made(world)
    view = now(world)
    world.do(lambda tx: world.service.tracked.delete(tx, world.ann, view))
    with pytest.raises(NotFound):
        now(world)
    with pytest.raises(Invalid, match="was deleted"):
        made(world)


def test_others_see_and_change_nothing(world: World) -> None:
    made(world)
    with pytest.raises(NotFound):
        now(world, world.bob)
    asked = RunAsk(entity="ann", project="demo", id="r1")
    with pytest.raises(NotFound, match="entity 'ann'"):
        world.do(lambda tx: world.service.tracked.upsert(tx, world.bob, asked))
    viewer = world.person("vic", Role.VIEWER)
    with pytest.raises(Forbidden):
        world.do(lambda tx: world.service.tracked.upsert(tx, viewer, RunAsk(id="x")))


def test_an_entity_of_nobody_is_refused_to_admins_too(world: World) -> None:
    asked = RunAsk(entity="nobody-here", id="r1")
    with pytest.raises(NotFound, match="nobody-here"):
        world.do(lambda tx: world.service.tracked.upsert(tx, world.root, asked))


@pytest.mark.parametrize(
    "ask",
    [
        {"id": "a/b"},
        {"project": "\n"},
        {"name": "two\nlines"},
        {"facts": {"group": 3}},
        {"facts": {"tags": ["x"] * 101}},
        {"facts": {"host": "h" * 2_049}},
    ],
)
def test_what_cannot_be_kept_is_refused(world: World, ask: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        made(world, **ask)


def test_a_launched_program_s_client_writes_to_its_own_run(world: World) -> None:
    job, item_id = a_job(world)
    asked = RunAsk(entity="ann", project="another", id="r1", is_begun=True, config={"lr": 1})
    view, is_new = world.do(lambda tx: world.service.tracked.upsert(tx, job, asked))
    assert (is_new, view.run.project, view.run.item_id) == (False, "demo", item_id)
    assert view.run.config["lr"] == 1
    assert report(world, job, is_complete=True, exit_code=3).state is RunState.RUNNING, (
        "its state is its item's"
    )
    other = RunAsk(id="other")
    with pytest.raises(Forbidden, match="WANDB_RUN_ID"):
        world.do(lambda tx: world.service.tracked.upsert(tx, job, other))


def test_a_program_s_client_changes_nothing_once_its_attempt_has_ended(world: World) -> None:
    job, item_id = a_job(world)
    item = world.item(item_id)
    assert item.lease_token is not None
    assert world.report(item.id, item.lease_token, Event.FINISH, exit_code=0).ok
    with pytest.raises(LeaseLost):
        report(world, job, summary={"late": 1})
    assert "late" not in now(world).run.summary


def test_a_stop_of_a_launched_run_is_its_item_s(world: World) -> None:
    _, item_id = a_job(world)
    view = now(world)
    world.do(lambda tx: world.service.tracked.stop(tx, world.ann, view))
    assert world.item(item_id).stop_requested_at is not None
