"""What the service needs of a store for runs and what they report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shipway.domain.ids import ItemId, RunId
from shipway.domain.run import ConsoleChunk, Run, RunFile, StreamLine


class RunRows(Protocol):
    """Runs with what they report."""

    def insert(self, run: Run) -> Run:
        """Store a new run; `Exists` for an id that its project knows."""

    def get(self, entity: str, project: str, run_id: RunId) -> Run | None:
        """Return a run; entity and project are matched without case."""

    def find(
        self, *, entity: str | None, project: str | None, before_seq: int | None, limit: int
    ) -> list[Run]:
        """Return runs, newest first."""

    def update(self, seq: int, *, config: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Replace config and summary as a whole."""

    def add_history(self, seq: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows of the history; NaN and Infinity allowed."""

    def history(self, seq: int, *, after: int, limit: int) -> list[dict[str, Any]]:
        """Return rows of the history after so many, in order."""

    def add_file(self, seq: int, file: RunFile) -> None:
        """Add or replace a file."""

    def files(self, seq: int) -> list[RunFile]:
        """Return the files in order of path."""


class TrackedRunRows(Protocol):
    """Runs whose own clients say how they stand, and the server's secret for their addresses."""

    def amend(self, run: Run) -> None:
        """Store everything that may change of a run but its config and summary."""

    def hand_over(self, run: Run, item_id: ItemId) -> None:
        """Let a run be another item's from now on; `Exists` where it is one's already."""

    def silent(self, *, before: int, limit: int) -> Sequence[Run]:
        """Return runs that were not heard of until their deadline in lease time."""

    def extend(self, *, deadline: int) -> None:
        """Give every run that has a deadline at least this one."""

    def of_project(
        self, entity: str, project: str, *, after_seq: int | None = None, limit: int,
        is_newest_first: bool = False,
    ) -> Sequence[Run]:  # fmt: skip
        """Return runs of a project that have come to be, those after one of them."""

    def count(self, entity: str, project: str) -> int:
        """Count the runs of a project that have come to be."""

    def projects(self, entity: str, *, limit: int) -> Sequence[tuple[str, int]]:
        """Return the projects that an entity has runs in."""

    def secret(self, name: str, offered: str) -> str:
        """Return the server's own secret of that name; the first one offered stands."""


class StreamRows(Protocol):
    """Lines that the clients of runs number by themselves, and repeat."""

    def add_history(self, seq: int, lines: Sequence[StreamLine]) -> None:
        """Append those lines of the history that are not there yet; they are in order."""

    def next_line(self, seq: int, *, history_size: int) -> int:
        """Return a number that no line of the history has, nor any after it."""

    def last_step(self, seq: int) -> int:
        """Return the largest step of the history; -1 where there is none."""

    def history(self, seq: int, *, min_step: int, max_step: int, limit: int) -> list[str]:
        """Return rows as JSON, from a step to before another, in order of steps."""

    def sample(self, seq: int, *, size: int, limit: int) -> list[str]:
        """Return at most so many rows of a history of that size, as JSON: spread, with the last."""

    def add_system(self, seq: int, lines: Sequence[StreamLine]) -> None:
        """Add lines of the machine's metrics; known ones are ignored."""

    def sample_system(self, seq: int, *, limit: int) -> list[str]:
        """Return at most so many lines of the machine's metrics, as JSON: spread, with the last."""

    def system_size(self, seq: int) -> int:
        """Return how many lines of the machine's metrics there are, holes included."""


class ConsoleRows(Protocol):
    """Which blobs make up what clients saw on their terminals."""

    def add(self, seq: int, chunk: ConsoleChunk) -> None:
        """Add a chunk after all others; one that came before is added again, to no effect."""

    def chunks(self, seq: int, *, limit: int) -> list[ConsoleChunk]:
        """Return the chunks in the order in which they came."""

    def size(self, seq: int) -> int:
        """Return how many lines there are, holes included."""

    def long(self, *, chunks: int, limit: int) -> list[int]:
        """Return the seqs of runs with more chunks than that."""

    def seal(self, seq: int, chunk: ConsoleChunk) -> None:
        """Put one chunk in place of all up to its own number."""
