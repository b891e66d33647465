"""Decides what follows from time alone: renewals, second tries, limits, and who starts next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shipway.agent.change import change
from shipway.agent.draft import Draft
from shipway.agent.effects import Build, Cool, Fetch, Renew, Send, Start
from shipway.agent.lease import Key, Lease, Report
from shipway.agent.state import (
    GIVE_BACK_MS,
    PASSED_MS,
    PREPARING,
    RENEW_MS,
    STARTED,
    UNLIMITED,
    UNSTARTED,
    USING,
    Attempt,
    Progress,
    Settling,
    gates,
)
from shipway.domain.item import Event, Failure, FailureClass, Stage


@dataclass(slots=True)
class _Free:
    """What this turn can still give away."""

    slots: int
    gates: int


def take_turn(draft: Draft, now: int) -> None:
    """Let those go on that wait for a slot, for trust, for their next try or for their end."""
    waiting, free = _look(draft)
    for attempt in waiting:
        if attempt.wake_at is None and _must_wait(draft, attempt, now, free):
            continue
        over = _overdue(draft, attempt, now, free)
        if over is None:
            _move(draft, attempt, now, free)
        else:
            draft.close(attempt, **over)
    if draft.attempts and now - draft.renewed_at >= RENEW_MS:
        held = {a.lease.item: a.lease.token for a in draft.attempts.values() if not a.is_lost}
        if held:
            draft.do(Renew(held=held))
        draft.renewed_at = now
    if draft.settling is Settling.ENDING and not any(a.is_lost for a in draft.attempts.values()):
        draft.settling = Settling.DONE


def _look(draft: Draft) -> tuple[list[Attempt], _Free]:
    """Return those that wait, and what there is for them."""
    waiting = []
    started = passing = 0
    for attempt in draft.attempts.values():
        progress = attempt.progress
        if progress in UNSTARTED:
            waiting.append(attempt)
            passing += attempt.passed_at is not None
        elif progress in STARTED:
            started += 1
            if attempt.wake_at is not None:
                waiting.append(attempt)
        elif progress is Progress.GATE:
            passing += 1
    if draft.slots == UNLIMITED:
        return waiting, _Free(slots=len(draft.attempts), gates=len(draft.attempts))
    may_pass = gates(draft.slots, draft.run_ms)
    return waiting, _Free(slots=draft.slots - started, gates=may_pass - started - passing)


def _must_wait(draft: Draft, attempt: Attempt, now: int, free: _Free) -> bool:
    """Tell at once of most that nothing follows from this moment for them."""
    if attempt.passed_at is not None:
        is_ready = attempt.progress is Progress.PASSED and free.slots > 0
        return not is_ready and now - attempt.passed_at <= PASSED_MS
    if draft.is_draining or attempt.lease.start_limit_s is not None:
        return False
    if attempt.progress is Progress.READY:
        return free.gates <= 0 and now - attempt.ready_at <= GIVE_BACK_MS
    return attempt.progress in PREPARING


def _move(draft: Draft, attempt: Attempt, now: int, free: _Free) -> None:
    lease = attempt.lease
    if attempt.wake_at is not None:
        if attempt.wake_at > now:
            return
        if attempt.progress is not Progress.STARTING:
            _again(draft, attempt)
            return
        attempt = _doubt(draft, attempt, now, free)
    if attempt.progress is Progress.READY:
        if free.gates > 0 and not _is_busy(draft, lease, USING):
            free.gates -= 1
            draft.put(change(attempt, progress=Progress.GATE))
            report = Report(key=lease.key, item=lease.item, token=lease.token, event=Event.START)
            draft.do(Send(report=report))
    elif attempt.progress is Progress.PASSED:
        is_trusted = now < attempt.trusted_until
        if free.slots > 0 and is_trusted and not _is_busy(draft, lease, STARTED):
            free.slots -= 1
            draft.put(change(attempt, progress=Progress.STARTING, started_at=now))
            draft.do(Start(lease=lease, deadline=attempt.trusted_until))


def _is_busy(draft: Draft, lease: Lease, phases: frozenset[Progress]) -> bool:
    """Tell whether another attempt at the same item has come so far; a first one has none."""
    return lease.attempt > 1 and any(
        a.lease.item == lease.item and a.lease.key != lease.key and a.progress in phases
        for a in draft.attempts.values()
    )


def _overdue(draft: Draft, attempt: Attempt, now: int, free: _Free) -> dict[str, Any] | None:
    """Say how an unstarted attempt is given up, or None for one that may go on."""
    if attempt.progress not in UNSTARTED:
        return None
    if attempt.passed_at is not None:
        return _too_late(draft, attempt, now - attempt.passed_at)
    limit = attempt.lease.start_limit_s
    if limit is not None and now - attempt.since > limit * 1000:
        failure = Failure(
            stage=_stage(attempt),
            failure_class=FailureClass.START_LIMIT,
            reason=f"it was not started within its start limit of {limit:g} s",
        )
        return {"failure": failure}
    is_ready = attempt.progress is Progress.READY
    if is_ready and free.gates <= 0 and now - attempt.ready_at > GIVE_BACK_MS:
        return {"is_returned": True}
    if draft.is_draining and free.slots <= _before(draft, attempt.lease.key):
        return {"is_returned": True}
    return None


def _too_late(draft: Draft, attempt: Attempt, waited: int) -> dict[str, Any] | None:
    """Give back what passed the gate, also where a slot came free just now: that yes is old."""
    if waited <= PASSED_MS:
        return None
    if attempt.progress in PREPARING:  # it was leased as one whose source is at hand
        draft.do(Cool(lease=attempt.lease))
    return {"is_returned": True}


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


def _doubt(draft: Draft, attempt: Attempt, now: int, free: _Free) -> Attempt:
    """Let a start that the runner refused pass the gate again: what it said is old by now (I7)."""
    free.slots += 1
    free.gates += 1
    ready = change(attempt, progress=Progress.READY, passed_at=None, ready_at=now, wake_at=None)
    draft.put(ready)
    return ready


def _stage(attempt: Attempt) -> Stage:
    if attempt.progress is Progress.FETCHING:
        return Stage.SOURCE
    return Stage.BUILD if attempt.progress is Progress.BUILDING else Stage.AGENT
