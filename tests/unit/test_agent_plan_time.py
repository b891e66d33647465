"""The agent's plan: renewals, failures, limits, slots, restarts and how programs end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.agent import effects as do
from shipway.agent import events as on
from shipway.agent.plan import step, steps
from shipway.agent.state import (
    GATES_AHEAD,
    GIVE_BACK_MS,
    PASSED_MS,
    RENEW_MS,
    TRIES,
    TRUST_MARGIN_MS,
    UNLIMITED,
    Progress,
    Settling,
    State,
)
from shipway.domain.attempt import Cause, Ending
from shipway.domain.item import Event, FailureClass, Stage
from tests.support.agent_plan import BROKEN, Agent, a_lease, kinds, only, room

REACHABLE = [
    Progress.FETCHING,
    Progress.BUILDING,
    Progress.GATE,
    Progress.STARTING,
    Progress.RUNNING,
    Progress.DRAINING,
    Progress.REPORTING,
]


def test_all_leases_are_renewed_in_one_batch_every_ten_seconds() -> None:
    agent, first, second = Agent(slots=2), a_lease("a"), a_lease("b")
    agent.reach(first, Progress.RUNNING)
    agent.lease(second)
    assert not kinds(agent.wait(RENEW_MS - 1))
    renew = only(do.Renew, agent.wait(1))
    assert renew.held == {"a": first.token, "b": second.token}
    assert not kinds(agent.wait(1))
    assert kinds(agent.wait(RENEW_MS)) == {do.Renew}


def test_a_renewal_moves_the_deadlines_of_programs() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.RUNNING)
    agent.now += 10_000
    effects = agent.hear(
        on.Renewed(at=agent.now, sent_at=agent.now, terms={lease.item: 60_000_000})
    )
    until = agent.now + 60_000_000 - TRUST_MARGIN_MS
    assert only(do.Deadlines, effects).by_handle == {"h-a.1": until}


def test_a_renewal_that_failed_is_tried_again_soon() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.RUNNING)
    agent.wait(RENEW_MS)
    agent.hear(on.NotRenewed(at=agent.now))
    assert not kinds(agent.wait(1_999))
    assert kinds(agent.wait(1)) == {do.Renew}


def test_a_lost_lease_is_not_renewed() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.RUNNING)
    agent.lose(lease)
    assert not kinds(agent.wait(RENEW_MS))


@pytest.mark.parametrize("progress", [Progress.FETCHING, Progress.BUILDING])
def test_a_permanent_failure_is_reported_with_its_stage(progress: Progress) -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, progress)
    effects = agent.hear(on.Failed(at=agent.now, key=lease.key, failure=BROKEN, is_temporary=False))
    assert only(do.Drain, effects).with_tail
    report = only(
        do.Send,
        agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={}, log_tail=("oh",))),
    ).report
    assert report.event is Event.FAIL
    assert report.failure == replace(BROKEN, log_tail=("oh",))
    assert only(do.Forget, agent.answer(lease, Event.FAIL)).failure is not None


@pytest.mark.parametrize(
    ("progress", "again"), [(Progress.FETCHING, do.Fetch), (Progress.BUILDING, do.Build)]
)
def test_a_temporary_failure_is_tried_again_then_the_item_goes_back(
    progress: Progress, again: type
) -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, progress)
    failed = on.Failed(at=agent.now, key=lease.key, failure=BROKEN, is_temporary=True)
    pauses = []
    for _ in range(TRIES - 1):
        assert not kinds(agent.hear(replace(failed, at=agent.now)))
        pause = 0
        while again not in kinds(agent.wait(500)):
            pause += 500
        pauses.append(pause)
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1]
    agent.hear(replace(failed, at=agent.now))
    report = only(do.Send, agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={})))
    assert (report.report.event, report.report.failure) == (Event.REQUEUE, BROKEN)


def test_a_runner_that_says_later_is_asked_again_and_then_the_item_fails() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.STARTING)
    failed = on.Failed(at=agent.now, key=lease.key, failure=BROKEN, is_temporary=True)
    for _ in range(TRIES - 1):
        assert not kinds(agent.hear(replace(failed, at=agent.now)))
        agent.now += 60_000
        assert do.Send in kinds(agent.hear())  # to the gate again, which may have heard of a stop
        assert do.Start in kinds(agent.answer(lease, Event.START))
    agent.hear(replace(failed, at=agent.now))
    report = only(do.Send, agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={})))
    assert report.report.event is Event.FAIL


def test_a_stop_that_came_while_the_runner_said_later_is_heard_of_at_the_gate() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.STARTING)
    agent.hear(on.Failed(at=agent.now, key=lease.key, failure=BROKEN, is_temporary=True))
    agent.wait(5_000)
    effects = agent.answer(lease, Event.START, is_ok=False, stop_requested=True)
    assert kinds(effects) == {do.Drain}


def test_a_stop_while_the_runner_says_later_needs_no_program() -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.STARTING)
    agent.hear(on.Failed(at=agent.now, key=lease.key, failure=BROKEN, is_temporary=True))
    assert kinds(agent.stop(lease)) == {do.Drain}


def test_the_start_limit_runs_from_the_lease_to_the_gate() -> None:
    agent, lease = Agent(), a_lease(start_limit_s=5.0)
    agent.reach(lease, Progress.BUILDING)
    assert not kinds(agent.wait(5_000))
    assert kinds(agent.wait(1)) == {do.Drain}
    report = only(do.Send, agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={})))
    assert report.report.failure.failure_class is FailureClass.START_LIMIT
    assert report.report.failure.stage is Stage.BUILD


def test_the_start_limit_means_nothing_once_it_started() -> None:
    agent, lease = Agent(), a_lease(start_limit_s=5.0)
    agent.reach(lease, Progress.RUNNING)
    assert not kinds(agent.wait(6_000))


def test_a_prepared_attempt_that_finds_no_slot_goes_back() -> None:
    agent, first, second = Agent(), a_lease("a"), a_lease("b")
    agent.reach(first, Progress.RUNNING)
    agent.lease(second)
    agent.hear(on.Fetched(at=agent.now, key=second.key), on.Built(at=agent.now, key=second.key))
    agent.wait(GIVE_BACK_MS + 1)
    report = only(do.Send, agent.hear(on.Drained(at=agent.now, key=second.key, log_sizes={})))
    assert (report.report.event, report.report.failure) == (Event.REQUEUE, None)


def test_very_short_programs_pass_the_gate_ahead_of_their_slot_and_never_exceed_the_slots() -> None:
    agent = Agent(slots=1, state=State(slots=1, run_ms=2.0))
    first, *others = (a_lease(name) for name in "abcdefgh")
    agent.reach(first, Progress.RUNNING)
    agent.lease(*others)
    for lease in others:
        agent.hear(on.Fetched(at=agent.now, key=lease.key))
    asked = agent.hear(*[on.Built(at=agent.now, key=lease.key) for lease in others])
    ahead = [effect.report.item for effect in asked if isinstance(effect, do.Send)]
    assert ahead == list("bcdefgh"[:GATES_AHEAD])
    for lease in others[:GATES_AHEAD]:
        assert not kinds(agent.answer(lease, Event.START))
        assert agent.progress(lease) is Progress.PASSED
    effects = agent.end(first)
    assert only(do.Start, effects).lease == others[0]
    assert only(do.Send, effects).report.item == others[GATES_AHEAD].item


def test_what_passed_the_gate_and_finds_no_slot_goes_back() -> None:
    agent = Agent(slots=1, state=State(slots=1, run_ms=2.0))
    first, second = a_lease("a"), a_lease("b")
    agent.reach(first, Progress.RUNNING)
    agent.lease(second)
    agent.hear(on.Fetched(at=agent.now, key=second.key), on.Built(at=agent.now, key=second.key))
    agent.answer(second, Event.START)
    assert kinds(agent.wait(PASSED_MS)) == set()
    assert kinds(agent.wait(1)) == {do.Drain}
    report = only(do.Send, agent.hear(on.Drained(at=agent.now, key=second.key, log_sizes={})))
    assert report.report.event is Event.REQUEUE
    assert not any(isinstance(e, do.Start) and e.lease == second for e in agent.done)


def test_what_passed_the_gate_long_ago_is_not_started_when_a_slot_comes_free() -> None:
    agent = Agent(slots=1, state=State(slots=1, run_ms=2.0))
    first, second = a_lease("a"), a_lease("b")
    agent.reach(first, Progress.RUNNING)
    agent.lease(second)
    agent.hear(on.Fetched(at=agent.now, key=second.key), on.Built(at=agent.now, key=second.key))
    agent.answer(second, Event.START)
    agent.now += PASSED_MS + 1
    agent.end(first)
    assert agent.progress(second) is Progress.DRAINING
    assert not any(isinstance(e, do.Start) and e.lease == second for e in agent.done)


def test_a_stop_of_what_passed_the_gate_and_waits_needs_no_program() -> None:
    agent = Agent(slots=1, state=State(slots=1, run_ms=2.0))
    first, second = a_lease("a"), a_lease("b")
    agent.reach(first, Progress.RUNNING)
    agent.lease(second)
    agent.hear(on.Fetched(at=agent.now, key=second.key), on.Built(at=agent.now, key=second.key))
    agent.answer(second, Event.START)
    assert kinds(agent.stop(second)) == {do.Drain}
    assert not any(isinstance(e, do.Start) for e in agent.end(first))


def test_slots_bound_the_programs_and_are_filled_in_order_of_arrival() -> None:
    agent = Agent(slots=2)
    leases = [a_lease(name) for name in "zyx"]
    agent.lease(*leases)
    for lease in reversed(leases):
        agent.hear(on.Fetched(at=agent.now, key=lease.key))
    effects = agent.hear(*[on.Built(at=agent.now, key=lease.key) for lease in reversed(leases)])
    asked = [e.report.item for e in effects if isinstance(e, do.Send)]
    assert asked == ["z", "y"]
    assert agent.progress(leases[2]) is Progress.READY


def test_a_drain_gives_back_what_no_slot_is_free_for_and_finishes_the_rest() -> None:
    agent, first, second = Agent(), a_lease("a"), a_lease("b")
    agent.reach(first, Progress.RUNNING)
    agent.lease(second)
    effects = agent.hear(on.DrainAsked(at=agent.now, is_draining=True))
    assert only(do.Drain, effects).lease == second
    assert agent.progress(first) is Progress.RUNNING
    assert room(agent.state, agent.now) == 0
    agent.hear(on.DrainAsked(at=agent.now, is_draining=False))
    assert not agent.state.is_draining


def test_room_is_what_fits_and_more_only_for_short_programs() -> None:
    agent = Agent(slots=3)
    assert room(agent.state, agent.now) == 3
    agent.reach(a_lease("a"), Progress.RUNNING)
    assert room(agent.state, agent.now) == 2
    short = replace(agent.state, run_ms=20.0)
    assert room(short, agent.now) == 2 + 6
    assert room(short, agent.now + 60_000) == 2
    assert room(Agent(slots=UNLIMITED).state, 0) > 30


def test_after_a_restart_nothing_is_taken_until_what_was_lost_has_ended() -> None:
    kept, gone = a_lease("a"), a_lease("b")
    agent = Agent(slots=4)
    agent.reach(kept, Progress.RUNNING)
    agent.reach(gone, Progress.RUNNING)
    agent.state = replace(agent.state, settling=Settling.UNASKED)
    assert room(agent.state, agent.now) == 0
    effects = agent.hear(on.Settled(at=agent.now, sent_at=agent.now, lost=(gone.item,)))
    assert only(do.Stop, effects).handle == "h-b.1"
    assert room(agent.state, agent.now) == 0
    agent.end(gone, cause=Cause.LEASE, exit_code=None)
    assert room(agent.state, agent.now) == 3


def test_after_a_restart_with_nothing_held_work_is_taken_at_once() -> None:
    agent = Agent(state=State(slots=2, settling=Settling.UNASKED))
    agent.hear(on.Settled(at=agent.now, sent_at=agent.now, lost=()))
    assert room(agent.state, agent.now) == 2


@pytest.mark.parametrize("progress", REACHABLE)
def test_late_and_foreign_events_change_nothing(progress: Progress) -> None:
    agent, lease, other = Agent(), a_lease(), a_lease("x")
    agent.reach(lease, progress)
    before = agent.state
    agent.hear(
        on.Fetched(at=agent.now, key=other.key),
        on.Built(at=agent.now, key=other.key),
        on.Failed(at=agent.now, key=other.key, failure=BROKEN, is_temporary=False),
        on.Started(at=agent.now, key=other.key, handle="h"),
        on.Ended(at=agent.now, key=other.key, ending=Ending(cause=Cause.EXIT, exit_code=0)),
        on.Drained(at=agent.now, key=other.key, log_sizes={}),
        on.StopAsked(at=agent.now, item=lease.item, token=other.token, grace_s=None),
        on.Lost(at=agent.now, item=lease.item, token=other.token),
        on.Leased(at=agent.now, sent_at=agent.now, leases=(lease,)),
    )
    assert agent.state.attempts == before.attempts


def test_the_same_events_give_the_same_effects() -> None:
    def story() -> list[do.Effect]:
        agent = Agent(slots=3)
        leases = [a_lease(name) for name in "qwertyuiop"]
        agent.lease(*leases)
        for lease in leases:
            agent.hear(on.Fetched(at=agent.now, key=lease.key))
        agent.hear(*[on.Built(at=agent.now, key=lease.key) for lease in leases])
        agent.wait(RENEW_MS)
        return agent.done

    assert story() == story()


def test_several_steps_at_once_are_the_same_as_one_after_the_other() -> None:
    lease, other = a_lease("a"), a_lease("b")
    events: list[on.Event] = [
        on.Leased(at=1, sent_at=1, leases=(lease, other)),
        on.Fetched(at=2, key=lease.key),
        on.Built(at=3, key=lease.key),
        on.Turn(at=4),
        on.StopAsked(at=5, item=other.item, token=other.token, grace_s=None),
        on.Turn(at=6),
    ]
    start = State(slots=1)
    one_by_one: list[do.Effect] = []
    state = start
    for event in events:
        state, more = step(state, event)
        one_by_one += more
    assert steps(start, events) == (state, one_by_one)
    assert start == State(slots=1)


@pytest.mark.parametrize(("is_stopped", "event"), [(False, Event.REQUEUE), (True, Event.STOP)])
def test_what_its_runner_withdrew_is_given_back_uncounted(
    is_stopped: bool,
    event: Event,
) -> None:
    agent, lease = Agent(), a_lease()
    agent.reach(lease, Progress.RUNNING)
    if is_stopped:
        agent.hear(on.StopAsked(at=agent.now, item=lease.item, token=lease.token, grace_s=1.0))
    agent.end(lease, cause=Cause.WITHDRAWN, exit_code=None)
    sent = only(do.Send, agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={})))
    assert (sent.report.event, sent.report.failure) == (event, None)


@pytest.mark.parametrize(
    ("ending", "failure_class"),
    [
        ({"cause": Cause.EXIT, "exit_code": 3}, FailureClass.EXIT),
        ({"cause": Cause.SIGNAL, "exit_code": None, "signal": 11}, FailureClass.SIGNAL),
        ({"cause": Cause.OOM, "exit_code": None, "signal": 9}, FailureClass.OOM),
        ({"cause": Cause.OOM_PROBABLE, "exit_code": None}, FailureClass.OOM_PROBABLE),
        ({"cause": Cause.TIME_LIMIT, "exit_code": None}, FailureClass.TIME_LIMIT),
        ({"cause": Cause.SUPERVISOR, "exit_code": None}, FailureClass.LOST),
        ({"cause": Cause.NOT_STARTED, "exit_code": None}, FailureClass.AGENT),
    ],
)
def test_each_way_to_end_has_its_class(ending: dict[str, Any], failure_class: FailureClass) -> None:
    agent, lease = Agent(), a_lease(run_limit_s=60.0)
    agent.reach(lease, Progress.RUNNING)
    assert only(do.Drain, agent.end(lease, **ending)).with_tail
    report = only(do.Send, agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={})))
    assert report.report.event is Event.FAIL
    assert report.report.failure.failure_class is failure_class
    assert report.report.exit_code == ending["exit_code"]
    assert report.report.failure.reason
