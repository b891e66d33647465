"""Sweeps over a real store: what they are, how they go on, and how they end."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import (
    Conflict,
    Exists,
    Forbidden,
    Invalid,
    NotFound,
    Unauthenticated,
)
from shipway.domain.ids import AgentId, KeyId, UserName
from shipway.domain.item import Event
from shipway.domain.launch_spec import Draft
from shipway.domain.run import RunState
from shipway.domain.sweep import SweepState
from shipway.service.keys import job_key
from shipway.service.leases import LeaseAsk
from shipway.service.sweep_agents import (
    SILENT_MS,
    SKIPS_LIMIT,
    Order,
)
from shipway.service.sweeps import SweepAsk
from shipway.service.tracked_runs import RunAsk, StreamReport
from tests.unit.conftest import SOURCE

if TYPE_CHECKING:
    from tests.unit.conftest import World
from tests.support.sweeps import (
    CHANCE,
    GRID,
    a_sweep,
    a_worker,
    beat,
    begin,
    done,
    given,
    now,
    report,
    runs,
    to,
)


def test_a_grid_gives_each_combination_once_and_ends_its_workers(world: World) -> None:
    sweep = a_sweep(world)
    assert sweep.state is SweepState.PENDING
    one, two = a_worker(world, sweep), a_worker(world, sweep)
    assert now(world, sweep).state is SweepState.RUNNING
    tried = []
    for _ in range(2):
        first, second = given(beat(world, one)), given(beat(world, two))
        tried += [dict(first.values), dict(second.values)]
        done(world, first.run_id)
        done(world, second.run_id, exit_code=1)
    assert tried == [{"x": x, "y": y} for x in (1, 2) for y in ("a", "b")]
    assert [command.order for command in beat(world, one)] == [Order.EXIT]
    assert now(world, sweep).state is SweepState.FINISHED
    assert [command.order for command in beat(world, two)] == [Order.EXIT]
    assert [view.state.value for view in runs(world, sweep)] == ["finished", "failed"] * 2
    assert [view.run.config for view in runs(world, sweep)] == tried
    assert {view.sweep for view in runs(world, sweep)} == {sweep.id}


def test_a_cap_counts_all_runs(world: World) -> None:
    sweep = a_sweep(world, {**CHANCE, "run_cap": 3})
    worker = a_worker(world, sweep)
    values = []
    for _ in range(3):
        run = given(beat(world, worker))
        values.append(run.values["x"])
        done(world, run.run_id)
    assert [command.order for command in beat(world, worker)] == [Order.EXIT]
    assert len(set(values)) == 3
    view = world.do(lambda tx: world.service.sweeps.view(tx, sweep))
    assert (view.counts.total, view.counts.open, view.expected) == (3, 0, 3)


def test_runs_from_before_count_and_are_not_tried_again(world: World) -> None:
    for run_id, x in (("old", 1), ("older", 9)):
        ask = RunAsk(project="demo", id=run_id, is_begun=True, config={"x": x, "y": "a", "z": 0})
        world.do(lambda tx, ask=ask: world.service.tracked.upsert(tx, world.ann, ask))
        done_in = StreamReport(is_complete=True)

        def end(tx: Any, run_id: str = run_id, said: StreamReport = done_in) -> None:
            view = world.service.tracked.get(tx, world.ann, "ann", "demo", run_id)
            world.service.tracked.report(tx, world.ann, view, said)

        world.do(end)
    sweep = a_sweep(world, prior_runs=["old", "older"])
    worker = a_worker(world, sweep)
    tried = []
    while (commands := beat(world, worker))[0].order is Order.RUN:
        tried.append(dict(commands[0].values))
        done(world, commands[0].run_id)
    assert tried == [{"x": 1, "y": "b"}, {"x": 2, "y": "a"}, {"x": 2, "y": "b"}]
    assert [view.run.id for view in runs(world, sweep)][:2] == ["old", "older"]
    with pytest.raises(Invalid, match="there is no run ann/demo/none"):
        a_sweep(world, prior_runs=["none"])
    with pytest.raises(Invalid, match=f"run old belongs to sweep {sweep.id} already"):
        a_sweep(world, prior_runs=["old"])


def test_a_grid_that_a_run_from_before_fills_is_passed_over_in_parts(world: World) -> None:
    ask = RunAsk(project="demo", id="old", is_begun=True, config={"x": 1})
    world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, ask))
    values = [1] * (2 * SKIPS_LIMIT) + [2]
    grid = {"method": "grid", "parameters": {"x": {"values": values}}}
    worker = a_worker(world, a_sweep(world, grid, prior_runs=["old"]))
    assert [beat(world, worker), beat(world, worker)] == [(), ()]
    assert given(beat(world, worker)).values == {"x": 2}


def test_a_paused_sweep_gives_nothing_and_goes_on(world: World) -> None:
    sweep = a_sweep(world)
    worker = a_worker(world, sweep)
    run = given(beat(world, worker))
    to(world, sweep, SweepState.PAUSED)
    begin(world, run.run_id)
    assert beat(world, worker, run.run_id or "") == ()
    done(world, run.run_id)
    assert beat(world, worker) == ()
    to(world, sweep, SweepState.RUNNING)
    assert given(beat(world, worker)).run_id != run.run_id


def test_a_finished_sweep_lets_runs_end_and_a_canceled_one_stops_them(world: World) -> None:
    sweep = a_sweep(world)
    worker = a_worker(world, sweep)
    run = given(beat(world, worker))
    begin(world, run.run_id)
    to(world, sweep, SweepState.FINISHED)
    assert beat(world, worker, run.run_id or "") == ()
    to(world, sweep, SweepState.RUNNING)
    to(world, sweep, SweepState.CANCELED)
    (command,) = beat(world, worker, run.run_id or "")
    assert (command.order, command.run_id) == (Order.STOP, run.run_id)
    assert runs(world, sweep)[0].is_stop_requested
    report(world, run.run_id, is_complete=True, exit_code=1)
    assert runs(world, sweep)[0].state is RunState.STOPPED
    assert [command.order for command in beat(world, worker)] == [Order.EXIT]
    with pytest.raises(Conflict, match="is canceled: it can only be resumed"):
        to(world, sweep, SweepState.PAUSED)


def test_a_program_that_was_killed_for_a_stop_has_stopped(world: World) -> None:
    sweep = a_sweep(world)
    worker = a_worker(world, sweep)
    run = given(beat(world, worker))
    begin(world, run.run_id)
    beat(world, worker, run.run_id or "")
    to(world, sweep, SweepState.CANCELED)
    assert beat(world, worker, run.run_id or "")[0].order is Order.STOP
    assert [command.order for command in beat(world, worker)] == [Order.EXIT]
    assert runs(world, sweep)[0].state is RunState.STOPPED, "its client could not say so"


def test_a_run_that_hyperband_finds_hopeless_is_asked_to_stop(world: World) -> None:
    early = {"type": "hyperband", "min_iter": 2, "eta": 2}
    sweep = a_sweep(
        world, {**CHANCE, "metric": {"name": "loss"}, "early_terminate": early, "run_cap": 4}
    )
    worker = a_worker(world, sweep)
    for loss in (1.0, 2.0, 3.0):
        run = given(beat(world, worker))
        done(world, run.run_id, loss=loss)
        report(world, run.run_id, loss, first=1, is_complete=True)
    run = given(beat(world, worker))
    begin(world, run.run_id)
    report(world, run.run_id, 9.0)
    report(world, run.run_id, 9.0)  # the same line again
    assert beat(world, worker, run.run_id or "") == (), "one value is below the first band"
    report(world, run.run_id, 9.0, first=1)
    (command,) = beat(world, worker, run.run_id or "")
    assert (command.order, command.run_id) == (Order.STOP, run.run_id)
    assert [view.is_stop_requested for view in runs(world, sweep)] == [False, False, False, True]


def test_a_target_that_is_reached_finishes_the_sweep(world: World) -> None:
    sweep = a_sweep(world, {**CHANCE, "metric": {"name": "loss", "target": 0.5}})
    worker = a_worker(world, sweep)
    run = given(beat(world, worker))
    begin(world, run.run_id)
    report(world, run.run_id, 0.6)
    assert now(world, sweep).state is SweepState.RUNNING
    report(world, run.run_id, 0.4, first=1)
    assert now(world, sweep).state is SweepState.FINISHED


def test_a_config_changes_only_while_nobody_has_a_run_of_it(world: World) -> None:
    sweep = a_sweep(world)
    changed = {"method": "grid", "parameters": {"x": {"values": [5]}}}
    same = a_sweep(world, changed, id=sweep.id, name="better")
    assert (same.id, same.name, dict(same.config)) == (sweep.id, "better", changed)
    assert given(beat(world, a_worker(world, sweep))).values == {"x": 5}
    with pytest.raises(Conflict, match="has runs: its config stays as it is"):
        a_sweep(world, GRID, id=sweep.id)
    assert a_sweep(world, changed, id=sweep.id, state=SweepState.PAUSED).state is SweepState.PAUSED


def test_a_method_that_nobody_can_follow_is_refused_with_those_that_are_there(
    world: World,
) -> None:
    with pytest.raises(Invalid, match=r"no search named 'magic' is installed \(installed: bayes"):
        a_sweep(world, {**GRID, "method": "magic"})
    with pytest.raises(Invalid, match=r"parameters\.x has endless values"):
        a_sweep(world, {"method": "grid", "parameters": {"x": {"min": 0.0, "max": 1.0}}})
    with pytest.raises(Invalid, match="a new sweep needs a config"):
        world.do(lambda tx: world.service.sweeps.upsert(tx, world.ann, SweepAsk()))


def test_bayes_without_its_library_is_refused_with_what_to_install(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bayes = {**CHANCE, "method": "bayes", "metric": {"name": "loss"}}
    sweep = a_sweep(world, bayes)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Invalid, match=r"pip install 'shipway\[search\]'"):
        a_sweep(world, bayes)
    worker = a_worker(world, sweep)
    agents = world.service.sweep_agents
    assert world.do(lambda tx: agents.beat(tx, world.ann, worker, ())).needs_search
    with pytest.raises(NotFound):
        world.do(lambda tx: agents.ask(tx, world.bob, worker))
    with pytest.raises(Invalid, match="method bayes needs optuna"):
        beat(world, worker)
    assert runs(world, sweep) == []


def test_a_sweeps_run_is_taken_over_by_its_launch(world: World) -> None:
    sweep = a_sweep(world)
    worker = a_worker(world, sweep)
    run = given(beat(world, worker))
    with pytest.raises(Exists, match="is used already"):
        world.add(run_id=run.run_id, project="demo")
    with pytest.raises(Exists, match="is used already"):
        world.add(run_id=run.run_id, project="demo", sweep_id="another")
    item = world.add(run_id=run.run_id, project="demo", sweep_id=sweep.id)
    (view,) = runs(world, sweep)
    assert (view.state, view.run.item_id) == (RunState.PENDING, item.id)
    assert view.run.config == {"x": 1, "y": "a"}
    assert beat(world, worker, run.run_id or "") == ()
    world.pass_time(SILENT_MS + 1_000)
    world.do(world.service.upkeep.give_up_workers)
    other = a_worker(world, sweep)
    assert given(beat(world, other)).run_id != run.run_id, "it waits in its queue"
    with pytest.raises(Exists):
        world.add(run_id=run.run_id, project="demo", sweep_id=sweep.id)
    grant = world.lease().leases[0]
    assert world.report(grant.item.id, grant.token, Event.START).ok
    to(world, sweep, SweepState.CANCELED)
    assert world.item(item.id).stop_requested_at is not None


def test_a_run_that_says_its_sweep_belongs_to_it(world: World) -> None:
    sweep = a_sweep(world, {"method": "custom"})
    ask = RunAsk(project="demo", id="made", facts={"sweep": sweep.id}, is_pending=True)
    view, _ = world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, ask))
    assert view.sweep == sweep.id
    assert [one.run.id for one in runs(world, sweep)] == ["made"]
    assert beat(world, a_worker(world, sweep)) == (), "somebody else makes its runs"
    gone = RunAsk(project="demo", id="lost", facts={"sweep": "no-such"}, is_begun=True)
    view, _ = world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, gone))
    assert view.sweep is None, "a program does not fail for a sweep that is not there"


def test_strangers_and_programs_drive_no_sweep(world: World) -> None:
    sweep = a_sweep(world)
    worker = a_worker(world, sweep)
    with pytest.raises(NotFound, match="there is no sweep ann/demo"):
        world.do(lambda tx: world.service.sweeps.get(tx, world.bob, "ann", "demo", sweep.id))
    with pytest.raises(NotFound):
        beat(world, worker, actor=world.bob)
    with pytest.raises(NotFound):
        beat(world, "no-such")
    viewer = replace(world.ann, role=Role.VIEWER)
    with pytest.raises(Forbidden, match="may not drive sweep"):
        beat(world, worker, actor=viewer)
    item = world.add()
    job = replace(world.ann, role=Role.JOB, item_id=item.id)
    with pytest.raises(Forbidden, match="may not drive sweep"):
        a_worker(world, sweep, job)
    with pytest.raises(NotFound):
        world.do(lambda tx: world.service.sweeps.get(tx, job, "ann", "demo", sweep.id))


def test_the_program_of_a_scheduler_acts_for_its_submitter_while_it_runs(world: World) -> None:
    sweep = a_sweep(world)

    def launch(run_id: str) -> Any:
        made = Draft.from_json({"source": SOURCE, "project": "demo", "run_id": run_id})
        launches = world.service.sweep_launches
        return world.do(lambda tx: launches.launch(tx, world.ann, sweep, lambda *_: (made, "{}")))

    launched = launch("s1")
    assert (launched.scheduler, launched.scheduler_count) == ("{}", 1)
    with pytest.raises(Conflict, match=r"has a scheduler, item \w+: it is pending"):
        launch("s2")
    grant = world.lease().leases[0]
    assert grant.item.id == launched.scheduler_item
    assert world.report(grant.item.id, grant.token, Event.START).ok
    keys, text = world.service.keys, job_key(grant.item.id, 1, grant.token)
    actor = world.do(lambda tx: keys.authenticate(tx, text))
    assert (actor.role, actor.user, actor.item_id) == (Role.MEMBER, "ann", grant.item.id)
    worker = a_worker(world, sweep, actor)
    run = given(beat(world, worker, actor=actor))
    world.add(actor, run_id=run.run_id, project="demo", sweep_id=sweep.id)
    for use in (
        lambda tx: keys.create_key(tx, actor, user=None, role=None, label=""),
        lambda tx: keys.make_link(tx, actor),
        lambda tx: keys.sign_in(tx, text),
        lambda tx: keys.keys(tx, actor),
    ):
        with pytest.raises(Forbidden, match="the key of a launched program may not"):
            world.do(use)
    assert world.report(grant.item.id, grant.token, Event.FINISH, exit_code=0).ok
    with pytest.raises(Unauthenticated):
        world.do(lambda tx: keys.authenticate(tx, text))
    assert launch("s3").scheduler_count == 2


def test_another_programs_key_acts_for_nobody(world: World) -> None:
    a_sweep(world)
    item_id, token = world.running()
    text = job_key(item_id, 1, token)
    actor = world.do(lambda tx: world.service.keys.authenticate(tx, text))
    assert actor.role is Role.JOB


@pytest.mark.parametrize(
    ("holder", "role"),
    [(Role.MEMBER, Role.JOB), (Role.AGENT, Role.MEMBER), (Role.ADMIN, Role.MEMBER)],
)
def test_nobody_comes_by_anothers_rights_with_an_agent(
    world: World, holder: Role, role: Role
) -> None:
    sweep = a_sweep(world)
    made = Draft.from_json({"source": SOURCE, "project": "demo"})
    launches, keys = world.service.sweep_launches, world.service.keys
    world.do(lambda tx: launches.launch(tx, world.ann, sweep, lambda *_: (made, "{}")))
    world.do(lambda tx: keys.create_user(tx, world.root, name="carl", role=holder, entity="ann"))
    carl = Actor(user=UserName("carl"), role=holder, entity="ann", key_id=KeyId("kcarl"))
    world.register("theirs", carl, run_as="shared")
    (grant,) = world.do(
        lambda tx: (
            world.service.leases.lease(tx, carl, LeaseAsk(agent=AgentId("theirs"), limit=1)).leases
        )
    )
    text = job_key(grant.item.id, 1, grant.token)
    assert world.do(lambda tx: keys.authenticate(tx, text)).role is role
