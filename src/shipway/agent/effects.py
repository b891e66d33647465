"""What an agent should do next: decided by the plan, done by the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from shipway.agent.lease import Key, Lease, Report
from shipway.domain.attempt import Cause
from shipway.domain.ids import ItemId, Token
from shipway.domain.item import Failure


class Mark(StrEnum):
    """What the journal keeps of an attempt."""

    LEASE = "lease"  # it was taken; the lease says whether it passed the start gate with that
    GATE = "gate"  # it passed the start gate later
    START = "start"  # the runner took it on
    DONE = "done"  # nothing is owed for it any more


DURABLE = frozenset({Mark.LEASE, Mark.GATE})  # worth a sync; the others are known elsewhere too


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Put a mark into the journal, before anything else of the same turn is done."""

    mark: Mark
    key: Key
    lease: Lease | None = None
    handle: str | None = None
    at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Get the source."""

    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Make the environment and the attempt's folder."""

    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Cool:
    """Offer the source to no lease that starts at once: it was not at hand in time."""

    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start the program."""

    lease: Lease
    deadline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the program."""

    lease: Lease
    handle: str
    grace_s: float
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Tell the runner how long programs may go on."""

    by_handle: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Renew leases."""

    held: Mapping[ItemId, Token]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Ship what is left of the logs, then say so; read their last lines if something failed."""

    lease: Lease
    with_tail: bool
    program_size: int | None  # of the program's log; None where no program was


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Tell the server."""

    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Let go of an attempt: its folder, its logs, its place at the runner."""

    lease: Lease
    handle: str | None
    failure: Failure | None  # its folder is kept for a while if there is one
    is_lost: bool


Effect = Record | Fetch | Build | Cool | Start | Stop | Deadlines | Renew | Drain | Send | Forget
