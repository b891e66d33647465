"""Decides what an agent does: `step(state, event)` gives a new state and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shipway.agent import events as on
from shipway.agent.change import change
from shipway.agent.effects import (
    Build,
    Deadlines,
    Drain,
    Effect,
    Fetch,
    Forget,
    Mark,
    Record,
    Send,
    Stop,
)
from shipway.agent.lease import Key
from shipway.agent.state import (
    BACKOFF_MS,
    CLOSING,
    PREPARING,
    RENEW_AGAIN_MS,
    RENEW_MS,
    STARTED,
    TRIES,
    TRUST_MARGIN_MS,
    UNKNOWN_MS,
    Attempt,
    Progress,
    Settling,
    State,
)
from shipway.agent.turn import take_turn
from shipway.agent.verdict import failure_of, verdict
from shipway.domain.attempt import Cause
from shipway.domain.errors import Code
from shipway.domain.ids import ItemId, Token
from shipway.domain.item import Event as ItemEvent

Step = tuple[State, list[Effect]]


def step(state: State, event: on.Event) -> Step:
    """Take one event; what is late or about an unknown attempt changes nothing."""
    return _STEPS[type(event)](state, event)


def _leased(state: State, event: on.Leased) -> Step:
    attempts = dict(state.attempts)
    effects: list[Effect] = []
    for lease in event.leases:
        if lease.key in attempts:
            continue
        attempts[lease.key] = Attempt(
            lease=lease,
            progress=Progress.FETCHING,
            trusted_until=event.sent_at + lease.term_ms - TRUST_MARGIN_MS,
            since=event.at,
        )
        effects += (
            Record(mark=Mark.LEASE, key=lease.key, lease=lease, at=event.at),
            Fetch(lease=lease),
        )
    renewed_at = state.renewed_at if state.attempts else event.sent_at
    return change(state, attempts=attempts, renewed_at=renewed_at), effects


def _fetched(state: State, event: on.Fetched) -> Step:
    attempt = state.attempts.get(event.key)
    if attempt is None or attempt.progress is not Progress.FETCHING:
        return state, []
    moved = change(attempt, progress=Progress.BUILDING, tries=0, wake_at=None)
    return _put(state, moved), [Build(lease=attempt.lease)]


def _built(state: State, event: on.Built) -> Step:
    attempt = state.attempts.get(event.key)
    if attempt is None or attempt.progress is not Progress.BUILDING:
        return state, []
    moved = change(attempt, progress=Progress.READY, tries=0, wake_at=None, ready_at=event.at)
    return _put(state, moved), []


def _failed(state: State, event: on.Failed) -> Step:
    attempt = state.attempts.get(event.key)
    if attempt is None or attempt.progress in CLOSING:
        return state, []
    if attempt.is_lost:
        return _forget(state, attempt)
    if event.is_temporary and attempt.tries + 1 < TRIES:
        delay = BACKOFF_MS * 4**attempt.tries
        waiting = change(attempt, tries=attempt.tries + 1, wake_at=event.at + delay)
        return _put(state, waiting), []
    may_return = event.is_temporary and attempt.progress in PREPARING
    return _close(state, change(attempt, failure=event.failure, is_returned=may_return))


def _answered(state: State, event: on.Answered) -> Step:
    attempt = _holder(state, event.item, event.token)
    if attempt is None:
        return state, []
    if attempt.progress is Progress.GATE and event.event is ItemEvent.START:
        return _gate(state, attempt, event)
    is_last = attempt.report is not None and attempt.report.event is event.event
    if attempt.progress is Progress.REPORTING and is_last:
        is_lost = event.code is Code.LEASE_LOST
        return _forget(state, change(attempt, is_lost=attempt.is_lost or is_lost))
    return state, []


def _gate(state: State, attempt: Attempt, event: on.Answered) -> Step:
    if attempt.stop_grace_s is not None:
        return _close(state, attempt)
    if not event.is_ok:
        if not event.stop_requested:
            return _forget(state, change(attempt, is_lost=True))
        grace_s = attempt.lease.grace_s if event.grace_s is None else event.grace_s
        return _close(state, change(attempt, stop_grace_s=grace_s))
    trusted = event.sent_at + event.term_ms - TRUST_MARGIN_MS
    passed = change(
        attempt,
        progress=Progress.PASSED,
        trusted_until=max(trusted, attempt.trusted_until),
        ready_at=event.at,
    )
    # The turn that ends this batch starts it, if there is a slot and its lease is trusted then.
    return _put(state, passed), [Record(mark=Mark.GATE, key=attempt.lease.key)]


def _stop_asked(state: State, event: on.StopAsked) -> Step:
    attempt = _holder(state, event.item, event.token)
    if attempt is None or attempt.is_lost or attempt.progress in CLOSING:
        return state, []
    grace_s = attempt.lease.grace_s if event.grace_s is None else event.grace_s
    known = attempt.stop_grace_s
    if known is not None and grace_s >= known:
        return state, []
    stopping = change(attempt, stop_grace_s=grace_s)
    if attempt.progress in PREPARING or attempt.progress is Progress.PASSED:
        return _close(state, stopping)
    return _end(state, stopping, Cause.STOP)


def _lost(state: State, event: on.Lost) -> Step:
    attempt = _holder(state, event.item, event.token)
    return (state, []) if attempt is None else _lose(state, attempt)


def _lose(state: State, attempt: Attempt) -> Step:
    if attempt.is_lost:
        return state, []
    gone = change(attempt, is_lost=True)
    if attempt.progress not in STARTED:
        return _forget(state, gone)
    return _end(state, gone, Cause.LEASE)


def _renewed(state: State, event: on.Renewed) -> Step:
    attempts = dict(state.attempts)
    deadlines: dict[str, int] = {}
    for key, attempt in state.attempts.items():
        term = event.terms.get(attempt.lease.item)
        if term is None or attempt.is_lost:
            continue
        until = max(attempt.trusted_until, event.sent_at + term - TRUST_MARGIN_MS)
        attempts[key] = change(attempt, trusted_until=until)
        if attempt.handle is not None and attempt.progress in STARTED:
            deadlines[attempt.handle] = until
    effects: list[Effect] = [Deadlines(by_handle=deadlines)] if deadlines else []
    return change(state, attempts=attempts), effects


def _not_renewed(state: State, event: on.NotRenewed) -> Step:
    return change(state, renewed_at=event.at - RENEW_MS + RENEW_AGAIN_MS), []


def _started(state: State, event: on.Started) -> Step:
    attempt = state.attempts.get(event.key)
    if attempt is None or attempt.progress not in STARTED:
        return state, []
    running = change(
        attempt,
        progress=Progress.RUNNING,
        handle=event.handle,
        started_at=event.at,
        wake_at=None,
    )
    record = Record(mark=Mark.START, key=event.key, handle=event.handle)
    if attempt.is_lost or attempt.stop_grace_s is not None:
        cause = Cause.LEASE if attempt.is_lost else Cause.STOP
        state, effects = _end(state, running, cause)
        return state, [record, *effects]
    return _put(state, running), [record]


def _ended(state: State, event: on.Ended) -> Step:
    attempt = state.attempts.get(event.key)
    if attempt is None or attempt.progress not in STARTED:
        return state, []
    over = change(attempt, ending=event.ending)
    if event.ending.cause is Cause.EXIT:
        ran = float(event.at - (attempt.started_at or event.at))
        is_first = state.run_ms == UNKNOWN_MS
        run_ms = ran if is_first else 0.7 * state.run_ms + 0.3 * ran
        state = change(state, run_ms=run_ms)
    if attempt.is_lost:
        return _forget(state, over)
    state, effects = _close(state, over)
    return state, [Record(mark=Mark.END, key=event.key), *effects]


def _drained(state: State, event: on.Drained) -> Step:
    attempt = state.attempts.get(event.key)
    if attempt is None or attempt.progress is not Progress.DRAINING:
        return state, []
    report = verdict(attempt, log_sizes=event.log_sizes, log_tail=event.log_tail)
    return _put(state, change(attempt, progress=Progress.REPORTING, report=report)), [
        Send(report=report)
    ]


def _settled(state: State, event: on.Settled) -> Step:
    effects: list[Effect] = []
    lost = frozenset(event.lost)
    for attempt in list(state.attempts.values()):
        if attempt.lease.item in lost:
            state, more = _lose(state, attempt)
            effects += more
    return change(state, settling=Settling.ENDING), effects


def _drain_asked(state: State, event: on.DrainAsked) -> Step:
    return change(state, is_draining=event.is_draining), []


def _turn(state: State, event: on.Turn) -> Step:
    state, effects, give_up = take_turn(state, event.at)
    for attempt in give_up:
        state, more = _close(state, attempt)
        effects += more
    return state, effects


def _close(state: State, attempt: Attempt) -> Step:
    """What an attempt leaves behind goes to the server; how it ended is said after that."""
    closing = change(attempt, progress=Progress.DRAINING, wake_at=None)
    ending = attempt.ending
    has_failed = (
        attempt.failure is not None
        if ending is None
        else failure_of(attempt.lease, ending) is not None
    )
    return _put(state, closing), [
        Drain(
            lease=attempt.lease,
            with_tail=has_failed,
            program_size=None if ending is None else ending.log_size,
        )
    ]


def _end(state: State, attempt: Attempt, cause: Cause) -> Step:
    """End a program; one that the runner has not answered for yet is ended when it does."""
    if attempt.progress is Progress.STARTING and attempt.wake_at is not None:
        # The runner refused it so far, so nothing runs.
        ended = change(attempt, wake_at=None)
        return _forget(state, ended) if attempt.is_lost else _close(state, ended)
    if attempt.handle is None:
        return _put(state, attempt), []
    grace_s = attempt.lease.grace_s if attempt.stop_grace_s is None else attempt.stop_grace_s
    stop = Stop(lease=attempt.lease, handle=attempt.handle, grace_s=grace_s, cause=cause)
    return _put(state, change(attempt, progress=Progress.ENDING)), [stop]


def _forget(state: State, attempt: Attempt) -> Step:
    key = attempt.lease.key
    attempts = {other: value for other, value in state.attempts.items() if other != key}
    failure = attempt.failure
    if failure is None and attempt.report is not None:
        failure = attempt.report.failure
    forget = Forget(
        lease=attempt.lease, handle=attempt.handle, failure=failure, is_lost=attempt.is_lost
    )
    return change(state, attempts=attempts), [Record(mark=Mark.DONE, key=key), forget]


def _holder(state: State, item: ItemId, token: Token) -> Attempt | None:
    for attempt in state.attempts.values():
        if attempt.lease.token == token and attempt.lease.item == item:
            return attempt
    return None


def _put(state: State, attempt: Attempt) -> State:
    attempts: dict[Key, Attempt] = dict(state.attempts)
    attempts[attempt.lease.key] = attempt
    return change(state, attempts=attempts)


_STEPS: dict[type, Callable[[State, Any], Step]] = {
    on.Leased: _leased,
    on.Fetched: _fetched,
    on.Built: _built,
    on.Failed: _failed,
    on.Answered: _answered,
    on.StopAsked: _stop_asked,
    on.Lost: _lost,
    on.Renewed: _renewed,
    on.NotRenewed: _not_renewed,
    on.Started: _started,
    on.Ended: _ended,
    on.Drained: _drained,
    on.Settled: _settled,
    on.DrainAsked: _drain_asked,
    on.Turn: _turn,
}
