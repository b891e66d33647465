"""One server's store: the real one, drained when chance says so, watched from outside."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from shipway.domain.item import ItemEvent
from shipway.service.ports import Tx
from shipway.store.sqlite import Durability, SqliteStore
from shipway.testing.simulate.history import History, What
from shipway.testing.simulate.node import Node
from shipway.testing.simulate.rows import Logs, Row, Table

T = TypeVar("T")

DRAIN_MS = (0.0, 4.0)  # until the writer takes what waits
SYNC_MS = (5.0, 60.0)  # the same on a busy disk
BUSY = 0.05  # how often that is


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """The leases that a request speaks for."""

    tokens: frozenset[str]
    agent: str
    since: float  # when it came: what it leased itself since then it may give back

    def covers(self, row: Row, made_at: float) -> bool:
        """Tell whether it may change an item that is leased like this."""
        return row.token in self.tokens or (row.agent == self.agent and made_at >= self.since)


# What the present request speaks for; None for one that needs no lease.
SPOKEN: ContextVar[Spoken | None] = ContextVar("spoken", default=None)


class Witness:
    """Looks at the tables after each request's work, of whichever server."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.rows: dict[str, Row] = {}
        self._logs: Logs = {}
        self._made: dict[str, float] = {}  # when each token was

    def look(self, who: str, table: Table, spoken: Spoken | None) -> None:
        """Write down what a request changed, and what of it it had no token for."""
        rows, logs = table.items(), table.logs()
        if rows != self.rows:
            for item, row in rows.items():
                before = self.rows.get(item)
                if before != row:
                    self._changed(who, before, row, spoken)
        if logs != self._logs:
            for (item, attempt, name), size in logs.items():
                if self._logs.get((item, attempt, name)) != size:
                    self._history.note(who, What.LOG, item, attempt, name=name, size=size)
                    row = rows[item]
                    is_own = spoken is None or row.token in spoken.tokens
                    if not is_own or (spoken is not None and row.attempt != attempt):
                        self._history.note(who, What.STALE, item, attempt, change=f"log {name}")
        self.rows, self._logs = rows, logs

    def _changed(self, who: str, before: Row | None, row: Row, spoken: Spoken | None) -> None:
        if row.token is not None:
            self._made.setdefault(row.token, self._history.now())
        made_at = self._made.get((before and before.token) or "", 0.0)
        is_own = before is not None and spoken is not None and spoken.covers(before, made_at)
        self._history.note(
            who, What.ROW, row.id, row.attempt, before=before, row=row, is_own=is_own
        )
        if before is not None and before.token is not None and spoken is not None and not is_own:
            change = f"{before.state} to {row.state}"
            self._history.note(who, What.STALE, row.id, before.attempt, change=change)


class Database:
    """The port `Store` of one server's life."""

    def __init__(
        self, path: Path, node: Node, witness: Witness, *, holds_upkeep: Callable[[], bool]
    ) -> None:
        self._node = node
        self._witness = witness
        self._store = SqliteStore(
            path,
            fatal=_fail,
            durability=Durability.OFF,
            seconds=lambda: node.machine.monotonic() / 1000,
        )
        self._waiting: deque[Future[Any]] = deque()
        self._is_due = False
        self._subscribers: list[Callable[[Sequence[ItemEvent]], None]] = []
        self.holds_upkeep = holds_upkeep
        self.drops_hints = False
        self._store.subscribe(self._publish)
        inside = self._store._connection  # noqa: SLF001 - to see what is not committed yet
        self._table = Table(inside)

    def write(self, work: Callable[[Tx], T]) -> Future[T]:
        """Queue work; chance says when it is taken, and with what else."""
        future: Future[T] = self._store.write(self._watched(work, SPOKEN.get()))
        self._waiting.append(future)
        self._come()
        return future

    def read(self) -> AbstractContextManager[Tx]:
        """Open a view of what is committed."""
        return self._store.read()

    def subscribe(self, take: Callable[[Sequence[ItemEvent]], None]) -> None:
        """Call with the events of each commit."""
        self._subscribers.append(take)

    def before_commit(
        self,
        claim: Callable[[Sequence[ItemEvent]], Sequence[tuple[Future[Any], Callable[[Tx], Any]]]],
    ) -> None:
        """Ask for work that joins a commit, as long as hints arrive at all."""

        def watched(events: Sequence[ItemEvent]) -> list[tuple[Future[Any], Callable[[Tx], Any]]]:
            if self.drops_hints:
                return []
            return [(future, self._watched(work, None)) for future, work in claim(events)]

        self._store.before_commit(watched)

    def hear(self, events: Sequence[ItemEvent]) -> None:
        """Learn of another server's commit."""
        self._store.writer.hear(events)
        self._come()

    def close(self) -> None:
        """Drop what is not committed, as a crash does."""
        for future in self._waiting:
            future.cancel()
        self._store.close()

    def _watched(self, work: Callable[[Tx], T], spoken: Spoken | None) -> Callable[[Tx], T]:
        def watched(tx: Tx) -> T:
            result = work(tx)
            self._witness.look(self._node.name, self._table, spoken)
            return result

        return watched

    def _come(self) -> None:
        if not self._is_due:
            self._is_due = True
            kernel = self._node.kernel
            span = SYNC_MS if kernel.chance() < BUSY else DRAIN_MS
            self._node.after(kernel.between(*span), self._drain)

    def _drain(self) -> None:
        self._is_due = False
        for _ in range(self._store.writer.drain()):
            self._waiting.popleft()
        if self._waiting:
            self._come()

    def _publish(self, events: Sequence[ItemEvent]) -> None:
        if self.drops_hints:
            return
        for take in self._subscribers:
            take(events)


def _fail(error: BaseException) -> None:
    raise error
