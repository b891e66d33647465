"""The agent's plan: every phase, against stops, losses, failures and time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.agent import effects as do
from shipway.agent import events as on
from shipway.agent.lease import Lease
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
    room,
)
from shipway.domain.attempt import Cause, Ending
from shipway.domain.errors import Code
from shipway.domain.ids import ItemId, Token
from shipway.domain.item import Event, Failure, FailureClass, Stage

TERM = 30_000
RUNNING_TERM = 900_000
BROKEN = Failure(stage=Stage.SOURCE, failure_class=FailureClass.SOURCE, reason="no such commit")


def a_lease(name: str = "a", *, attempt: int = 1, **given: Any) -> Lease:
    fields: dict[str, Any] = {
        "key": f"{name}.{attempt}",
        "item": ItemId(name),
        "attempt": attempt,
        "token": Token(f"token-{name}-{attempt}"),
        "job_key": "key",
        "term_ms": TERM,
        "resource": "local-process",
    }
    return Lease(**{**fields, **given})


class Agent:
    """A plan with its state, told one event after another."""

    def __init__(self, *, slots: int = 1, state: State | None = None) -> None:
        self.state = state or State(slots=slots)
        self.done: list[do.Effect] = []
        self.now = 1_000

    def hear(self, *events: on.Event) -> list[do.Effect]:
        """Take events and the turn that ends them, and return what follows."""
        effects: list[do.Effect] = []
        for event in (*events, on.Turn(at=self.now)):
            self.state, more = step(self.state, event)
            effects += more
        self.done += effects
        return effects

    def wait(self, ms: int) -> list[do.Effect]:
        self.now += ms
        return self.hear()

    def lease(self, *leases: Lease) -> list[do.Effect]:
        return self.hear(on.Leased(at=self.now, sent_at=self.now, leases=leases))

    def answer(self, lease: Lease, event: Event, **given: Any) -> list[do.Effect]:
        fields: dict[str, Any] = {"is_ok": True, "term_ms": RUNNING_TERM, **given}
        return self.hear(
            on.Answered(
                at=self.now,
                sent_at=self.now,
                key=lease.key,
                token=lease.token,
                event=event,
                **fields,
            )
        )

    def reach(self, lease: Lease, progress: Progress) -> list[do.Effect]:
        """Take a lease as far as a phase, and return the effects of the last event."""
        at, key = self.now, lease.key
        steps = {
            Progress.FETCHING: lambda: self.lease(lease),
            Progress.BUILDING: lambda: self.hear(on.Fetched(at=at, key=key)),
            Progress.GATE: lambda: self.hear(on.Built(at=at, key=key)),
            Progress.STARTING: lambda: self.answer(lease, Event.START),
            Progress.RUNNING: lambda: self.hear(on.Started(at=at, key=key, handle=f"h-{key}")),
            Progress.DRAINING: lambda: self.end(lease),
            Progress.REPORTING: lambda: self.hear(on.Drained(at=at, key=key, log_sizes={})),
        }
        effects: list[do.Effect] = []
        for name, take in steps.items():
            effects = take()
            if name is progress:
                assert self.progress(lease) is progress
                return effects
        raise AssertionError(progress)

    def end(self, lease: Lease, **given: Any) -> list[do.Effect]:
        fields: dict[str, Any] = {"cause": Cause.EXIT, "exit_code": 0, **given}
        return self.hear(on.Ended(at=self.now, key=lease.key, ending=Ending(**fields)))

    def stop(self, lease: Lease, grace_s: float | None = None) -> list[do.Effect]:
        return self.hear(
            on.StopAsked(at=self.now, item=lease.item, token=lease.token, grace_s=grace_s)
        )

    def lose(self, lease: Lease) -> list[do.Effect]:
        return self.hear(on.Lost(at=self.now, item=lease.item, token=lease.token))

    def progress(self, lease: Lease) -> Progress | None:
        attempt = self.state.attempts.get(lease.key)
        return None if attempt is None else attempt.progress


def only(kind: type[Any], effects: list[do.Effect]) -> Any:
    found = [effect for effect in effects if isinstance(effect, kind)]
    assert len(found) == 1, effects
    return found[0]


def kinds(effects: list[do.Effect]) -> set[type]:
    return {type(effect) for effect in effects} - {do.Record}


REACHABLE = [
    Progress.FETCHING,
    Progress.BUILDING,
    Progress.GATE,
    Progress.STARTING,
    Progress.RUNNING,
    Progress.DRAINING,
    Progress.REPORTING,
]


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
        assert do.Start in kinds(agent.hear())
    agent.hear(replace(failed, at=agent.now))
    report = only(do.Send, agent.hear(on.Drained(at=agent.now, key=lease.key, log_sizes={})))
    assert report.report.event is Event.FAIL


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
