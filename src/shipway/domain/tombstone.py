"""What a deleted item leaves, and for how long the rest is kept."""

from __future__ import annotations

from dataclasses import dataclass

from shipway.domain.ids import ItemId

KEPT_MS = 7 * 24 * 3_600_000  # what was deleted, or nothing leads to any more, is kept so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A deleted item that still has logs, or a run with data; or a run that was deleted itself."""

    item_id: ItemId | None
    run_seq: int | None
