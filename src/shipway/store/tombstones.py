"""Rows that deleted items leave behind."""

from __future__ import annotations

from shipway.domain.ids import ItemId
from shipway.domain.tombstone import Tombstone
from shipway.store.session import Session


class Tombstones:
    """The port `TombstoneRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def due(self, *, before: int, limit: int) -> list[Tombstone]:
        """Return ended items, and runs, that were deleted before this and still have something."""
        rows = self._session.all("tombstones_due", {"before": before, "limit": limit})
        found = [Tombstone(item_id=ItemId(item_id), run_seq=run_seq) for item_id, run_seq in rows]
        if len(found) < limit:
            params = {"before": before, "limit": limit - len(found)}
            runs = self._session.all("deleted_runs_due", params)
            found += [Tombstone(item_id=None, run_seq=run_seq) for (run_seq,) in runs]
        return found

    def count(self, *, before: int) -> int:
        """Count them."""
        names = ("count_tombstones_due", "count_deleted_runs_due")
        rows = [self._session.one(name, {"before": before}) for name in names]
        return sum(int(row[0]) for row in rows if row is not None)

    def clear(self, tombstone: Tombstone, *, limit: int) -> int:
        """Remove up to so many rows of its logs, history and files; return how many."""
        removed = 0
        of_item, of_run = {"item_id": tombstone.item_id}, {"run_seq": tombstone.run_seq}
        for name, params in (
            ("purge_chunks", of_item),
            ("purge_logs", of_item),
            ("purge_history", of_run),
            ("purge_system", of_run),
            ("purge_console", of_run),
            ("purge_files", of_run),
        ):
            left = limit - removed
            owner = tombstone.item_id if name in _OF_ITEM else tombstone.run_seq
            if left > 0 and owner is not None:
                removed += len(self._session.all(name, {**params, "limit": left}))
        return removed

    def close(self, tombstone: Tombstone, *, now: int) -> None:
        """Note that nothing is left but the row, with its idempotency key."""
        if tombstone.run_seq is not None:
            self._session.run("forget_run", {"run_seq": tombstone.run_seq})
        if tombstone.item_id is not None:
            self._session.run("note_purge", {"item_id": tombstone.item_id, "now": now})
        else:
            self._session.run("note_run_purge", {"run_seq": tombstone.run_seq, "now": now})


_OF_ITEM = frozenset({"purge_chunks", "purge_logs"})
