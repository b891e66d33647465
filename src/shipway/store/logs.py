"""Rows that say which blobs make up the logs of attempts."""

from __future__ import annotations

from collections.abc import Sequence

from shipway.domain.attempt import LogChunk
from shipway.domain.errors import Conflict
from shipway.domain.ids import Digest, ItemId
from shipway.store.rows import to_chunk
from shipway.store.session import Session


class Logs:
    """The port `LogRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def size(self, item_id: ItemId, attempt: int, name: str) -> int:
        """Return how many bytes a log has so far."""
        row = self._session.one("log_size", _key(item_id, attempt, name))
        return 0 if row is None else int(row[0])

    def append(self, chunk: LogChunk) -> bool:
        """Add a chunk if it begins where the log ends; False otherwise."""
        assert chunk.length > 0, "a chunk holds bytes"
        params = _params(chunk)
        row = self._session.one("grow_log", params)
        if row is None and chunk.offset == 0:
            row = self._session.one("start_log", params)
        if row is None:
            return False
        self._session.run("insert_chunk", params)
        return True

    def chunks(
        self, item_id: ItemId, attempt: int, name: str, *, after: int, limit: int
    ) -> list[LogChunk]:
        """Return chunks that hold bytes at or after an offset, in order."""
        params = _key(item_id, attempt, name) | {"after": after, "limit": limit}
        return [to_chunk(row) for row in self._session.all("chunks", params)]

    def attempts(self, item_id: ItemId) -> list[tuple[int, str, int]]:
        """Return (attempt, name, size) of every log of an item."""
        rows = self._session.all("logs_of_item", {"item_id": item_id})
        return [(attempt, name, size) for attempt, name, size in rows]

    def unsealed(self, *, limit: int, size_limit: int) -> list[tuple[ItemId, int, str]]:
        """Return logs of ended attempts that still are more than one chunk."""
        rows = self._session.all("unsealed_logs", {"limit": limit, "size_limit": size_limit})
        return [(ItemId(item_id), attempt, name) for item_id, attempt, name in rows]

    def seal(self, chunk: LogChunk, *, replaces: Sequence[Digest]) -> None:
        """Put one chunk in place of all the chunks of its log; `Conflict` if they are others."""
        key = _key(chunk.item_id, chunk.attempt, chunk.name)
        present = [row[0] for row in self._session.all("digests_of_log", key)]
        size = self.size(chunk.item_id, chunk.attempt, chunk.name)
        if sorted(present) != sorted(replaces) or chunk.offset != 0 or chunk.length != size:
            raise Conflict(
                f"log {chunk.name} of item {chunk.item_id} changed while it was sealed: try again"
            )
        self._session.run("delete_chunks", key)
        self._session.run("insert_chunk", _params(chunk))
        self._session.run("seal_log", key)


def _key(item_id: ItemId, attempt: int, name: str) -> dict[str, object]:
    return {"item_id": item_id, "attempt": attempt, "name": str(name)}


def _params(chunk: LogChunk) -> dict[str, object]:
    return {
        "item_id": chunk.item_id,
        "attempt": chunk.attempt,
        "name": str(chunk.name),
        "start_byte": chunk.offset,
        "length": chunk.length,
        "digest": chunk.digest,
        "first_at": chunk.first_at,
        "last_at": chunk.last_at,
    }
