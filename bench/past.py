"""Gives a database many items that were deleted long ago, each with a run, history and a log."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.server import database_of

AGO_MS = 30 * 24 * 3_600_000  # longer than anything deleted is kept
HISTORY = 3  # rows of each run
_NUMBERS = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
"""
# One real item of a fresh database is what the others are made of.
_STATEMENTS = (
    """
    INSERT INTO runs (id, entity, entity_folded, project, project_folded, name, item_id,
        created_at, config, summary, history_size)
    {numbers}
    SELECT 'past' || n, entity, entity_folded, project, project_folded, name, 'past' || n,
        {then}, config, '{{"loss": 0.5}}', {history}
    FROM runs CROSS JOIN numbers
    """,
    """
    INSERT INTO items (id, queue_id, queue, project_queue, entity, entity_folded, project,
        project_folded, run_id, author, submitted_by, priority, rank, resource, spec, state,
        created_at, attempt, leased_at, started_at, ended_at, exit_code, deleted_at,
        idempotency_key, body_hash)
    {numbers}
    SELECT 'past' || n, queue_id, queue, project_queue, entity, entity_folded, project,
        project_folded, 'past' || n, author, submitted_by, priority, rank, resource, spec,
        'finished', {then}, 1, {then}, {then}, {then}, 0, {then}, 'past' || n, 'none'
    FROM items CROSS JOIN numbers
    """,
    """
    INSERT INTO run_history (run_seq, number, values_json)
    {numbers}
    SELECT runs.seq, n, '{{"loss": 0.5, "_step": ' || n || '}}'
    FROM runs CROSS JOIN numbers WHERE runs.id LIKE 'past%' AND n <= {history}
    """,
    """
    INSERT INTO logs (item_id, attempt, name, size, chunk_count)
    SELECT id, 1, 'program', 100, 1 FROM items WHERE id LIKE 'past%'
    """,
    """
    INSERT INTO log_chunks (item_id, attempt, name, start_byte, length, digest, first_at, last_at)
    SELECT item_id, 1, 'program', 0, 100, 'none', {then}, {then} FROM logs
    """,
)


def live_through(database: str | Path, count: int) -> None:
    """Make so many deleted items out of the one that there is; nobody else may be there."""
    then = int(time.time() * 1_000) - AGO_MS
    texts = [
        text.format(
            numbers=_NUMBERS.format(count=HISTORY if "run_history" in text else count),
            then=then,
            history=HISTORY,
        )
        for text in _STATEMENTS
    ]
    with closing(connect(database)) as connection:
        for text in texts:
            connection.execute(text)
        connection.commit()
        connection.execute("ANALYZE")
        connection.commit()


def left_to_purge(database: str | Path) -> int:
    """Count the deleted items that still have something."""
    text = "SELECT count(*) FROM items WHERE deleted_at IS NOT NULL AND purged_at IS NULL"
    with closing(connect(database)) as connection:
        return int(connection.execute(text).fetchone()[0])


def connect(database: str | Path) -> Any:
    """Open a database by its address, or by the folder of its server."""
    if isinstance(database, Path):
        return sqlite3.connect(database_of(database), timeout=60)
    import psycopg  # noqa: PLC0415 - an extra, for those who measure PostgreSQL too

    return psycopg.connect(database)
