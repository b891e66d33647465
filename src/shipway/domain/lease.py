"""The lease: what an agent asks for, and the guarded moves that it may make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from shipway.domain.ids import AgentId, ItemId, QueueId, Token, UserName
from shipway.domain.item import Event, Failure, State


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseQuery:
    """Which items an agent may take, and what a lease of them gets."""

    agent: AgentId
    queue_ids: tuple[QueueId, ...]  # in turn: the first is looked at first
    resources: tuple[str, ...]
    submitted_by: UserName | None  # None: everybody's
    for_clients: bool = False  # only what agents of clients can run, and everybody's
    limit: int
    starts: int = 0  # how many of them pass the start gate at once
    sources: tuple[str, ...] = ()  # the sources that may, as canonical JSON
    tokens: tuple[Token, ...]  # one per item at most, made by the caller
    deadline: int  # ms of lease time
    term: int
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of items' state, guarded by the state and the token each is made from."""

    items: Mapping[ItemId, Token | None]  # to its lease's token; None only where it has none
    event: Event
    before: State
    after: State
    now: int
    lease_now: int = 0  # START: ms of lease time; the term from here on is the queue's own
    unless_stopped: bool = False  # refused once a stop was asked for, as a START always is
    handles: Mapping[ItemId, str] = field(default_factory=dict)  # those that came to be known
    exit_code: int | None = None
    failure: Failure | None = None
    lost: int = 0  # added to lost_count
    retries: int = 0  # added to retry_count


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAsk:
    """What an agent is asked about an item that it holds."""

    item: ItemId
    attempt: int
    token: Token
    is_stop: bool  # somebody wants its end; else: does the agent know of this lease at all?
    grace_s: float | None


class Moved(NamedTuple):
    """What a move answers for an item: enough for its event, and far less than the item."""

    id: ItemId
    queue_id: QueueId
    attempt: int
    state: State
    lease_term: int  # ms; 0 unless held
