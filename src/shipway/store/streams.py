"""Rows of what the clients of runs send as numbered lines."""

from __future__ import annotations

from collections.abc import Sequence

from shipway.domain.ids import Digest
from shipway.domain.run import ConsoleChunk, StreamLine
from shipway.store.session import Session


class Streams:
    """The port `StreamRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add_history(self, seq: int, lines: Sequence[StreamLine]) -> None:
        """Append those lines of the history that are not there yet; they are in order."""
        if not lines:
            return
        span = {"run_seq": seq, "first": lines[0].number, "end": lines[-1].number + 1}
        known = {line for (line,) in self._session.all("known_history_lines", span)}
        new = [line for line in lines if line.number not in known]
        if not new:
            return
        grown = self._session.one("grow_history", {"seq": seq, "count": len(new)})
        assert grown is not None, f"no run has seq {seq}"
        first = grown[0] - len(new)
        self._session.many(
            "insert_history_line",
            [
                {
                    "run_seq": seq,
                    "number": number,
                    "values_json": line.text,
                    "line": line.number,
                    "step": line.step,
                }
                for number, line in enumerate(new, first)
            ],
        )

    def next_line(self, seq: int, *, history_size: int) -> int:
        """Return a number that no line of the history has, nor any after it."""
        row = self._session.one("last_history_line", {"run_seq": seq})
        last = -1 if row is None or row[0] is None else int(row[0])
        return max(last + 1, history_size)

    def last_step(self, seq: int) -> int:
        """Return the largest step of the history; -1 where there is none."""
        row = self._session.one("last_history_step", {"run_seq": seq})
        return -1 if row is None or row[0] is None else int(row[0])

    def history(self, seq: int, *, min_step: int, max_step: int, limit: int) -> list[str]:
        """Return rows as JSON, from a step to before another, in order of steps."""
        params = {"run_seq": seq, "min_step": min_step, "max_step": max_step, "limit": limit}
        return [text for (text,) in self._session.all("history_of_steps", params)]

    def sample(self, seq: int, *, size: int, limit: int) -> list[str]:
        """Return at most so many rows of a history of that size, as JSON: spread, with the last."""
        return self._sampled("sampled_history", seq, size=size, limit=limit)

    def add_system(self, seq: int, lines: Sequence[StreamLine]) -> None:
        """Add lines of the machine's metrics; known ones are ignored."""
        self._session.many(
            "put_system_line",
            [{"run_seq": seq, "line": line.number, "values_json": line.text} for line in lines],
        )

    def sample_system(self, seq: int, *, limit: int) -> list[str]:
        """Return at most so many lines of the machine's metrics, as JSON: spread, with the last."""
        return self._sampled("sampled_system", seq, size=self.system_size(seq), limit=limit)

    def system_size(self, seq: int) -> int:
        """Return how many lines of the machine's metrics there are, holes included."""
        row = self._session.one("last_system_line", {"run_seq": seq})
        return 0 if row is None or row[0] is None else int(row[0]) + 1

    def _sampled(self, name: str, seq: int, *, size: int, limit: int) -> list[str]:
        if size == 0 or limit < 1:
            return []
        last = max(size - 1, 1)
        steps = min(limit - 1, last)
        params = {"run_seq": seq, "steps": steps, "last": last, "limit": limit + 2}
        return [text for (text,) in self._session.all(name, params)][-limit:]


class Consoles:
    """The port `ConsoleRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, seq: int, chunk: ConsoleChunk) -> None:
        """Add a chunk after all others."""
        params = {
            "run_seq": seq,
            "first_line": chunk.first_line,
            "line_count": chunk.line_count,
            "digest": chunk.digest,
            "at": chunk.at,
        }
        self._session.run("add_console", params)

    def chunks(self, seq: int, *, limit: int) -> list[ConsoleChunk]:
        """Return the chunks in the order in which they came."""
        rows = self._session.all("console", {"run_seq": seq, "limit": limit})
        return [
            ConsoleChunk(
                number=number, first_line=first, line_count=count, digest=Digest(digest), at=at
            )
            for number, first, count, digest, at in rows
        ]

    def size(self, seq: int) -> int:
        """Return how many lines there are, holes included."""
        row = self._session.one("console_size", {"run_seq": seq})
        return 0 if row is None or row[0] is None else int(row[0])

    def long(self, *, chunks: int, limit: int) -> list[int]:
        """Return the seqs of runs with more chunks than that."""
        rows = self._session.all("long_consoles", {"chunks": chunks, "limit": limit})
        return [seq for (seq,) in rows]

    def seal(self, seq: int, chunk: ConsoleChunk) -> None:
        """Put one chunk in place of all up to its own number."""
        self._session.run("drop_console", {"run_seq": seq, "number": chunk.number})
        params = {
            "run_seq": seq,
            "number": chunk.number,
            "first_line": chunk.first_line,
            "line_count": chunk.line_count,
            "digest": chunk.digest,
            "at": chunk.at,
        }
        self._session.run("put_console", params)
