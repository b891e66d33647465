"""The agent's plan: every phase, against stops and lost leases."""

from __future__ import annotations

import pytest

from shipway.agent import effects as do
from shipway.agent import events as on
from shipway.agent.state import (
    TRUST_MARGIN_MS,
    Progress,
)
from shipway.domain.attempt import Cause
from shipway.domain.errors import Code
from shipway.domain.item import Event, FailureClass
from tests.support.agent_plan import RUNNING_TERM, Agent, a_lease, kinds, only


def test_a_launch_goes_through_all_phases_to_one_report() -> None:
    agent, lease = Agent(), a_lease()
    assert kinds(agent.reach(lease, Progress.FETCHING)) == {do.Fetch}
    assert kinds(agent.hear(on.Fetched(at=agent.now, key=lease.key))) == {do.Build}
    gate = only(do.Send, agent.hear(on.Built(at=agent.now, key=lease.key)))
    assert gate.report.event is Event.START
    start = only(do.Start, agent.answer(lease, Event.START))
    assert start.deadline == agent.now + RUNNING_TERM - TRUST_MARGIN_MS
    assert not kinds(agent.hear(on.Started(at=agent.now, key=lease.key, handle="h")))
    drain = only(do.Drain, agent.end(lease, log_size=7))
    assert (drain.program_size, drain.with_tail) == (7, False)
    last = only(do.Send, agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={"x": 7})))
    assert (last.report.event, last.report.exit_code) == (Event.FINISH, 0)
    assert last.report.log_sizes == {"x": 7}
    forget = only(do.Forget, agent.answer(lease, Event.FINISH))
    assert (forget.handle, forget.failure, forget.is_lost) == ("h", None, False)
    assert not agent.state.attempts
    marks = [effect.mark for effect in agent.done if isinstance(effect, do.Record)]
    assert marks == [do.Mark.LEASE, do.Mark.GATE, do.Mark.START, do.Mark.DONE]


def test_the_gate_is_marked_before_the_program_starts() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.GATE)
    effects = agent.answer(lease, Event.START)
    order = [type(effect) for effect in effects]
    assert order.index(do.Record) < order.index(do.Start)


@pytest.mark.parametrize("progress", [Progress.FETCHING, Progress.BUILDING])
def test_a_stop_while_preparing_ends_it_without_a_program(progress: Progress) -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, progress)
    assert kinds(agent.stop(lease)) == {do.Drain}
    report = only(do.Send, agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={})))
    assert report.report.event is Event.STOP
    assert kinds(agent.answer(lease, Event.STOP)) == {do.Forget}
    assert not any(isinstance(effect, do.Start) for effect in agent.done)


def test_a_stop_while_it_waits_for_a_slot_ends_it() -> None:
    agent, first, second = Agent(), a_lease("a"), a_lease("b")
    agent.reach(first, Progress.RUNNING)
    agent.lease(second)
    agent.hear(on.Fetched(at=agent.now, key=second.key), on.Built(at=agent.now, key=second.key))
    assert agent.progress(second) is Progress.READY
    assert kinds(agent.stop(second)) == {do.Drain}


def test_a_stop_that_the_gate_tells_of_starts_nothing() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.GATE)
    effects = agent.answer(lease, Event.START, is_ok=False, stop_requested=True, term_ms=0)
    assert kinds(effects) == {do.Drain}
    report = only(do.Send, agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={})))
    assert report.report.event is Event.STOP


def test_a_stop_heard_while_the_gate_is_asked_starts_nothing_even_if_it_says_yes() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.GATE)
    assert not kinds(agent.stop(lease))
    assert kinds(agent.answer(lease, Event.START)) == {do.Drain}


def test_a_stop_before_the_runner_answered_ends_the_program_once_it_did() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.STARTING)
    assert not kinds(agent.stop(lease, grace_s=2))
    stop = only(do.Stop, agent.hear(on.Started(at=agent.now, key=lease.key, handle="h")))
    assert (stop.handle, stop.grace_s, stop.cause) == ("h", 2, Cause.STOP)


def test_a_stop_ends_a_running_program_and_is_reported_as_that() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.RUNNING)
    stop = only(do.Stop, agent.stop(lease))
    assert (stop.grace_s, stop.cause) == (lease.grace_s, Cause.STOP)
    agent.end(lease, cause=Cause.STOP, exit_code=None, signal=15)
    report = only(do.Send, agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={})))
    assert (report.report.event, report.report.failure) == (Event.STOP, None)


def test_the_same_stop_is_done_once_and_a_shorter_grace_again() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.RUNNING)
    assert kinds(agent.stop(lease, grace_s=5)) == {do.Stop}
    assert not kinds(agent.stop(lease, grace_s=5))
    assert not kinds(agent.stop(lease, grace_s=9))
    assert only(do.Stop, agent.stop(lease, grace_s=0)).grace_s == 0


@pytest.mark.parametrize("progress", [Progress.DRAINING, Progress.REPORTING])
def test_a_stop_after_the_end_changes_nothing(progress: Progress) -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, progress)
    assert not kinds(agent.stop(lease))
    assert agent.progress(lease) is progress


@pytest.mark.parametrize(
    "progress",
    [
        Progress.FETCHING,
        Progress.BUILDING,
        Progress.GATE,
        Progress.DRAINING,
        Progress.REPORTING,
    ],
)
def test_a_lost_lease_without_a_program_is_dropped_quietly(progress: Progress) -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, progress)
    effects = agent.lose(lease)
    assert kinds(effects) == {do.Forget}
    assert only(do.Forget, effects).is_lost
    assert not agent.state.attempts


def test_a_lost_lease_ends_its_program_and_nobody_is_told() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.RUNNING)
    assert only(do.Stop, agent.lose(lease)).cause is Cause.LEASE
    assert not kinds(agent.lose(lease))
    assert kinds(agent.end(lease, cause=Cause.LEASE, exit_code=None)) == {do.Forget}


def test_a_lease_lost_before_the_runner_answered_ends_the_program_once_it_did() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.STARTING)
    assert not kinds(agent.lose(lease))
    effects = agent.hear(on.Started(at=agent.now, key=lease.key, handle="h"))
    assert only(do.Stop, effects).cause is Cause.LEASE


def test_a_gate_that_says_lost_starts_nothing() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.GATE)
    effects = agent.answer(lease, Event.START, is_ok=False, code=Code.LEASE_LOST, term_ms=0)
    assert kinds(effects) == {do.Forget}


def test_a_report_that_says_lost_is_dropped_quietly() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.REPORTING)
    effects = agent.answer(lease, Event.FINISH, is_ok=False, code=Code.LEASE_LOST)
    assert only(do.Forget, effects).is_lost


def test_a_program_that_its_own_deadline_ended_is_reported_as_lost() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.RUNNING)
    agent.end(lease, cause=Cause.LEASE, exit_code=None)
    report = only(do.Send, agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={})))
    assert report.report.failure.failure_class is FailureClass.LOST


def test_a_new_lease_of_an_item_waits_until_the_old_program_is_gone() -> None:
    agent, old, new = Agent(slots=4), a_lease(), a_lease(attempt=2)
    agent.reach(old, Progress.RUNNING)
    agent.lose(old)
    agent.lease(new)
    agent.hear(on.Fetched(at=agent.now, key=new.key))
    assert not kinds(agent.hear(on.Built(at=agent.now, key=new.key)))
    effects = agent.end(old, cause=Cause.LEASE, exit_code=None)
    assert only(do.Send, effects).report.token == new.token


def test_no_start_once_the_lease_is_not_trusted_until_it_is_renewed() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.GATE)
    sent_at = agent.now
    agent.now += RUNNING_TERM
    late = on.Answered(
        at=agent.now,
        sent_at=sent_at,
        key=lease.key,
        token=lease.token,
        event=Event.START,
        is_ok=True,
        term_ms=RUNNING_TERM,
    )
    assert kinds(agent.hear(late)) == {do.Renew}
    assert agent.progress(lease) is Progress.PASSED
    effects = agent.hear(
        on.Renewed(at=agent.now, sent_at=agent.now, terms={lease.item: RUNNING_TERM})
    )
    assert kinds(effects) == {do.Start}
