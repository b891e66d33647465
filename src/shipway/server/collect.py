"""Removes from a server's data what its upkeep would remove, or says what that would be."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

from shipway.blobs.directory import DirectoryBlobs
from shipway.server.app import SystemClock, build_service
from shipway.server.backup import Places
from shipway.service.ports import Store, Tx
from shipway.service.reclaim import Looking, Reading, Reclaim
from shipway.store.open import open_store

T = TypeVar("T")


def collect(places: Places, *, is_dry_run: bool) -> dict[str, Any]:
    """Return counts, and bytes of blobs, of what was removed or would be; a server may run."""
    service = build_service(SystemClock())
    upkeep = service.upkeep
    with closing(open_store(places.database, migrate=False)) as store:
        with store.read() as tx:
            found = {
                "tombstones": upkeep.to_purge(tx),
                "agents": upkeep.silent_agents(tx),
            }
        if not is_dry_run:
            while _write(store, upkeep.purge):
                pass
            _write(store, upkeep.forget_agents)
        blobs = DirectoryBlobs(places.blobs)
        reclaim = upkeep.reclaim(blobs, is_dry_run=is_dry_run)
        if places.blobs.exists():
            _run(store, reclaim)
    counted: dict[str, Any] = {kind: {"count": count} for kind, count in found.items()}
    return {**counted, "blobs": {"count": reclaim.count, "bytes": reclaim.bytes}}


def _run(store: Store, reclaim: Reclaim) -> None:
    for step in reclaim.steps():
        if isinstance(step, Looking):
            step.do()
        elif isinstance(step, Reading):
            with store.read() as tx:
                step.do(tx)
        else:
            _write(store, step.do)


def _write(store: Store, work: Callable[[Tx], T]) -> T:
    return store.write(work).result()
