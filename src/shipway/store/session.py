"""Runs named statements on one connection: what rows need of a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shipway.domain.errors import Exists, Overloaded, UnknownOutcome
from shipway.domain.item import ItemEvent

Row = tuple[Any, ...]
Params = Mapping[str, Any]


class Session(Protocol):
    """One connection of one thread at a time."""

    def one(self, name: str, params: Params) -> Row | None:
        """Run a statement and return its first row."""

    def all(self, name: str, params: Params) -> list[Row]:
        """Run a statement and return its rows."""

    def run(self, name: str, params: Params) -> None:
        """Run a statement that has no rows to give."""

    def many(self, name: str, params: Sequence[Params]) -> None:
        """Run a statement that has no rows to give, once for each."""


class Taken(Exists):
    """Another server's transaction took the place just now: the same work may be run again."""


class Contended(Overloaded):
    """Another server's transaction was in the way: the same work may be run again."""


class DiskFailed(UnknownOutcome):
    """The disk failed under a write: what is stored is not known, so the process must end."""


class Engine(Protocol):
    """The writer's own connection: begins and ends transactions and their parts."""

    def begin(self) -> None:
        """Begin a transaction; a `ShipwayError` says that it could not."""

    def begin_part(self) -> None:
        """Set a savepoint; the part before it, if any, is kept."""

    def end_part(self) -> None:
        """Keep what came after the savepoint; raises when an error in it was swallowed."""

    def undo_part(self) -> None:
        """Undo what came after the savepoint."""

    def is_open(self) -> bool:
        """Tell whether the transaction is still there to be committed."""

    def lock_events(self) -> None:
        """Make numbers of events follow the order of commits, other servers' included."""

    def commit(self, events: Sequence[ItemEvent]) -> None:
        """Make all durable; raises `StorageFull`, `UnknownOutcome` or `DiskFailed` otherwise."""

    def rollback(self) -> None:
        """Drop the transaction, if there is one; never raises."""
