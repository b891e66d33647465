"""What every store must do with sweeps; a test class inherits it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.errors import Exists, Invalid
from shipway.domain.hyperband import Progress
from shipway.domain.ids import ItemId, UserName
from shipway.domain.run import Run, RunState
from shipway.domain.sweep import Sweep, SweepAgent, SweepCounts, SweepId, SweepRun, SweepState
from shipway.service.ports import Store, Tx
from shipway.testing.store_samples import ENTITY, PROJECT, a_run, an_item, filled, write


def a_sweep(number: int = 1, **changes: Any) -> Sweep:
    """Make a sweep."""
    values: dict[str, Any] = {
        "seq": 0, "id": SweepId(f"sweep{number}"), "entity": ENTITY, "project": PROJECT,
        "name": "\N{ROCKET}", "description": None, "state": SweepState.PENDING,
        "config": {"method": "grid"}, "source": "method: grid", "seed": (1 << 62) - 1,
        "controller": "{}", "created_by": UserName("ada"), "created_at": 5, "updated_at": 5,
    }  # fmt: skip
    return Sweep(**{**values, **changes})


def an_agent(sweep: Sweep, number: int = 1, **changes: Any) -> SweepAgent:
    """Make a worker."""
    values: dict[str, Any] = {
        "seq": 0, "id": f"worker{number}", "sweep_seq": sweep.seq, "host": "box",
        "created_by": UserName("ada"), "created_at": 5, "heard_at": 5, "deadline": 100 * number,
    }  # fmt: skip
    return SweepAgent(**{**values, **changes})


def stored(store: Store, number: int = 1) -> Sweep:
    """Store a sweep."""
    return write(store, lambda tx: tx.sweeps.insert(a_sweep(number)))


def given(
    tx: Tx, sweep: Sweep, number: int, agent: int | None, state: RunState = RunState.PENDING
) -> Run:
    """Store a run that a sweep gave to a worker."""
    run = tx.runs.insert(a_run(number, item_id=None, state=state))
    assert tx.sweeps.hold(sweep.seq) is not None
    tx.sweep_runs.add(sweep.seq, run.seq, agent_seq=agent, is_given=True)
    return run


class SweepSuite:
    """Sweeps, their workers and the places of their runs."""

    def test_a_sweep_comes_back_as_it_was_and_its_id_is_used_once(self, store: Store) -> None:
        sweep = stored(store)
        assert sweep.seq > 0
        shouted = (ENTITY.upper(), PROJECT.upper(), "sweep1")
        assert write(store, lambda tx: tx.sweeps.get(*shouted)) == sweep
        assert write(store, lambda tx: tx.sweeps.by_seq(sweep.seq)) == sweep
        assert write(store, lambda tx: tx.sweeps.get(ENTITY, PROJECT, "sweep2")) is None
        with pytest.raises(Exists, match="sweep1"):
            stored(store)

    def test_a_sweep_changes_and_is_heard_of(self, store: Store) -> None:
        sweep = stored(store)
        changed = replace(
            sweep, name=None, description="said", state=SweepState.RUNNING, config={"a": [1]},
            source="a: [1]", cursor=7, controller=None, scheduler='{"b":1}',
            scheduler_item=ItemId("i"), scheduler_count=2, updated_at=9,
        )  # fmt: skip

        def work(tx: Tx) -> None:
            tx.sweeps.amend(changed)
            assert tx.sweeps.hold(sweep.seq) == changed
            assert tx.sweeps.hold(sweep.seq, heard_at=8) == replace(changed, heard_at=8)
            assert tx.sweeps.hold(sweep.seq) == replace(changed, heard_at=8)
            assert tx.sweeps.hold(sweep.seq + 1) is None
            found = tx.sweeps.by_scheduler(ItemId("i"))
            assert found is not None
            assert found.seq == sweep.seq
            assert tx.sweeps.by_scheduler(ItemId("j")) is None

        write(store, work)
        with pytest.raises(Invalid, match="description"):
            write(store, lambda tx: tx.sweeps.amend(replace(changed, description="\0")))

    def test_the_sweeps_of_a_project_come_newest_first_by_pages(self, store: Store) -> None:
        made = [stored(store, number) for number in (1, 2, 3)]
        write(store, lambda tx: tx.sweeps.insert(a_sweep(4, project="other")))

        def page(before: int | None) -> list[str]:
            found = write(
                store,
                lambda tx: tx.sweeps.of_project(ENTITY, PROJECT, before_seq=before, limit=2),
            )
            return [sweep.id for sweep in found]

        assert page(None) == ["sweep3", "sweep2"]
        assert page(made[1].seq) == ["sweep1"]
        assert write(store, lambda tx: tx.sweeps.count(ENTITY, PROJECT)) == 3

    def test_workers_are_heard_of_or_given_up(self, store: Store) -> None:
        sweep = stored(store)
        one = write(store, lambda tx: tx.sweep_agents.insert(an_agent(sweep, 1)))
        two = write(store, lambda tx: tx.sweep_agents.insert(an_agent(sweep, 2)))

        def silent(before: int) -> list[str]:
            found = write(store, lambda tx: tx.sweep_agents.silent(before=before, limit=9))
            return [agent.id for agent in found]

        assert write(store, lambda tx: tx.sweep_agents.get("worker2")) == two
        assert write(store, lambda tx: tx.sweep_agents.get("worker3")) is None
        assert silent(150) == ["worker1"]
        write(store, lambda tx: tx.sweep_agents.extend(deadline=180))
        assert silent(150) == []
        assert silent(201) == ["worker1", "worker2"]
        assert not write(store, lambda tx: tx.sweep_agents.give_up(one.seq, before=180)), "heard of"
        assert write(store, lambda tx: tx.sweep_agents.give_up(one.seq, before=181))
        assert not write(store, lambda tx: tx.sweep_agents.give_up(one.seq, before=999)), "once"
        write(store, lambda tx: tx.sweep_agents.extend(deadline=500))
        assert silent(1_000) == ["worker2"], "one that was given up is not expected"
        write(store, lambda tx: tx.sweep_agents.heard(one.seq, now=7, deadline=600))
        found = write(store, lambda tx: list(tx.sweep_agents.of_sweep(sweep.seq, limit=9)))
        assert [(one.id, one.heard_at, one.deadline) for one in found] == [
            ("worker1", 7, 600),
            ("worker2", 5, 500),
        ]

    def test_places_are_numbered_within_their_sweep(self, store: Store) -> None:
        one, two = stored(store, 1), stored(store, 2)

        def work(tx: Tx) -> None:
            agent = tx.sweep_agents.insert(an_agent(one))
            runs = [given(tx, one, number, agent.seq) for number in (1, 2)]
            other = given(tx, two, 3, None)
            place = tx.sweep_runs.get(runs[1].seq)
            assert place == SweepRun(
                run_seq=runs[1].seq, run_id=runs[1].id, sweep_seq=one.seq, number=2,
                agent_seq=agent.seq, gives=1, run_state=RunState.PENDING,
            )  # fmt: skip
            assert place.is_open
            assert place.is_unbegun
            assert [each.number for each in tx.sweep_runs.of_sweep(one.seq, limit=9)] == [1, 2]
            assert tx.sweep_runs.of_sweep(one.seq, after=1, limit=9) == [place]
            assert [one.number for one in tx.sweep_runs.of_agent(agent.seq, limit=9)] == [1, 2]
            (last,) = tx.sweep_runs.of_agent(agent.seq, limit=1)
            assert last.number == 2
            (only,) = tx.sweep_runs.of_sweep(two.seq, limit=9)
            assert (only.run_seq, only.number, only.gives) == (other.seq, 1, 0)
            assert [run.id for run in tx.sweep_members.of_sweep(one.seq, limit=9)] == [
                runs[0].id, runs[1].id,
            ]  # fmt: skip
            assert [run.id for run in tx.sweep_members.of_sweep(one.seq, after=1, limit=1)] == [
                runs[1].id
            ]

        write(store, work)

    def test_a_place_changes_and_a_free_one_is_found(self, store: Store) -> None:
        sweep = stored(store)

        def work(tx: Tx) -> None:
            agent = tx.sweep_agents.insert(an_agent(sweep))
            runs = [given(tx, sweep, number, agent.seq) for number in (1, 2, 3)]
            assert tx.sweep_runs.free(sweep.seq) is None
            places = [tx.sweep_runs.get(run.seq) for run in runs]
            for place in places:
                assert place is not None
                tx.sweep_runs.amend(replace(place, agent_seq=None, gives=2, is_heard=True))
            tx.tracked.amend(replace(runs[0], state=RunState.RUNNING))
            tx.tracked.amend(replace(runs[1], deleted_at=5))
            deleted = tx.sweep_runs.get(runs[1].seq)
            assert deleted is not None
            assert (deleted.is_deleted, deleted.is_open, deleted.is_unbegun) == (True, False, False)
            free = tx.sweep_runs.free(sweep.seq)
            assert free is not None
            assert (free.run_seq, free.gives, free.is_heard) == (runs[2].seq, 2, True)
            assert tx.sweep_runs.counts(sweep.seq) == SweepCounts(total=3, given=3, open=2)
            tx.tracked.amend(replace(runs[0], state=RunState.FAILED, stop_requested_at=4))
            ended = tx.sweep_runs.get(runs[0].seq)
            assert ended is not None
            assert (ended.is_open, ended.is_stop_asked) == (False, True)
            assert tx.sweep_runs.counts(sweep.seq).open == 1
            assert tx.sweep_runs.counts(sweep.seq + 1) == SweepCounts(total=0, given=0, open=0)

        write(store, work)

    def test_the_configs_of_runs_from_before_are_found(self, store: Store) -> None:
        sweep = stored(store)

        def work(tx: Tx) -> None:
            given(tx, sweep, 1, None)
            for number in (2, 3, 4):
                run = tx.runs.insert(a_run(number, item_id=None, config={"x": number}))
                tx.sweep_runs.add(sweep.seq, run.seq, agent_seq=None, is_given=False)
                if number == 3:
                    tx.tracked.amend(replace(run, deleted_at=5))
            assert tx.sweep_members.from_before(sweep.seq, limit=9) == [{"x": 2}, {"x": 4}]
            assert tx.sweep_members.from_before(sweep.seq, limit=1) == [{"x": 2}]

        write(store, work)

    def test_how_a_metric_goes_is_kept(self, store: Store) -> None:
        sweep = stored(store)
        progress = Progress(line=4, count=2, best=-0.5, at={1: 0.25, 2: -0.5})

        def work(tx: Tx) -> None:
            for number in (1, 2):
                run = given(tx, sweep, number, None)
                place = tx.sweep_runs.get(run.seq)
                assert place is not None
                if number == 2:
                    tx.sweep_members.measure(run.seq, progress)
                    tx.sweep_runs.amend(replace(place, gives=3))
            assert list(tx.sweep_members.measured(sweep.seq, limit=9)) == [progress]

        write(store, work)

    def test_a_launch_takes_a_sweeps_run_over_once(self, store: Store) -> None:
        queue, _ = filled(store, 0)
        sweep = stored(store)

        def work(tx: Tx) -> None:
            run = given(tx, sweep, 1, None)
            item = an_item(queue, 1, run_id=run.id)
            adopted = replace(run, item_id=item.id, config={"x": 1}, name=None)
            assert tx.sweep_members.adopt(adopted)
            assert not tx.sweep_members.adopt(adopted), "another launch has it"
            added = tx.items.insert(item)
            found = tx.runs.get(run.entity, run.project, run.id)
            assert found is not None
            assert (found.item_id, found.config, found.name) == (added.id, {"x": 1}, run.name)
            place = tx.sweep_runs.get(run.seq)
            assert place is not None
            assert (place.is_item, place.item_state, place.is_open) == (True, added.state, True)
            assert tx.sweep_runs.counts(sweep.seq).open == 1
            assert tx.sweep_runs.free(sweep.seq) is None
            begun = given(tx, sweep, 2, None, RunState.RUNNING)
            assert not tx.sweep_members.adopt(replace(begun, item_id=ItemId("other")))

        write(store, work)
