"""Runs of clients: in which lists they stand, and when nobody hears of one any more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Role
from shipway.domain.errors import NotFound
from shipway.domain.item import State
from shipway.domain.run import RunState
from shipway.service.ports import Tx
from shipway.service.runs import RunView
from shipway.service.tracked_runs import CRASHES_LIMIT, SILENT_MS, RunAsk
from tests.unit.conftest import World


def begun(world: World, **ask: Any) -> RunView:
    asked = RunAsk(**{"project": "demo", "id": "r1", "is_begun": True, **ask})
    return world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, asked))[0]


def now(world: World, run_id: str = "r1") -> RunView:
    get = world.service.tracked.get
    return world.do(lambda tx: get(tx, world.ann, "ann", "demo", run_id))


def ids(world: World, **page: Any) -> list[str]:
    listed = world.service.tracked.of_project
    return world.do(
        lambda tx: [view.run.id for view in listed(tx, world.ann, "ann", "demo", **page)]
    )


def test_runs_are_listed_in_their_order_page_by_page(world: World) -> None:
    seqs = {name: begun(world, id=name).run.seq for name in ("a", "b", "c", "d")}
    begun(world, id="other", project="another")
    assert ids(world) == ["a", "b", "c", "d"]
    assert ids(world, page_size=1, is_newest_first=True) == ["d", "c", "b", "a"]
    assert ids(world, after=seqs["b"]) == ["c", "d"]
    assert ids(world, after=seqs["c"], is_newest_first=True) == ["b", "a"]
    view = now(world, "b")
    world.do(lambda tx: world.service.tracked.delete(tx, world.ann, view))
    assert ids(world, page_size=2) == ["a", "c", "d"]
    assert world.do(lambda tx: world.service.tracked.count(tx, world.ann, "ann", "demo")) == 3


def test_a_run_whose_item_waits_is_in_no_list(world: World) -> None:
    world.add(run_id="waits", project="demo")
    begun(world, id="a")
    assert ids(world) == ["a"]
    item = world.lease().leases[0].item
    assert ids(world) == ["waits", "a"]
    assert item.state is State.LEASED


def test_projects_are_those_that_have_runs(world: World) -> None:
    begun(world, project="one")
    at = world.clock.now()
    world.clock.advance(5)
    begun(world, project="two")
    projects = world.service.tracked.projects
    assert dict(world.do(lambda tx: projects(tx, world.ann, None))) == {"one": at, "two": at + 5}
    assert list(world.do(lambda tx: projects(tx, world.bob, None))) == []
    assert len(world.do(lambda tx: projects(tx, world.root, "ann"))) == 2
    with pytest.raises(NotFound, match="entity 'ann'"):
        world.do(lambda tx: projects(tx, world.bob, "ann"))


def test_a_silent_run_crashes_after_its_term_and_not_before(world: World) -> None:
    begun(world)
    due = now(world).run.deadline
    assert due is not None
    world.clock.advance(SILENT_MS)
    assert world.do(world.service.tracked.give_up) == []
    world.clock.advance(1)
    assert [run.id for run in world.do(world.service.tracked.give_up)] == ["r1"]
    view = now(world)
    assert (view.state, view.run.deadline) == (RunState.CRASHED, None)
    assert world.do(world.service.tracked.give_up) == [], "once"


def test_a_server_that_was_away_extends_a_term_from_now_on(world: World) -> None:
    begun(world)
    world.clock.advance(1_000)
    world.do(world.service.tracked.extend)
    world.clock.advance(SILENT_MS)
    assert world.do(world.service.tracked.give_up) == []
    world.clock.advance(1)
    assert len(world.do(world.service.tracked.give_up)) == 1


def test_silent_runs_are_given_up_in_parts(world: World) -> None:
    def make(tx: Tx) -> None:
        for number in range(CRASHES_LIMIT + 1):
            asked = RunAsk(project="demo", id=f"r{number}", is_begun=True)
            world.service.tracked.upsert(tx, world.ann, asked)

    world.do(make)
    world.clock.advance(SILENT_MS + 1)
    assert len(world.do(world.service.tracked.give_up)) == CRASHES_LIMIT
    assert len(world.do(world.service.tracked.give_up)) == 1


def test_a_program_finds_its_own_run_under_every_name_and_no_other(world: World) -> None:
    begun(world, id="other")
    item_id, _ = world.running(run_id="r1", project="demo")
    job = replace(world.ann, role=Role.JOB, item_id=item_id, attempt=1)
    get = world.service.tracked.get
    for entity, project in (("ann", "demo"), ("nobody", "nothing")):
        view = world.do(lambda tx, e=entity, p=project: get(tx, job, e, p, "r1"))
        assert view.run.item_id == item_id
    with pytest.raises(NotFound, match="there is no run ann/demo/other"):
        world.do(lambda tx: get(tx, job, "ann", "demo", "other"))
