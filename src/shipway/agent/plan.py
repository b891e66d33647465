"""Decides what an agent does: `step(state, event)` gives a new state and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from shipway.agent import events as on
from shipway.agent.change import change
from shipway.agent.draft import Draft, draft_of, state_of
from shipway.agent.effects import Build, Deadlines, Effect, Fetch, Mark, Record, Send
from shipway.agent.lease import Report
from shipway.agent.state import (
    BACKOFF_MS,
    CLOSING,
    DISOWNED,
    MAKING,
    PREPARING,
    RENEW_AGAIN_MS,
    RENEW_MS,
    STARTED,
    TRIES,
    TRUST_MARGIN_MS,
    UNKNOWN_MS,
    UNSTARTED,
    Attempt,
    Progress,
    Settling,
    State,
)
from shipway.agent.turn import take_turn
from shipway.agent.verdict import verdict
from shipway.domain.attempt import Cause
from shipway.domain.errors import Code
from shipway.domain.item import Event as ItemEvent

Step = tuple[State, list[Effect]]


def step(state: State, event: on.Event) -> Step:
    """Take one event; what is late or about an unknown attempt changes nothing."""
    return steps(state, (event,))


def steps(state: State, events: Iterable[on.Event]) -> Step:
    """Take several events in order: the same as one step after the other, in one go."""
    draft = draft_of(state)
    for event in events:
        _STEPS[type(event)](draft, event)
    return state_of(draft), draft.effects


def _leased(draft: Draft, event: on.Leased) -> None:
    # A poll may have been answered long after it was sent, and the leases count from then.
    is_first = not draft.attempts
    draft.renewed_at = event.sent_at if is_first else min(draft.renewed_at, event.sent_at)
    for lease in event.leases:
        if lease.key in draft.attempts or lease.token in draft.disowned:
            continue
        attempt = Attempt(
            lease=lease,
            progress=Progress.FETCHING,
            trusted_until=event.sent_at + lease.term_ms - TRUST_MARGIN_MS,
            since=event.at,
            passed_at=event.at if lease.is_started else None,
        )
        draft.put(attempt)
        draft.do(Record(mark=Mark.LEASE, key=lease.key, lease=lease, at=event.at))
        draft.do(Fetch(lease=lease))


def _fetched(draft: Draft, event: on.Fetched) -> None:
    attempt = draft.attempts.get(event.key)
    if attempt is not None and attempt.progress is Progress.FETCHING:
        draft.put(change(attempt, progress=Progress.BUILDING, tries=0, wake_at=None))
        draft.do(Build(lease=attempt.lease))


def _built(draft: Draft, event: on.Built) -> None:
    attempt = draft.attempts.get(event.key)
    if attempt is not None and attempt.progress in MAKING:
        has_passed = attempt.passed_at is not None
        progress = Progress.PASSED if has_passed else Progress.READY
        draft.put(change(attempt, progress=progress, tries=0, wake_at=None, ready_at=event.at))


def _failed(draft: Draft, event: on.Failed) -> None:
    attempt = draft.attempts.get(event.key)
    if attempt is None or attempt.progress in CLOSING:
        return
    if attempt.is_lost:
        draft.forget(attempt)
    elif event.is_temporary and attempt.tries + 1 < TRIES:
        delay = BACKOFF_MS * 4**attempt.tries
        draft.put(change(attempt, tries=attempt.tries + 1, wake_at=event.at + delay))
    else:
        may_return = event.is_temporary and attempt.progress in PREPARING
        draft.close(attempt, failure=event.failure, is_returned=may_return)


def _answered(draft: Draft, event: on.Answered) -> None:
    attempt = draft.attempts.get(event.key)
    if attempt is None or attempt.lease.token != event.token:
        return
    if attempt.progress is Progress.GATE and event.event is ItemEvent.START:
        _gate(draft, attempt, event)
        return
    is_last = attempt.report is not None and attempt.report.event is event.event
    if attempt.progress is Progress.REPORTING and is_last:
        if event.code is Code.LEASE_LOST:
            attempt = change(attempt, is_lost=True)
        draft.forget(attempt)


def _gate(draft: Draft, attempt: Attempt, event: on.Answered) -> None:
    if attempt.stop_grace_s is not None:
        draft.close(attempt)
    elif event.is_ok:
        trusted = event.sent_at + event.term_ms - TRUST_MARGIN_MS
        passed = change(
            attempt,
            progress=Progress.PASSED,
            trusted_until=max(trusted, attempt.trusted_until),
            passed_at=event.at,
        )
        # The turn that ends this batch starts it, if there is a slot and the lease is trusted.
        draft.put(passed)
        draft.do(Record(mark=Mark.GATE, key=attempt.lease.key))
    elif event.stop_requested:
        grace_s = attempt.lease.grace_s if event.grace_s is None else event.grace_s
        draft.close(attempt, stop_grace_s=grace_s)
    else:
        draft.lose(attempt)


def _doubted(draft: Draft, event: on.Doubted) -> None:
    if draft.holder(event.item, event.token) is not None:
        draft.renewed_at = event.at - RENEW_MS  # which shows that it is here
        return
    if event.token not in draft.disowned:
        draft.disowned = (*draft.disowned, event.token)[-DISOWNED:]
    report = Report(key=event.key, item=event.item, token=event.token, event=ItemEvent.REQUEUE)
    draft.do(Send(report=report))


def _stop_asked(draft: Draft, event: on.StopAsked) -> None:
    attempt = draft.holder(event.item, event.token)
    if attempt is None or attempt.is_lost or attempt.progress in CLOSING:
        return
    grace_s = attempt.lease.grace_s if event.grace_s is None else event.grace_s
    known = attempt.stop_grace_s
    if known is not None and grace_s >= known:
        return
    stopping = change(attempt, stop_grace_s=grace_s)
    if attempt.progress in UNSTARTED:
        draft.close(stopping)
    else:
        draft.end(stopping, Cause.STOP)


def _lost(draft: Draft, event: on.Lost) -> None:
    attempt = draft.holder(event.item, event.token)
    if attempt is not None:
        draft.lose(attempt)


def _renewed(draft: Draft, event: on.Renewed) -> None:
    deadlines: dict[str, int] = {}
    for attempt in list(draft.attempts.values()):
        term = event.terms.get(attempt.lease.item)
        if term is None or attempt.is_lost:
            continue
        until = max(attempt.trusted_until, event.sent_at + term - TRUST_MARGIN_MS)
        draft.put(change(attempt, trusted_until=until))
        if attempt.handle is not None and attempt.progress in STARTED:
            deadlines[attempt.handle] = until
    if deadlines:
        draft.do(Deadlines(by_handle=deadlines))


def _not_renewed(draft: Draft, event: on.NotRenewed) -> None:
    draft.renewed_at = event.at - RENEW_MS + RENEW_AGAIN_MS


def _started(draft: Draft, event: on.Started) -> None:
    attempt = draft.attempts.get(event.key)
    if attempt is None or attempt.progress not in STARTED:
        return
    running = change(
        attempt,
        progress=Progress.RUNNING,
        handle=event.handle,
        started_at=event.at,
        wake_at=None,
    )
    draft.do(Record(mark=Mark.START, key=event.key, handle=event.handle))
    if attempt.is_lost or attempt.stop_grace_s is not None:
        draft.end(running, Cause.LEASE if attempt.is_lost else Cause.STOP)
    else:
        draft.put(running)


def _ended(draft: Draft, event: on.Ended) -> None:
    attempt = draft.attempts.get(event.key)
    if attempt is None or attempt.progress not in STARTED:
        return
    if event.ending.cause is Cause.EXIT:
        ran = float(event.at - (attempt.started_at or event.at))
        is_first = draft.run_ms == UNKNOWN_MS
        draft.run_ms = ran if is_first else 0.7 * draft.run_ms + 0.3 * ran
    if attempt.is_lost:
        draft.forget(change(attempt, ending=event.ending))
    else:
        draft.close(attempt, ending=event.ending)


def _drained(draft: Draft, event: on.Drained) -> None:
    attempt = draft.attempts.get(event.key)
    if attempt is None or attempt.progress is not Progress.DRAINING:
        return
    report = verdict(attempt, log_sizes=event.log_sizes, log_tail=event.log_tail)
    draft.put(change(attempt, progress=Progress.REPORTING, report=report))
    draft.do(Send(report=report))


def _settled(draft: Draft, event: on.Settled) -> None:
    lost = frozenset(event.lost)
    for attempt in list(draft.attempts.values()):
        if attempt.lease.item in lost:
            draft.lose(attempt)
    draft.settling = Settling.ENDING


def _drain_asked(draft: Draft, event: on.DrainAsked) -> None:
    draft.is_draining = event.is_draining


def _room_seen(draft: Draft, event: on.RoomSeen) -> None:
    draft.is_short = event.is_short


def _turn(draft: Draft, event: on.Turn) -> None:
    take_turn(draft, event.at)


_STEPS: dict[type, Callable[[Draft, Any], None]] = {
    on.Leased: _leased,
    on.Fetched: _fetched,
    on.Built: _built,
    on.Failed: _failed,
    on.Answered: _answered,
    on.Doubted: _doubted,
    on.StopAsked: _stop_asked,
    on.Lost: _lost,
    on.Renewed: _renewed,
    on.NotRenewed: _not_renewed,
    on.Started: _started,
    on.Ended: _ended,
    on.Drained: _drained,
    on.Settled: _settled,
    on.DrainAsked: _drain_asked,
    on.RoomSeen: _room_seen,
    on.Turn: _turn,
}
