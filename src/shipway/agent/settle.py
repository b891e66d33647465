"""Puts an agent's state together again after a restart: journal and runner, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from shipway.agent.events import Ended
from shipway.agent.journal import Kept
from shipway.agent.lease import Key, Lease
from shipway.agent.state import RENEW_MS, Attempt, Progress, Settling, State
from shipway.domain.attempt import Cause, Ending
from shipway.domain.ids import ItemId, Token
from shipway.plugins.runner import RunStatus

Found = tuple[State, list[Ended]]


def settle(
    kept: Sequence[Kept],
    statuses: Sequence[tuple[str, RunStatus]],
    *,
    slots: int,
    now: int,
) -> Found:
    """Return the state, and the endings that were missed.

    Statuses come with the resource of their runner. Past the gate and unknown to the runner
    means never started, unless the runner once gave it a handle: then it is lost, but for a runner
    that says that it withdrew the order.
    """
    by_key = {f"{status.item}.{status.attempt}": status for _, status in statuses}
    resources = {f"{status.item}.{status.attempt}": resource for resource, status in statuses}
    attempts: dict[Key, Attempt] = {}
    ended: list[Ended] = []
    for one in kept:
        key = one.lease.key
        status = by_key.pop(key, None)
        attempts[key] = _attempt(one, status, now)
        missed = _missed(one, status)
        if missed is not None:
            ended.append(Ended(at=now, key=key, ending=missed))
    for key, status in sorted(by_key.items()):
        attempts[key] = _stray(key, status, resources[key], now)
        if status.ending is not None:
            ended.append(Ended(at=now, key=key, ending=status.ending))
    state = State(
        slots=slots,
        attempts=attempts,
        settling=Settling.UNASKED,
        renewed_at=now - RENEW_MS,
    )
    return state, ended


def _attempt(one: Kept, status: RunStatus | None, now: int) -> Attempt:
    handle = one.handle if status is None else status.handle
    # Past the gate but never started: its folder may be half made, so it is prepared again; the
    # server answers the repeated question at the gate with yes.
    progress = Progress.FETCHING if handle is None else Progress.RUNNING
    return Attempt(
        lease=one.lease,
        progress=progress,
        trusted_until=now,
        since=now if one.has_passed else one.leased_at,
        handle=handle,
        started_at=now if progress is Progress.RUNNING else 0,
        wake_at=now if progress is Progress.FETCHING else None,
    )


def _missed(one: Kept, status: RunStatus | None) -> Ending | None:
    if status is not None:
        return status.ending
    if one.handle is None:
        return None
    return Ending(cause=Cause.SUPERVISOR, reason="its runner knows nothing of it any more")


def _stray(key: Key, status: RunStatus, resource: str, now: int) -> Attempt:
    """A program without a journal: its token is proof enough."""
    lease = Lease(
        key=key,
        item=ItemId(status.item),
        attempt=status.attempt,
        token=Token(status.token),
        job_key="",
        term_ms=0,
        resource=resource,
    )
    return Attempt(
        lease=lease,
        progress=Progress.RUNNING,
        trusted_until=now,
        since=now,
        handle=status.handle,
        started_at=now,
    )


def held(state: State) -> dict[ItemId, Token]:
    """Return what the server is told to be held."""
    return {a.lease.item: a.lease.token for a in state.attempts.values()}
