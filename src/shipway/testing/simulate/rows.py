"""What the tables hold of items and logs at one moment, read outside of shipway."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

_ITEMS = (
    "SELECT id, queue, state, attempt, lease_token, lease_agent, lease_deadline, ended_at,"
    " stop_requested_at, deleted_at, exit_code, handle, lock_digest, lost_count, retry_count,"
    " idempotency_key, spec FROM items ORDER BY seq"
)
_LOGS = "SELECT item_id, attempt, name, size FROM logs ORDER BY item_id, attempt, name"


@dataclass(frozen=True, slots=True)
class Row:
    """One item."""

    id: str
    queue: str
    state: str
    attempt: int
    token: str | None
    agent: str | None
    deadline: int | None
    ended_at: int | None
    stop_requested_at: int | None
    deleted_at: int | None
    exit_code: int | None
    handle: str | None
    lock: str | None
    lost_count: int
    retry_count: int
    key: str | None
    spec: str


Logs = dict[tuple[str, int, str], int]


class Table:
    """The tables through a connection of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def items(self) -> dict[str, Row]:
        """Return every item."""
        return {row[0]: Row(*row) for row in self._connection.execute(_ITEMS)}

    def logs(self) -> Logs:
        """Return the size of every log."""
        return {(i, a, n): size for i, a, n, size in self._connection.execute(_LOGS)}

    def chunks(self, item: str, attempt: int) -> list[tuple[int, int, str]]:
        """Return offset, length and digest of the chunks of an attempt's program log."""
        return self._connection.execute(
            "SELECT start_byte, length, digest FROM log_chunks"
            " WHERE item_id = ? AND attempt = ? AND name = 'program' ORDER BY start_byte",
            (item, attempt),
        ).fetchall()
