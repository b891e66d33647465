"""Decides what follows from time alone: renewals, second tries, limits, and who starts next."""

from __future__ import annotations

from dataclasses import dataclass

from shipway.agent.change import change
from shipway.agent.draft import Draft
from shipway.agent.effects import Build, Fetch, Renew, Send, Start
from shipway.agent.lease import Key, Report
from shipway.agent.state import (
    GIVE_BACK_MS,
    PASSED_MS,
    PREPARING,
    RENEW_MS,
    STARTED,
    UNLIMITED,
    USING,
    Attempt,
    Progress,
    Settling,
    gates,
)
from shipway.domain.ids import ItemId
from shipway.domain.item import Event, Failure, FailureClass, Stage

_WAITING = PREPARING | {Progress.PASSED}


@dataclass(slots=True)
class _Free:
    """What this turn can still give away."""

    slots: int
    gates: int
    busy: set[ItemId]  # items with a program here, or about to have one


def take_turn(draft: Draft, now: int) -> None:
    """Let those go on that wait for a slot, for trust, for their next try or for their end."""
    waiting = [a for a in draft.attempts.values() if a.progress in _WAITING or a.wake_at]
    if waiting:
        free = _free(draft)
        for attempt in waiting:
            if attempt.wake_at is None and _must_wait(draft, attempt, now, free):
                continue
            over = _overdue(draft, attempt, now, free)
            if over is not None:
                draft.close(over)
            else:
                _move(draft, attempt, now, free)
    if draft.attempts and now - draft.renewed_at >= RENEW_MS:
        held = {a.lease.item: a.lease.token for a in draft.attempts.values() if not a.is_lost}
        if held:
            draft.do(Renew(held=held))
        draft.renewed_at = now
    if draft.settling is Settling.ENDING and not any(a.is_lost for a in draft.attempts.values()):
        draft.settling = Settling.DONE


def _free(draft: Draft) -> _Free:
    using = [a for a in draft.attempts.values() if a.progress in USING]
    busy = {a.lease.item for a in using}
    if draft.slots == UNLIMITED:
        return _Free(slots=len(draft.attempts), gates=len(draft.attempts), busy=busy)
    started = len([1 for a in using if a.progress in STARTED])
    may_pass = gates(draft.slots, draft.run_ms)
    return _Free(slots=draft.slots - started, gates=may_pass - len(using), busy=busy)


def _must_wait(draft: Draft, attempt: Attempt, now: int, free: _Free) -> bool:
    """Tell at once of most that nothing follows from this moment for them."""
    if draft.is_draining or attempt.lease.start_limit_s is not None:
        return False
    if attempt.progress is Progress.READY:
        return free.gates <= 0 and now - attempt.ready_at <= GIVE_BACK_MS
    if attempt.progress is Progress.PASSED:
        return free.slots <= 0 and now - attempt.ready_at <= PASSED_MS
    return attempt.progress in PREPARING


def _move(draft: Draft, attempt: Attempt, now: int, free: _Free) -> None:
    lease = attempt.lease
    if attempt.wake_at is not None:
        if attempt.wake_at <= now:
            _again(draft, attempt)
    elif attempt.progress is Progress.READY:
        if free.gates > 0 and lease.item not in free.busy:
            free.gates -= 1
            draft.put(change(attempt, progress=Progress.GATE))
            report = Report(key=lease.key, item=lease.item, token=lease.token, event=Event.START)
            draft.do(Send(report=report))
    elif attempt.progress is Progress.PASSED:
        _start(draft, attempt, now, free)


def _start(draft: Draft, attempt: Attempt, now: int, free: _Free) -> None:
    if free.slots > 0 and now < attempt.trusted_until:
        free.slots -= 1
        draft.put(change(attempt, progress=Progress.STARTING, started_at=now))
        draft.do(Start(lease=attempt.lease, deadline=attempt.trusted_until))


def _overdue(draft: Draft, attempt: Attempt, now: int, free: _Free) -> Attempt | None:
    """Return an unstarted attempt as it is given up, or None for one that may go on."""
    waited = now - attempt.ready_at
    if attempt.progress is Progress.PASSED:
        # Also where a slot came free just now: what the gate said is too old to start by.
        return change(attempt, is_returned=True) if waited > PASSED_MS else None
    if attempt.progress not in PREPARING:
        return None
    limit = attempt.lease.start_limit_s
    if limit is not None and now - attempt.since > limit * 1000:
        failure = Failure(
            stage=_stage(attempt),
            failure_class=FailureClass.START_LIMIT,
            reason=f"it was not started within its start limit of {limit:g} s",
        )
        return change(attempt, failure=failure)
    if attempt.progress is Progress.READY and free.gates <= 0 and waited > GIVE_BACK_MS:
        return change(attempt, is_returned=True)
    if draft.is_draining and free.slots <= _before(draft, attempt.lease.key):
        return change(attempt, is_returned=True)
    return None


def _before(draft: Draft, key: Key) -> int:
    """Count the unstarted attempts that come before this one."""
    count = 0
    for other, attempt in draft.attempts.items():
        if other == key:
            break
        count += attempt.progress in PREPARING
    return count


def _again(draft: Draft, attempt: Attempt) -> None:
    """Do the step that failed once more."""
    lease = attempt.lease
    draft.put(change(attempt, wake_at=None))
    if attempt.progress is Progress.FETCHING:
        draft.do(Fetch(lease=lease))
    elif attempt.progress is Progress.BUILDING:
        draft.do(Build(lease=lease))
    elif attempt.progress is Progress.STARTING:
        draft.do(Start(lease=lease, deadline=attempt.trusted_until))


def _stage(attempt: Attempt) -> Stage:
    if attempt.progress is Progress.FETCHING:
        return Stage.SOURCE
    return Stage.BUILD if attempt.progress is Progress.BUILDING else Stage.AGENT
