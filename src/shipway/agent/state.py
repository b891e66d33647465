"""What an agent knows of its attempts: frozen, without clocks and without hands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shipway.agent.lease import Key, Lease, Report
from shipway.domain.attempt import Ending
from shipway.domain.ids import Token
from shipway.domain.item import Failure

RENEW_MS = 10_000  # every lease is renewed so often
TRUST_MARGIN_MS = 3_000  # a lease is trusted until so long before its term ends
UNLIMITED = -1
DISOWNED = 64  # leases that never came which are remembered
RENEW_AGAIN_MS = 2_000  # after a renewal that failed
TRIES = 4  # of one step of preparing, then the item goes back
BACKOFF_MS = 1_000  # before the second try; four times longer before each further one
GIVE_BACK_MS = 10_000  # a prepared attempt that finds no slot for so long goes back
ABOUT_TO_END_MS = 20  # programs this short end while a call to the server is under way
UNKNOWN_MS = 1e9  # until the first one ended
GATES_AHEAD = 3  # times the slots: what ends while one call to the server is under way
# What does not start so soon after it passed the gate goes back: a stop may be acked meanwhile that
# this agent has not heard of, and no program may start late after it (I7).
PASSED_MS = 250


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


MAKING = frozenset({Progress.FETCHING, Progress.BUILDING})
PREPARING = MAKING | {Progress.READY}
UNSTARTED = PREPARING | {Progress.PASSED}  # those that can be given back
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
    passed_at: int | None = None  # when the server said that it may start, perhaps with the lease
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
    is_short: bool = False  # of free disk: nothing new is taken
    settling: Settling = Settling.DONE
    renewed_at: int = 0  # when the last renewal was sent
    disowned: tuple[Token, ...] = ()  # leases that never came, and must not be taken any more
    run_ms: float = UNKNOWN_MS  # how long programs ran of late, an average


def gates(slots: int, run_ms: float) -> int:
    """Say how many may be past the gate, or asking for it, at once.

    Programs of milliseconds would leave their slots empty while the gate is asked for the next;
    so it is asked a little earlier for them, and what then finds no slot soon goes back.
    """
    return slots * (1 + GATES_AHEAD if run_ms < ABOUT_TO_END_MS else 1)
