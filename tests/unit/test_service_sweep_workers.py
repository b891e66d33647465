"""Workers of sweeps over a real store: what they get, and what becomes of the lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from shipway.domain.errors import (
    Invalid,
)
from shipway.domain.run import RunState
from shipway.service.sweep_agents import (
    GIVES_LIMIT,
    PLACES_LIMIT,
    RUNNING_LIMIT,
    SILENT_MS,
    Order,
)

if TYPE_CHECKING:
    from tests.unit.conftest import World
from tests.support.sweeps import CHANCE, GRID, a_sweep, a_worker, beat, begin, done, given, runs


def test_a_busy_worker_gets_nothing_more(world: World) -> None:
    worker = a_worker(world, a_sweep(world))
    run = given(beat(world, worker))
    assert beat(world, worker, run.run_id or "") == ()


def test_the_last_worker_waits_for_the_others_runs(world: World) -> None:
    sweep = a_sweep(world, {**GRID, "run_cap": 1})
    one, two = a_worker(world, sweep), a_worker(world, sweep)
    run = given(beat(world, one))
    assert beat(world, two) == (), "it may be needed yet"
    done(world, run.run_id)
    assert [command.order for command in beat(world, two)] == [Order.EXIT]


def test_an_answer_that_was_lost_is_given_again(world: World) -> None:
    sweep = a_sweep(world)
    worker = a_worker(world, sweep)
    first = given(beat(world, worker))
    assert given(beat(world, worker)) == first, "it is not among what the worker runs"
    assert beat(world, worker, first.run_id or "") == ()
    world.restart()
    assert beat(world, worker, first.run_id or "") == ()
    assert len(runs(world, sweep)) == 1


def test_a_run_that_was_deleted_before_it_began_is_given_to_nobody(world: World) -> None:
    sweep = a_sweep(world)
    worker = a_worker(world, sweep)
    lost = given(beat(world, worker)).run_id or ""

    def delete(tx: Any) -> None:
        view = world.service.tracked.get(tx, world.ann, "ann", "demo", lost)
        world.service.tracked.delete(tx, world.ann, view)

    world.do(delete)
    assert given(beat(world, worker)).values == {"x": 1, "y": "b"}
    world.pass_time(SILENT_MS + 1_000)
    assert len(world.do(world.service.upkeep.give_up_workers)) == 1
    assert lost not in {given(beat(world, a_worker(world, sweep))).run_id for _ in range(2)}


def test_a_program_that_never_begins_has_failed_in_the_end(world: World) -> None:
    sweep = a_sweep(world)
    worker = a_worker(world, sweep)
    first = given(beat(world, worker))
    for _ in range(GIVES_LIMIT - 1):
        assert given(beat(world, worker)).run_id == first.run_id
    assert given(beat(world, worker)).run_id != first.run_id
    assert [view.state.value for view in runs(world, sweep)] == ["failed", "pending"]


def test_a_program_that_was_seen_and_is_gone_has_failed(world: World) -> None:
    sweep = a_sweep(world)
    worker = a_worker(world, sweep)
    first = given(beat(world, worker))
    beat(world, worker, first.run_id or "")
    assert given(beat(world, worker)).run_id != first.run_id
    assert runs(world, sweep)[0].state is RunState.FAILED


def test_the_run_of_a_worker_that_died_goes_to_another(world: World) -> None:
    sweep = a_sweep(world)
    one, two = a_worker(world, sweep), a_worker(world, sweep)
    lost = given(beat(world, one))
    other = given(beat(world, two))
    begin(world, other.run_id)
    world.pass_time(SILENT_MS - 5_000)
    beat(world, two, other.run_id or "")
    assert world.do(world.service.upkeep.give_up_workers) == []
    world.pass_time(6_000)
    assert [worker.id for worker in world.do(world.service.upkeep.give_up_workers)] == [one]
    done(world, other.run_id)
    assert given(beat(world, two)) == lost, "the same run, with the same parameters"
    stops = beat(world, one, lost.run_id or "")
    assert [command.order for command in stops] == [Order.STOP], "it came back too late"
    assert len(runs(world, sweep)) == 2


def test_a_worker_keeps_its_run_however_many_it_had_before(world: World) -> None:
    sweep = a_sweep(world, CHANCE)
    worker = a_worker(world, sweep)
    for _ in range(PLACES_LIMIT + 1):
        done(world, given(beat(world, worker)).run_id)
    run_id = given(beat(world, worker)).run_id or ""
    begin(world, run_id)
    assert beat(world, worker, run_id) == ()
    agent = world.do(lambda tx: tx.sweep_agents.get(worker))
    last = world.do(lambda tx: world.service.sweep_agents.runs(tx, agent))[-1]
    assert last.run.id == run_id


def test_a_worker_is_found_in_its_own_sweep_alone(world: World) -> None:
    sweep, other = a_sweep(world), a_sweep(world)
    sweeps, own, stranger = world.service.sweeps, a_worker(world, sweep), a_worker(world, other)
    found = world.do(lambda tx: sweeps.agent(tx, sweep, own))
    assert found is not None
    assert found.id == own
    assert world.do(lambda tx: sweeps.agent(tx, sweep, stranger)) is None


def test_a_worker_has_few_runs_at_once(world: World) -> None:
    worker = a_worker(world, a_sweep(world))
    with pytest.raises(Invalid, match=f"at most {RUNNING_LIMIT} runs at once"):
        beat(world, worker, *(f"run{number}" for number in range(RUNNING_LIMIT + 1)))


def test_a_worker_that_comes_back_in_time_keeps_its_run(world: World) -> None:
    sweep = a_sweep(world)
    worker = a_worker(world, sweep)
    run = given(beat(world, worker))
    beat(world, worker, run.run_id or "")
    world.pass_time(SILENT_MS + 1_000)
    world.do(world.service.upkeep.give_up_workers)
    assert beat(world, worker, run.run_id or "") == ()
    other = given(beat(world, a_worker(world, sweep)))
    assert other.run_id != run.run_id


def test_a_server_that_was_away_gives_every_worker_a_full_term(world: World) -> None:
    sweep = a_sweep(world)
    a_worker(world, sweep)
    world.pass_time(SILENT_MS - 1_000)
    world.clock.advance(60_000)
    world.restart()
    world.pass_time(SILENT_MS - 1_000)
    assert world.do(world.service.upkeep.give_up_workers) == []
