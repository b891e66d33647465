"""What an agent learns: each event with the moment on the boot clock when it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shipway.agent.lease import Key, Lease
from shipway.domain.attempt import Ending
from shipway.domain.errors import Code
from shipway.domain.ids import ItemId, Token
from shipway.domain.item import Event as ItemEvent
from shipway.domain.item import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """The server gave leases."""

    at: int
    sent_at: int  # when they were asked for
    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An attempt's source is there."""

    at: int
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An attempt's environment is there."""

    at: int
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A step of an attempt failed."""

    at: int
    key: Key
    failure: Failure
    is_temporary: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The server answered a report."""

    at: int
    sent_at: int
    key: Key
    token: Token
    event: ItemEvent
    is_ok: bool
    code: Code | None = None
    stop_requested: bool = False
    grace_s: float | None = None
    term_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubted:
    """The server wonders whether the answer with this lease ever came."""

    at: int
    key: Key
    item: ItemId
    token: Token


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """Somebody asked for the end of an item."""

    at: int
    item: ItemId
    token: Token
    grace_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A lease is not ours any more."""

    at: int
    item: ItemId
    token: Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The server gave leases a new full term."""

    at: int
    sent_at: int
    terms: Mapping[ItemId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRenewed:
    """A renewal did not get through."""

    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The runner took a program on."""

    at: int
    key: Key
    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A program is over, and nothing of it is left."""

    at: int
    key: Key
    ending: Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """An attempt's logs are with the server, or will not get there."""

    at: int
    key: Key
    log_sizes: Mapping[str, int]
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """After a restart the server said what of the attempts is still ours."""

    at: int
    sent_at: int
    lost: tuple[ItemId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainAsked:
    """The agent should finish what it has and take nothing new, or take work again."""

    at: int
    is_draining: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSeen:
    """The disk has too little room for new work, or enough again."""

    at: int
    is_short: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Other events were taken, or time went on: start what can start."""

    at: int


Event = (
    Leased
    | Fetched
    | Built
    | Failed
    | Answered
    | Doubted
    | StopAsked
    | Lost
    | Renewed
    | NotRenewed
    | Started
    | Ended
    | Drained
    | Settled
    | DrainAsked
    | RoomSeen
    | Turn
)
