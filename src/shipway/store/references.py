"""Reads which blobs rows lead to, page by page."""

from __future__ import annotations

from shipway.domain.ids import Digest
from shipway.store.session import Session

START = ("", 0, "", -1)  # before the first chunk


class References:
    """The port `ReferenceRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def items(self, *, after: int, limit: int) -> list[tuple[int, str, Digest | None]]:
        """Return (seq, spec, pinned lock) of items that are not purged, in order of seq."""
        rows = self._session.all("references_of_items", {"after": after, "limit": limit})
        return [(seq, spec, None if lock is None else Digest(lock)) for seq, spec, lock in rows]

    def stored(self, *, after: str, limit: int) -> list[Digest]:
        """Return digests of which rows say that they are stored, in order."""
        rows = self._session.all("stored_blobs", {"after": after, "limit": limit})
        return [Digest(digest) for (digest,) in rows]

    def artifacts(self, *, after: int, limit: int) -> list[tuple[int, str]]:
        """Return (seq, text with digests) of versions that are not purged, in order of seq."""
        rows = self._session.all("references_of_artifacts", {"after": after, "limit": limit})
        return [(seq, " ".join(filter(None, digests))) for seq, *digests in rows]

    def files(self, *, after: tuple[int, str], limit: int) -> list[tuple[int, str, Digest]]:
        """Return (run, path, digest) of run files, in order."""
        params = {"run_seq": after[0], "path": after[1], "limit": limit}
        rows = self._session.all("references_of_files", params)
        return [(run_seq, path, Digest(digest)) for run_seq, path, digest in rows]

    def console(self, *, after: tuple[int, int], limit: int) -> list[tuple[int, int, Digest]]:
        """Return (run, number, digest) of the chunks of clients' consoles, in order."""
        params = {"run_seq": after[0], "number": after[1], "limit": limit}
        rows = self._session.all("references_of_console", params)
        return [(run_seq, number, Digest(digest)) for run_seq, number, digest in rows]

    def chunks(
        self, *, after: tuple[str, int, str, int] | None, limit: int
    ) -> list[tuple[str, int, str, int, Digest]]:
        """Return (item, attempt, name, start, digest) of log chunks, in order."""
        item_id, attempt, name, start_byte = after or START
        params = {
            "item_id": item_id,
            "attempt": attempt,
            "name": name,
            "start_byte": start_byte,
            "limit": limit,
        }
        rows = self._session.all("references_of_chunks", params)
        return [(*row[:4], Digest(row[4])) for row in rows]
