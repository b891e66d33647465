"""Decides what follows from time alone: renewals, second tries, limits, and who starts next."""

from __future__ import annotations

from dataclasses import dataclass

from shipway.agent.change import change
from shipway.agent.effects import Build, Effect, Fetch, Renew, Send, Start
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
    State,
    gates,
)
from shipway.domain.ids import ItemId
from shipway.domain.item import Event, Failure, FailureClass, Stage

_WAITING = PREPARING | {Progress.PASSED}

Turned = tuple[State, list[Effect], list[Attempt]]


def take_turn(state: State, now: int) -> Turned:
    """Return the new state, what to do, and the attempts that are given up."""
    effects: list[Effect] = []
    give_up: list[Attempt] = []
    if state.attempts:
        waiting = [a for a in state.attempts.values() if a.progress in _WAITING or a.wake_at]
        if waiting:
            state = _serve(state, waiting, now, effects, give_up)
        if now - state.renewed_at >= RENEW_MS:
            state = _renew(state, now, effects)
    if state.settling is Settling.ENDING and not any(a.is_lost for a in state.attempts.values()):
        state = change(state, settling=Settling.DONE)
    return state, effects, give_up


def _serve(
    state: State,
    waiting: list[Attempt],
    now: int,
    effects: list[Effect],
    give_up: list[Attempt],
) -> State:
    """Let those go on that wait for a slot, for trust or for their next try."""
    attempts = dict(state.attempts)
    free = _free(state)
    for attempt in waiting:
        over = _overdue(state, attempt, now, free)
        if over is not None:
            give_up.append(over)
            continue
        moved = _move(attempt, now, free, effects)
        if moved is not attempt:
            attempts[attempt.lease.key] = moved
    return change(state, attempts=attempts)


@dataclass(slots=True)
class _Free:
    """What this turn can still give away."""

    slots: int
    gates: int
    busy: list[ItemId]  # items with a program here, or about to have one


def _free(state: State) -> _Free:
    attempts = state.attempts.values()
    busy = [a.lease.item for a in attempts if a.progress in USING]
    if state.slots == UNLIMITED:
        return _Free(slots=len(attempts), gates=len(attempts), busy=busy)
    started = sum(a.progress in STARTED for a in attempts)
    return _Free(slots=state.slots - started, gates=gates(state) - len(busy), busy=busy)


def _move(attempt: Attempt, now: int, free: _Free, effects: list[Effect]) -> Attempt:
    if attempt.wake_at is not None:
        return _again(attempt, effects) if attempt.wake_at <= now else attempt
    lease = attempt.lease
    if attempt.progress is Progress.READY and free.gates > 0 and lease.item not in free.busy:
        report = Report(item=lease.item, token=lease.token, event=Event.START)
        effects.append(Send(report=report))
        free.gates -= 1
        return change(attempt, progress=Progress.GATE)
    is_passed = attempt.progress is Progress.PASSED
    if is_passed and free.slots > 0 and now < attempt.trusted_until:
        effects.append(Start(lease=lease, deadline=attempt.trusted_until))
        free.slots -= 1
        return change(attempt, progress=Progress.STARTING, started_at=now)
    return attempt


def _renew(state: State, now: int, effects: list[Effect]) -> State:
    held = {a.lease.item: a.lease.token for a in state.attempts.values() if not a.is_lost}
    if held:
        effects.append(Renew(held=held))
    return change(state, renewed_at=now)


def _overdue(state: State, attempt: Attempt, now: int, free: _Free) -> Attempt | None:
    """Return an unstarted attempt as it is given up, or None for one that may go on."""
    waited = now - attempt.ready_at
    if attempt.progress is Progress.PASSED:
        is_late = free.slots <= 0 and waited > PASSED_MS
        return change(attempt, is_returned=True) if is_late else None
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
    if state.is_draining and free.slots <= _before(state, attempt.lease.key):
        return change(attempt, is_returned=True)
    return None


def _before(state: State, key: Key) -> int:
    """Count the unstarted attempts that come before this one."""
    count = 0
    for other, attempt in state.attempts.items():
        if other == key:
            break
        count += attempt.progress in PREPARING
    return count


def _again(attempt: Attempt, effects: list[Effect]) -> Attempt:
    """Do the step that failed once more."""
    lease = attempt.lease
    if attempt.progress is Progress.FETCHING:
        effects.append(Fetch(lease=lease))
    elif attempt.progress is Progress.BUILDING:
        effects.append(Build(lease=lease))
    elif attempt.progress is Progress.STARTING:
        effects.append(Start(lease=lease, deadline=attempt.trusted_until))
    return change(attempt, wake_at=None)


def _stage(attempt: Attempt) -> Stage:
    if attempt.progress is Progress.FETCHING:
        return Stage.SOURCE
    return Stage.BUILD if attempt.progress is Progress.BUILDING else Stage.AGENT
