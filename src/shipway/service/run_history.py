"""Shows what runs logged: by pages of steps, by keys, and in samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shipway.domain.run import ConsoleChunk, Run, StreamLine
from shipway.service.ports import Tx

ROWS_LIMIT = 10_000  # rows of one answer
CHUNKS_LIMIT = 10_000  # of one console; upkeep makes one of many
LAST_STEP = (1 << 62) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Which rows somebody wants: those with all of these keys, within these steps."""

    keys: tuple[str, ...]
    min_step: int | None = None
    max_step: int | None = None  # not itself
    limit: int


class RunHistory:
    """Use cases of histories; the caller has made sure that the actor sees the run."""

    def sample(self, tx: Tx, run: Run, *, limit: int) -> list[str]:
        """Return rows as JSON, evenly spread, the last among them."""
        return tx.streams.sample(run.seq, size=run.history_size, limit=min(limit, ROWS_LIMIT))

    def system(self, tx: Tx, run: Run, *, limit: int) -> list[str]:
        """Return lines of the machine's metrics as JSON, evenly spread."""
        return tx.streams.sample_system(run.seq, limit=min(limit, ROWS_LIMIT))

    def page(
        self, tx: Tx, run: Run, *, min_step: int | None, max_step: int | None
    ) -> list[str]:  # fmt: skip
        """Return rows as JSON from a step to before another; a client's pages are small."""
        return tx.streams.history(
            run.seq,
            min_step=0 if min_step is None else min_step,
            max_step=LAST_STEP if max_step is None else max_step,
            limit=ROWS_LIMIT,
        )

    def of_keys(self, tx: Tx, run: Run, spec: Spec) -> list[dict[str, Any]]:
        """Return rows that have all of the keys, and of them only these, evenly spread."""
        found: list[dict[str, Any]] = []
        at = 0 if spec.min_step is None else spec.min_step
        end = LAST_STEP if spec.max_step is None else spec.max_step
        while at < end:
            texts = tx.streams.history(run.seq, min_step=at, max_step=end, limit=ROWS_LIMIT)
            rows = [json.loads(text) for text in texts]
            is_last = len(rows) < ROWS_LIMIT
            if not is_last:  # the last step may go on behind the page
                last = _step(rows[-1], at)
                rows = [row for row in rows if _step(row, at) < last] or rows
                at = max(last, at + 1)
            found += [row for row in rows if all(key in row for key in spec.keys)]
            if is_last:
                break
        kept = evenly(found, min(spec.limit, ROWS_LIMIT))
        return [{key: row[key] for key in spec.keys} for row in kept] if spec.keys else kept

    def last(self, tx: Tx, run: Run) -> str | None:
        """Return the row of the last step as JSON."""
        last = tx.streams.last_step(run.seq)
        rows = tx.streams.history(run.seq, min_step=last, max_step=last + 1, limit=ROWS_LIMIT)
        return rows[-1] if rows else None

    def last_step(self, tx: Tx, run: Run) -> int:
        """Return the largest step; -1 where nothing was logged."""
        return tx.streams.last_step(run.seq)

    def next_line(self, tx: Tx, run: Run) -> int:
        """Return the number of the next line of a client that goes on with a run."""
        return tx.streams.next_line(run.seq, history_size=run.history_size)

    def last_system(self, tx: Tx, run: Run) -> str | None:
        """Return the machine's metrics as they were last, as JSON."""
        rows = tx.streams.sample_system(run.seq, limit=1)
        return rows[-1] if rows else None

    def system_size(self, tx: Tx, run: Run) -> int:
        """Return how many lines of the machine's metrics there are."""
        return tx.streams.system_size(run.seq)

    def console(self, tx: Tx, run: Run) -> list[ConsoleChunk]:
        """Return the chunks of what a client saw on its terminal, in the order of their coming."""
        return tx.consoles.chunks(run.seq, limit=CHUNKS_LIMIT)

    def console_size(self, tx: Tx, run: Run) -> int:
        """Return how many lines a client saw on its terminal."""
        return tx.consoles.size(run.seq)


def evenly(rows: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """Return at most so many rows, evenly spread, first and last among them."""
    if len(rows) <= limit:
        return rows
    if limit < 2:
        return rows[-limit:] if limit == 1 else []
    last = len(rows) - 1
    return [rows[round(index * last / (limit - 1))] for index in range(limit)]


def _step(row: dict[str, Any], least: int) -> int:
    step = row.get("_step")
    return step if isinstance(step, int) else least


def unsaid(tx: Tx, run: Run, lines: Sequence[StreamLine]) -> Sequence[StreamLine]:
    """Return the lines but those that the run has: one that is synced again is numbered anew."""
    last = tx.streams.last_step(run.seq)
    doubtful = [line.step for line in lines if line.step <= last]
    if not doubtful:
        return lines
    known: set[str] = set()
    at, end = min(doubtful), max(doubtful) + 1
    while at < end:
        texts = tx.streams.history(run.seq, min_step=at, max_step=end, limit=ROWS_LIMIT)
        known.update(map(_canonical, texts))
        if len(texts) < ROWS_LIMIT:
            break
        at = max(_step(json.loads(texts[-1]), at), at + 1)
    return [line for line in lines if line.step > last or _canonical(line.text) not in known]


def _canonical(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)
