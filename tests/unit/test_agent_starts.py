"""Leases that pass the start gate with their own transaction: started soon, or given back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipway.agent import effects as do
from shipway.agent import events as on
from shipway.agent.journal import Journal, Kept
from shipway.agent.lease import Lease
from shipway.agent.need import LEASE_LIMIT, Stock, need_of
from shipway.agent.settle import settle
from shipway.agent.state import (
    GATES_AHEAD,
    PASSED_MS,
    TRUST_MARGIN_MS,
    UNLIMITED,
    Progress,
    Settling,
    State,
)
from shipway.agent.warm import COOL_MS, SOURCES, Warm
from shipway.domain.attempt import Cause
from shipway.domain.item import Event
from shipway.plugins.errors import TemporaryError
from tests.support.agent_plan import BROKEN, RUNNING_TERM, Agent, a_lease, kinds, only
from tests.support.agent_world import World


def a_started(name: str = "a", **given: Any) -> Lease:
    fields: dict[str, Any] = {"is_started": True, "term_ms": RUNNING_TERM, **given}
    return a_lease(name, **fields)


def prepared(agent: Agent, *leases: Lease) -> list[do.Effect]:
    for lease in leases:
        agent.hear(on.Fetched(at=agent.now, key=lease.key))
    return agent.hear(*[on.Built(at=agent.now, key=lease.key) for lease in leases])


def reported(agent: Agent, lease: Lease) -> Any:
    drained = on.Drained(at=agent.now, key=lease.key, log_sizes={})
    return only(do.Send, agent.hear(drained)).report


def test_a_started_lease_becomes_a_program_and_the_gate_is_not_asked() -> None:
    agent, lease = Agent(), a_started()
    agent.lease(lease)
    start = only(do.Start, prepared(agent, lease))
    assert start.deadline == agent.now + RUNNING_TERM - TRUST_MARGIN_MS
    assert not any(isinstance(effect, do.Send) for effect in agent.done)
    marks = [effect.mark for effect in agent.done if isinstance(effect, do.Record)]
    assert marks == [do.Mark.LEASE]


@pytest.mark.parametrize("progress", [Progress.FETCHING, Progress.BUILDING])
def test_one_that_is_not_prepared_in_time_goes_back_and_its_source_cools(
    progress: Progress,
) -> None:
    agent, lease = Agent(), a_started()
    agent.reach(lease, progress)
    assert not kinds(agent.wait(PASSED_MS))
    effects = agent.wait(1)
    assert kinds(effects) == {do.Drain, do.Cool}
    assert only(do.Cool, effects).lease == lease
    report = reported(agent, lease)
    assert (report.event, report.failure) == (Event.REQUEUE, None)
    assert not any(isinstance(effect, do.Start) for effect in agent.done)


def test_one_whose_step_failed_for_now_goes_back_too() -> None:
    agent, lease = Agent(), a_started()
    agent.lease(lease)
    agent.hear(on.Failed(at=agent.now, key=lease.key, failure=BROKEN, is_temporary=True))
    assert not kinds(agent.wait(PASSED_MS))
    assert kinds(agent.wait(1)) == {do.Drain, do.Cool}
    assert reported(agent, lease).event is Event.REQUEUE


def test_one_that_can_never_be_prepared_fails() -> None:
    agent, lease = Agent(), a_started()
    agent.lease(lease)
    agent.hear(on.Failed(at=agent.now, key=lease.key, failure=BROKEN, is_temporary=False))
    assert reported(agent, lease).event is Event.FAIL


def test_one_that_finds_no_slot_goes_back_and_its_source_is_still_at_hand() -> None:
    agent, first, second = Agent(), a_lease("a"), a_started("b")
    agent.reach(first, Progress.RUNNING)
    agent.lease(second)
    assert not kinds(prepared(agent, second))
    assert agent.progress(second) is Progress.PASSED
    assert not kinds(agent.wait(PASSED_MS))
    assert kinds(agent.wait(1)) == {do.Drain}
    assert reported(agent, second).event is Event.REQUEUE


def test_the_time_runs_from_the_answer_and_not_from_the_end_of_the_build() -> None:
    agent, first, second = Agent(), a_lease("a"), a_started("b")
    agent.reach(first, Progress.RUNNING)
    agent.lease(second)
    agent.now += PASSED_MS
    prepared(agent, second)
    agent.now += 1
    agent.end(first)
    assert agent.progress(second) is Progress.DRAINING
    assert not any(isinstance(e, do.Start) and e.lease == second for e in agent.done)


def test_it_starts_when_a_slot_comes_free_in_time() -> None:
    agent, first, second = Agent(), a_lease("a"), a_started("b")
    agent.reach(first, Progress.RUNNING)
    agent.lease(second)
    prepared(agent, second)
    agent.now += PASSED_MS
    assert only(do.Start, agent.end(first)).lease == second


@pytest.mark.parametrize(
    "progress", [Progress.FETCHING, Progress.BUILDING, Progress.PASSED, Progress.STARTING]
)
def test_a_stop_between_lease_and_start_is_obeyed(progress: Progress) -> None:
    slots = 0 if progress is Progress.PASSED else 1
    agent, lease = Agent(slots=slots), a_started()
    agent.lease(lease)
    if progress is Progress.BUILDING:
        agent.hear(on.Fetched(at=agent.now, key=lease.key))
    elif progress is not Progress.FETCHING:
        prepared(agent, lease)
    assert agent.progress(lease) is progress
    effects = agent.stop(lease)
    if progress is Progress.STARTING:  # the order is out: it ends as soon as it has a name
        started = on.Started(at=agent.now, key=lease.key, handle="h")
        assert only(do.Stop, agent.hear(started)).cause is Cause.STOP
        return
    assert kinds(effects) == {do.Drain}
    assert reported(agent, lease).event is Event.STOP
    assert not any(isinstance(effect, do.Start) for effect in agent.done)


def test_the_start_limit_means_nothing_to_it() -> None:
    agent, lease = Agent(), a_started(start_limit_s=0.001)
    agent.lease(lease)
    agent.now += 100
    assert kinds(prepared(agent, lease)) == {do.Start}


def test_it_waits_until_the_items_old_program_is_gone() -> None:
    agent, old, new = Agent(slots=4), a_lease(), a_started(attempt=2)
    agent.reach(old, Progress.RUNNING)
    agent.lose(old)
    agent.lease(new)
    assert not kinds(prepared(agent, new))
    assert only(do.Start, agent.end(old, cause=Cause.LEASE, exit_code=None)).lease == new


def test_one_that_came_late_is_renewed_at_once_and_starts_when_it_is_trusted() -> None:
    agent, other, lease = Agent(slots=2), a_lease("x"), a_started(term_ms=30_000)
    agent.reach(other, Progress.RUNNING)
    asked_at = agent.now
    agent.now += 27_000
    agent.hear(on.Renewed(at=agent.now, sent_at=agent.now, terms={other.item: RUNNING_TERM}))
    effects = agent.hear(on.Leased(at=agent.now, sent_at=asked_at, leases=(lease,)))
    assert only(do.Renew, effects).held.keys() == {"x", "a"}
    assert not kinds(prepared(agent, lease))
    renewed = on.Renewed(at=agent.now, sent_at=agent.now, terms={lease.item: RUNNING_TERM})
    assert do.Start in kinds(agent.hear(renewed))


def test_a_poll_that_was_answered_late_brings_the_next_renewal_forward() -> None:
    agent, other, lease = Agent(slots=2), a_lease("x"), a_started()
    agent.reach(other, Progress.RUNNING)
    agent.wait(10_000)
    agent.now += 5_000
    sent_at = agent.now - 12_000
    effects = agent.hear(on.Leased(at=agent.now, sent_at=sent_at, leases=(lease,)))
    assert do.Renew in kinds(effects)


def test_one_record_says_that_it_is_leased_and_passed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", boot_id="boot")
    journal.open()
    facts = {"resource": "local-process", "spec": {"source": {"kind": "fake"}}}
    lease = a_started(facts=facts, spec=facts["spec"])
    journal.write([do.Record(mark=do.Mark.LEASE, key=lease.key, lease=lease, at=7)])
    journal.close()
    assert (tmp_path / "journal").read_bytes().count(b"\n") == 2  # the head is the other
    (kept,) = Journal(tmp_path / "journal", boot_id="boot").open()
    assert kept.has_passed
    assert kept.lease.is_started


def test_after_a_restart_the_gate_is_asked_again() -> None:
    lease = a_started()
    kept = Kept(lease=lease, leased_at=5, has_passed=True)
    state, missed = settle([kept], [], slots=2, now=1_000)
    assert not missed
    agent = Agent(state=state)
    agent.hear(on.Settled(at=agent.now, sent_at=agent.now, lost=()))
    agent.wait(PASSED_MS + 1)
    assert agent.progress(lease) is Progress.FETCHING
    report = only(do.Send, prepared(agent, lease)).report
    assert (report.event, report.token) == (Event.START, lease.token)
    assert do.Start in kinds(agent.answer(lease, Event.START))


def starts(state: State, *, folders: int = 100) -> tuple[int, int]:
    stock = Stock(sources=[{"kind": "fake"}], folders=folders)
    need = need_of(state, 1_000, held={}, stock=stock)
    return need.room, need.starts


def test_only_what_could_start_at_once_is_asked_to_be_started() -> None:
    agent = Agent(slots=3)
    assert starts(agent.state) == (3, 3)
    agent.reach(a_lease("a"), Progress.RUNNING)
    agent.reach(a_lease("b"), Progress.FETCHING)
    assert starts(agent.state) == (1, 1)
    assert starts(replace(agent.state, run_ms=100.0)) == (1 + 2 * 3, 1)
    assert starts(replace(agent.state, settling=Settling.UNASKED)) == (0, 0)
    assert starts(replace(agent.state, is_draining=True)) == (0, 0)
    assert starts(State(slots=UNLIMITED)) == (LEASE_LIMIT, LEASE_LIMIT)
    assert starts(State(slots=3), folders=2) == (3, 2)


def test_a_report_that_is_answered_frees_a_folder_for_a_start() -> None:
    agent = Agent(slots=2, state=State(slots=2, run_ms=100.0))
    agent.reach(a_lease("a"), Progress.REPORTING)
    assert starts(agent.state, folders=0)[1] == 1
    assert starts(agent.state, folders=1)[1] == 2


def test_very_short_programs_are_started_ahead_of_their_slots_and_nothing_waits_behind() -> None:
    state = State(slots=3, run_ms=2.0)
    assert starts(state) == (3 * (1 + GATES_AHEAD), 3 * (1 + GATES_AHEAD))
    room = need_of(state, 1_000, held={}, stock=Stock()).room
    assert room > 3 * (1 + GATES_AHEAD)


def a_source(number: int) -> Lease:
    return a_lease(str(number), spec={"source": {"kind": "git", "commit": number}})


def test_the_sources_of_the_last_programs_are_offered_while_they_are_at_hand() -> None:
    gone: list[Lease] = []
    warm = Warm(folders=lambda lease: 2 if lease not in gone else 0, boot_ms=lambda: 0)
    leases = [a_source(number) for number in range(SOURCES + 2)]
    for lease in leases:
        warm.note(lease)
    warm.note(a_lease("no source"))
    assert warm.stock().sources == [lease.spec["source"] for lease in leases[2:]]
    assert warm.stock().folders == 2 * SOURCES
    warm.note(leases[2])
    gone.append(leases[3])
    offered = warm.stock().sources
    assert offered[-1] == leases[2].spec["source"]
    assert leases[3].spec["source"] not in offered


def test_a_source_that_was_cold_is_not_offered_for_half_a_minute() -> None:
    now = [5]
    warm = Warm(folders=lambda _: 1, boot_ms=lambda: now[0])
    lease = a_source(1)
    warm.note(lease)
    warm.cool(lease)
    now[0] += COOL_MS - 1
    warm.note(a_source(1))
    assert warm.stock() == Stock(sources=[])
    now[0] += 1
    assert warm.stock().sources == [lease.spec["source"]]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        yield made
    finally:
        made.inbox.put(None)


def launched(world: World) -> str:
    name = world.server.add()
    world.server.until(lambda: world.server.state(name) == "finished")
    return name


def events(world: World, name: str) -> list[str]:
    return [report["event"] for report in world.server.items[name]["events"]]


def test_what_is_at_hand_starts_with_its_lease(world: World) -> None:
    world.begin()
    names = [launched(world) for _ in range(3)]  # the second's poll was opened before the first ran
    assert events(world, names[0]) == ["start", "finish"]
    assert events(world, names[2]) == ["finish"]
    world.finish()


def test_what_went_cold_is_given_back_and_then_takes_the_long_way(world: World) -> None:
    world.begin()
    for _ in range(2):
        launched(world)
    world.fetcher._known.clear()
    world.source.refusals = [TemporaryError("later")]
    name = launched(world)
    assert events(world, name) == ["requeue", "start", "finish"]
    assert world.machine.starts[2:] == [f"{name}.2"]
    world.finish()


def doubted(agent: Agent, lease: Lease) -> list[do.Effect]:
    return agent.hear(on.Doubted(at=agent.now, key=lease.key, item=lease.item, token=lease.token))


def test_a_lease_that_never_came_goes_back_and_is_not_taken_any_more() -> None:
    agent, lease = Agent(), a_started()
    report = only(do.Send, doubted(agent, lease)).report
    assert (report.item, report.token, report.event) == (lease.item, lease.token, Event.REQUEUE)
    assert not agent.lease(lease)
    assert not agent.state.attempts


def test_a_lease_that_came_is_renewed_when_it_is_doubted() -> None:
    agent, lease = Agent(), a_started()
    agent.lease(lease)
    prepared(agent, lease)
    effects = doubted(agent, lease)
    assert only(do.Renew, effects).held == {lease.item: lease.token}
    assert not any(isinstance(effect, do.Send) for effect in effects)


def test_a_journal_is_whole_only_after_an_agent_of_the_same_boot(tmp_path: Path) -> None:
    def is_whole(boot: str) -> bool:
        journal = Journal(tmp_path / "journal", boot_id=boot)
        journal.open()
        journal.close()
        return journal.is_whole

    assert [is_whole("one"), is_whole("one"), is_whole("two"), is_whole("two")] == [
        False, True, False, True,
    ]  # fmt: skip
