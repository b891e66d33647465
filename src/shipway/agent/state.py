"""What an agent knows of its attempts: frozen, without clocks and without hands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shipway.agent.lease import Key, Lease, Report
from shipway.domain.attempt import Ending
from shipway.domain.item import Failure

RENEW_MS = 10_000  # every lease is renewed so often
TRUST_MARGIN_MS = 3_000  # a lease is trusted until so long before its term ends
LEASE_LIMIT = 64  # leases asked for in one call
UNLIMITED = -1
RENEW_AGAIN_MS = 2_000  # after a renewal that failed
TRIES = 4  # of one step of preparing, then the item goes back
BACKOFF_MS = 1_000  # before the second try; four times longer before each further one
GIVE_BACK_MS = 10_000  # a prepared attempt that finds no slot for so long goes back
SHORT_MS = 1_000  # programs shorter than this are leased ahead of a free slot
ABOUT_TO_END_MS = 20  # programs this short end while a call to the server is under way
UNKNOWN_MS = 1e9  # until the first one ended
GATES_AHEAD = 3  # times the slots: what ends while one call to the server is under way
# What does not start so soon after it passed the gate goes back: a stop may be acked meanwhile that
# this agent has not heard of, and no program may start late after it (I7).
PASSED_MS = 250
VERY_SHORT_MS = 200  # and of these twice as many


class Progress(StrEnum):
    """How far an agent has come with an attempt."""

    FETCHING = "fetching"  # its source is on the way
    BUILDING = "building"  # its environment is being made
    READY = "ready"  # it waits for a slot
    GATE = "gate"  # the server was asked whether it may start
    PASSED = "passed"  # it may, and waits for a slot, or until its lease is trusted again
    STARTING = "starting"  # the runner was told
    RUNNING = "running"  # its program is there
    ENDING = "ending"  # the runner was told to end it
    DRAINING = "draining"  # it is over; the last of its logs are on the way
    REPORTING = "reporting"  # the server was told how it ended


PREPARING = frozenset({Progress.FETCHING, Progress.BUILDING, Progress.READY})
STARTED = frozenset({Progress.STARTING, Progress.RUNNING, Progress.ENDING})
USING = STARTED | {Progress.GATE, Progress.PASSED}  # those that take a slot, or are about to
CLOSING = frozenset({Progress.DRAINING, Progress.REPORTING})


class Settling(StrEnum):
    """How far an agent has come with what it held before it was started again."""

    UNASKED = "unasked"  # the server has not said yet what of it is still ours
    ENDING = "ending"  # what is not is being ended
    DONE = "done"  # new work may be taken


@dataclass(frozen=True, kw_only=True)  # no slots: `change` copies its `__dict__` in one go
class Attempt:
    """One attempt that this agent holds."""

    lease: Lease
    progress: Progress
    trusted_until: int  # ms on the boot clock
    since: int  # when it was leased
    handle: str | None = None
    stop_grace_s: float | None = None  # somebody asked for its end
    is_lost: bool = False  # its lease is another's; its program is being ended
    tries: int = 0  # of the step that it is at
    wake_at: int | None = None  # when that step is tried again
    ready_at: int = 0
    started_at: int = 0
    ending: Ending | None = None
    failure: Failure | None = None  # what ended it before its program did
    is_returned: bool = False  # the failure may pass: the item goes back to its queue
    report: Report | None = None  # the last one


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that an agent decides from."""

    slots: int
    attempts: Mapping[Key, Attempt] = field(default_factory=dict)  # in order of arrival
    is_draining: bool = False
    settling: Settling = Settling.DONE
    renewed_at: int = 0  # when the last renewal was sent
    run_ms: float = UNKNOWN_MS  # how long programs ran of late, an average


def used(state: State) -> int:
    """Count the slots that are taken."""
    using = sum(attempt.progress in USING for attempt in state.attempts.values())
    return using if state.slots == UNLIMITED else min(using, state.slots)


def gates(slots: int, run_ms: float) -> int:
    """Say how many may be past the gate, or asking for it, at once.

    Programs of milliseconds would leave their slots empty while the gate is asked for the next;
    so it is asked a little earlier for them, and what then finds no slot soon goes back.
    """
    return slots * (1 + GATES_AHEAD if run_ms < ABOUT_TO_END_MS else 1)


def room(state: State, now: int) -> int:
    """Say how many leases to ask for."""
    if state.is_draining or state.settling is not Settling.DONE:
        return 0
    if state.slots == UNLIMITED:
        return LEASE_LIMIT
    taken = sum(
        attempt.progress in USING or attempt.progress in PREPARING
        for attempt in state.attempts.values()
    )
    return max(0, min(LEASE_LIMIT, state.slots + _ahead(state, now) - taken))


def is_more_soon(state: State, now: int) -> bool:
    """Tell whether programs are about to end, so that a call to the server can carry more."""
    if state.run_ms > ABOUT_TO_END_MS:
        return False
    young = 0
    for attempt in state.attempts.values():
        if attempt.progress is Progress.RUNNING and now - attempt.started_at <= ABOUT_TO_END_MS:
            young += 1
            if young > 1:
                return True
    return False


def _ahead(state: State, now: int) -> int:
    """Short programs end faster than leases come; long ones should wait where others see them."""
    if state.run_ms > SHORT_MS:
        return 0
    for attempt in state.attempts.values():
        if attempt.progress in STARTED and now - attempt.started_at > 2 * SHORT_MS:
            return 0
    if state.run_ms < ABOUT_TO_END_MS:
        return (2 + GATES_AHEAD) * state.slots
    return 2 * state.slots if state.run_ms < VERY_SHORT_MS else state.slots
