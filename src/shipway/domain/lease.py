"""The lease: what an agent asks for, and the guarded moves that it may make."""

from __future__ import annotations

from dataclasses import dataclass

from shipway.domain.ids import AgentId, ItemId, QueueId, Token, UserName
from shipway.domain.item import Event, Failure, State


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseQuery:
    """Which items an agent may take, and what a lease of them gets."""

    agent: AgentId
    queue_ids: tuple[QueueId, ...]  # in turn: the first is looked at first
    resources: tuple[str, ...]
    submitted_by: UserName | None  # None: everybody's
    limit: int
    tokens: tuple[Token, ...]  # one per item at most, made by the caller
    deadline: int  # ms of lease time
    term: int
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of an item's state, guarded by the state and the token it is made from."""

    item_id: ItemId
    event: Event
    before: State
    after: State
    token: Token | None  # the lease's; None only for items that have none
    now: int
    lease_now: int = 0  # START: ms of lease time; the term from here on is the queue's own
    unless_stopped: bool = False  # refused once a stop was asked for, as a START always is
    handle: str | None = None
    exit_code: int | None = None
    failure: Failure | None = None
    lost: int = 0  # added to lost_count
    retries: int = 0  # added to retry_count


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move answers: enough for its event, and far less than the item."""

    id: ItemId
    queue_id: QueueId
    attempt: int
    state: State
    lease_term: int  # ms; 0 unless held
