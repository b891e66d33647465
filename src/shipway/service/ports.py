"""What the service needs of a store: rows, one writer, and blobs by digest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from shipway.domain.actor import Key, Session, User
from shipway.domain.agent import Agent, AgentState
from shipway.domain.attempt import LogChunk
from shipway.domain.ids import AgentId, Digest, ItemId, KeyId, QueueId, RunId, Token, UserName
from shipway.domain.item import Item, ItemEvent, ItemFilter, State
from shipway.domain.lease import HeldAsk, LeaseQuery, Move, Moved
from shipway.domain.queue import Queue
from shipway.domain.tombstone import Tombstone
from shipway.service.artifact_rows import (
    AliasRows,
    ArtifactLinkRows,
    ArtifactPurgeRows,
    ArtifactRows,
    CollectionRows,
    ManifestRows,
)
from shipway.service.blob_ports import BlobRows, Blobs, Incoming, LargeBlobs
from shipway.service.run_rows import ConsoleRows, RunRows, StreamRows, TrackedRunRows
from shipway.service.sweep_rows import (
    SweepAgentRows,
    SweepMemberRows,
    SweepRows,
    SweepRunRows,
)

__all__ = [
    "ActorRows",
    "AgentRows",
    "BlobRows",
    "Blobs",
    "Clock",
    "ClockRows",
    "ConsoleRows",
    "EventRows",
    "Incoming",
    "ItemFilter",
    "ItemRows",
    "LargeBlobs",
    "LeaseQuery",
    "LeaseRows",
    "LogChunk",
    "LogRows",
    "Move",
    "QueueRows",
    "ReferenceRows",
    "RunRows",
    "SessionRows",
    "Store",
    "StreamRows",
    "SweepAgentRows",
    "SweepMemberRows",
    "SweepRows",
    "SweepRunRows",
    "TombstoneRows",
    "TrackedRunRows",
    "Tx",
]

T = TypeVar("T")


class ItemRows(Protocol):
    """Items, read and changed outside of leases."""

    def insert(self, item: Item) -> Item:
        """Store a new item and return it with its seq; `Exists` for a run id used before."""

    def get(self, item_id: ItemId) -> Item | None:
        """Return the item, tombstones too."""

    def by_key(self, entity: str, idempotency_key: str) -> Item | None:
        """Return the item that was added with this key, tombstones too."""

    def by_run(self, entity: str, project: str, run_id: RunId) -> Item | None:
        """Return the item of a run; names are matched without case."""

    def find(self, query: ItemFilter) -> list[Item]:
        """Return live and ended items, no tombstones, newest first."""

    def request_stop(self, item_id: ItemId, *, by: str, grace_s: float, now: int) -> Item | None:
        """Set the request unless it is set or the item has ended; None when nothing changed."""

    def amend(
        self,
        item_id: ItemId,
        *,
        priority: int | None = None,
        rank: int | None = None,
        deleted_at: int | None = None,
    ) -> Item | None:
        """Change what may change of a row outside of its state; None for an unknown item."""

    def count_ahead(self, item: Item) -> int:
        """Count the pending items of the same queue and resource that come before this one."""


class LeaseRows(Protocol):
    """The two statements that move items, and the life of leases."""

    def lease(self, query: LeaseQuery) -> list[Item]:
        """Lease the first items that fit, by (rank, seq); the only place where tokens get in."""

    def move(self, move: Move) -> dict[ItemId, Moved]:
        """Make a guarded move; what state or token are not as they were of stays: lease lost."""

    def renew(self, agent_token: Mapping[ItemId, Token], *, lease_now: int) -> list[Item]:
        """Give each still held lease a new full term; return the items that are still held."""

    def renew_all(self, *, lease_now: int) -> int:
        """Give every live lease a full new term; return how many."""

    def expired(self, *, before: int, limit: int) -> list[Item]:
        """Return held items whose deadline in lease time is before this."""

    def held_by(self, agent: AgentId) -> list[Item]:
        """Return the items that this agent holds."""

    def pin(self, item_id: ItemId, token: Token, lock: Digest) -> Item | None:
        """Pin the resolved lock; None when the token is not the lease's."""

    def held(self, item_id: ItemId, token: Token) -> Item | None:
        """Return the item if this token is its lease's; for writes on behalf of a lease."""


class EventRows(Protocol):
    """What happened to items, in order."""

    def append(self, event: ItemEvent) -> None:
        """Add an event; it is published to subscribers after the commit."""

    def of_item(self, item_id: ItemId, *, after_seq: int = 0) -> list[ItemEvent]:
        """Return the events of one item, oldest first."""

    def after(self, seq: int, *, limit: int) -> list[ItemEvent]:
        """Return events of all items after a seq, oldest first."""

    def last_seq(self) -> int:
        """Return the newest event's seq, 0 if there is none."""


class QueueRows(Protocol):
    """Queues."""

    def insert(self, queue: Queue) -> Queue:
        """Store a new queue and return it with its id; `Exists` for a known name."""

    def get(self, queue_id: QueueId) -> Queue | None:
        """Return a queue by its id."""

    def by_name(self, entity: str, project: str, name: str) -> Queue | None:
        """Return a queue by its name; entity and project are matched without case."""

    def find(self, *, entity: str | None = None) -> list[Queue]:
        """Return queues in order of entity, project and name."""

    def update(self, queue: Queue) -> Queue | None:
        """Replace the changeable columns; None for an unknown queue."""

    def delete(self, queue_id: QueueId) -> None:
        """Delete a queue that has no live items; ended ones keep its name."""

    def counts(self, queue_id: QueueId) -> dict[State, int]:
        """Count its items by state, tombstones left out."""


class LogRows(Protocol):
    """Which blobs make up the logs of attempts; bytes never enter a database page."""

    def size(self, item_id: ItemId, attempt: int, name: str) -> int:
        """Return how many bytes a log has so far."""

    def append(self, chunk: LogChunk) -> bool:
        """Add a chunk if it begins where the log ends; False otherwise."""

    def chunks(
        self, item_id: ItemId, attempt: int, name: str, *, after: int, limit: int
    ) -> list[LogChunk]:
        """Return chunks that hold bytes at or after an offset, in order."""

    def attempts(self, item_id: ItemId) -> list[tuple[int, str, int]]:
        """Return (attempt, name, size) of every log of an item."""

    def unsealed(self, *, limit: int, size_limit: int) -> list[tuple[ItemId, int, str]]:
        """Return logs of ended attempts, up to a size, that still are more than one chunk."""

    def seal(self, chunk: LogChunk, *, replaces: Sequence[Digest]) -> None:
        """Put one chunk in place of all the chunks of its log."""


class AgentRows(Protocol):
    """Agents."""

    def upsert(self, agent: Agent) -> None:
        """Store what an agent says of itself; its asked-for state is kept unless it is gone."""

    def get(self, agent_id: AgentId) -> Agent | None:
        """Return an agent."""

    def find(self, *, queue_id: QueueId | None = None) -> list[Agent]:
        """Return agents in order of id."""

    def seen(self, agent_id: AgentId, *, used_slots: int, now: int) -> None:
        """Note that an agent was heard of."""

    def set_facts(self, agent_id: AgentId, facts: Mapping[str, Any]) -> Agent | None:
        """Replace what an agent told of itself; None for an unknown one."""

    def set_state(self, agent_id: AgentId, state: AgentState) -> Agent | None:
        """Ask an agent for something; None for an unknown one."""

    def forget(self, *, before: int, limit: int) -> int:
        """Delete those not heard of since, but for those that hold items; return how many."""

    def asks(self, agent_id: AgentId, *, unheard_before: int) -> list[HeldAsk]:
        """Return what it holds and somebody asked to stop, or it should have told of by now."""


class ActorRows(Protocol):
    """Users, keys and browser sessions."""

    def insert_user(self, user: User) -> None:
        """Store a user; `Exists` for a known name."""

    def users(self) -> list[User]:
        """Return all users in order of name."""

    def set_disabled(self, name: UserName, *, is_disabled: bool) -> User | None:
        """Disable or enable; None for an unknown one."""

    def insert_key(self, key: Key) -> None:
        """Store a key's hash."""

    def key(self, key_id: KeyId) -> tuple[Key, User] | None:
        """Return a key with its user, revoked ones too."""

    def keys(self) -> list[Key]:
        """Return all keys, newest first."""

    def revoke(self, key_id: KeyId, *, now: int) -> Key | None:
        """Revoke a key and its sessions; None for an unknown one."""


class SessionRows(Protocol):
    """Signed-in browsers and one-time sign-in links."""

    def insert(self, session: Session) -> None:
        """Store a session."""

    def get(self, id_hash: str) -> Session | None:
        """Return a session."""

    def seen(self, id_hash: str, *, now: int) -> None:
        """Note its last use."""

    def delete(self, id_hash: str) -> None:
        """Sign out; unknown ones are ignored."""

    def add_link(self, id_hash: str, key_id: KeyId, *, expires_at: int) -> None:
        """Store a one-time sign-in link."""

    def take_link(self, id_hash: str, *, now: int) -> KeyId | None:
        """Use a link up; None for one that is unknown, used or expired."""

    def purge(self, *, idle_since: int, now: int, limit: int) -> int:
        """Delete idle sessions, expired links and both of revoked keys; return how many."""


class TombstoneRows(Protocol):
    """What deleted items leave."""

    def due(self, *, before: int, limit: int) -> list[Tombstone]:
        """Return ended items, and runs, that were deleted before this and still have something."""

    def count(self, *, before: int) -> int:
        """Count them."""

    def clear(self, tombstone: Tombstone, *, limit: int) -> int:
        """Remove up to so many rows of its logs, history and files; return how many."""

    def close(self, tombstone: Tombstone, *, now: int) -> None:
        """Note that nothing is left but the row, with its idempotency key."""


class ReferenceRows(Protocol):
    """Which blobs rows lead to, in pages that begin after a key."""

    def items(self, *, after: int, limit: int) -> list[tuple[int, str, Digest | None]]:
        """Return (seq, spec, pinned lock) of items that are not purged, in order of seq."""

    def stored(self, *, after: str, limit: int) -> list[Digest]:
        """Return digests of which rows say that they are stored, in order."""

    def artifacts(self, *, after: int, limit: int) -> list[tuple[int, str]]:
        """Return (seq, text with digests) of versions that are not purged, in order of seq."""

    def files(self, *, after: tuple[int, str], limit: int) -> list[tuple[int, str, Digest]]:
        """Return (run, path, digest) of run files, in order."""

    def console(self, *, after: tuple[int, int], limit: int) -> list[tuple[int, int, Digest]]:
        """Return (run, number, digest) of the chunks of clients' consoles, in order."""

    def chunks(
        self, *, after: tuple[str, int, str, int] | None, limit: int
    ) -> list[tuple[str, int, str, int, Digest]]:
        """Return (item, attempt, name, start, digest) of log chunks, in order."""


class ClockRows(Protocol):
    """Lease time: one row, advanced by one upkeep holder."""

    def now(self) -> int:
        """Return lease time in ms as of the last tick."""

    def advance(self, by_ms: int) -> int:
        """Move lease time on and return it."""


class Tx(Protocol):
    """One transaction's view of the rows. Which noun lives where is said by the names."""

    @property
    def items(self) -> ItemRows: ...
    @property
    def leases(self) -> LeaseRows: ...
    @property
    def events(self) -> EventRows: ...
    @property
    def queues(self) -> QueueRows: ...
    @property
    def runs(self) -> RunRows: ...
    @property
    def tracked(self) -> TrackedRunRows: ...
    @property
    def streams(self) -> StreamRows: ...
    @property
    def consoles(self) -> ConsoleRows: ...
    @property
    def logs(self) -> LogRows: ...
    @property
    def agents(self) -> AgentRows: ...
    @property
    def actors(self) -> ActorRows: ...
    @property
    def sessions(self) -> SessionRows: ...
    @property
    def collections(self) -> CollectionRows: ...
    @property
    def artifacts(self) -> ArtifactRows: ...
    @property
    def aliases(self) -> AliasRows: ...
    @property
    def manifests(self) -> ManifestRows: ...
    @property
    def artifact_links(self) -> ArtifactLinkRows: ...
    @property
    def artifact_purges(self) -> ArtifactPurgeRows: ...
    @property
    def sweeps(self) -> SweepRows: ...
    @property
    def sweep_agents(self) -> SweepAgentRows: ...
    @property
    def sweep_runs(self) -> SweepRunRows: ...
    @property
    def sweep_members(self) -> SweepMemberRows: ...
    @property
    def blobs(self) -> BlobRows: ...
    @property
    def tombstones(self) -> TombstoneRows: ...
    @property
    def references(self) -> ReferenceRows: ...
    @property
    def clock(self) -> ClockRows: ...


class Store(Protocol):
    """A database: one writer with group commit, and readers beside it."""

    def write(self, work: Callable[[Tx], T]) -> Future[T]:
        """Queue work for the writer: its own savepoint, answered only after the commit."""

    def read(self) -> AbstractContextManager[Tx]:
        """Open a read-only view of what is committed."""

    def subscribe(self, take: Callable[[Sequence[ItemEvent]], None]) -> None:
        """Call `take` with the events of each commit, after it, from the writer's thread."""

    def before_commit(
        self,
        claim: Callable[[Sequence[ItemEvent]], Sequence[tuple[Future[Any], Callable[[Tx], Any]]]],
    ) -> None:
        """Ask, before each commit, from the writer's thread, for work that its events call for.

        It joins the events' own group: one commit answers both. It may fail by itself.
        """

    def holds_upkeep(self) -> bool:
        """Tell whether this server does the upkeep; of several on one database, one does."""

    def close(self) -> None:
        """Finish the work that is queued, then close; a second call does nothing."""


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> int:
        """Return ms UTC: for people, never for deadlines."""

    def monotonic(self) -> int:
        """Return ms that never jump and do not stop in a suspend: for deadlines."""
