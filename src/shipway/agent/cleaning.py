"""Finds what an agent's home keeps beyond its bounds, and removes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from shipway.agent.bounds import Bounds
from shipway.agent.eviction import to_evict
from shipway.agent.home import Home
from shipway.agent.workdir import FAILED_MARK, USES, remove
from shipway.domain.disk import Room
from shipway.plugins.kept import Keeper, Kept, measure


class Kind(StrEnum):
    """What is removed."""

    WORK = "work"  # folders of attempts that are over
    ENVIRONMENTS = "environments"  # and the packages that they are made of
    SOURCES = "sources"  # fetched trees


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """A plugin's cache."""

    kind: Kind
    cache: Path
    keeper: Keeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One thing that goes, and what that frees."""

    kind: Kind
    path: Path
    bytes: int
    do: Callable[[], bool]  # False where it stays: somebody uses it after all


class Cleaner:
    """Holds one agent's home to its bounds; any process of its owner may."""

    def __init__(
        self,
        home: Home,
        bounds: Bounds,
        shelves: Callable[[], Sequence[Shelf]],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._home = home
        self._bounds = bounds
        self._shelves = shelves
        self._now = now

    def find(
        self, room: Room, *, in_use: Collection[Path] = (), is_abandoned: bool = False
    ) -> list[Removal]:
        """Return all that is to go; on a short disk also what the bounds would leave.

        `in_use` has what the caller knows of beside what attempts say on the disk. A home is
        abandoned when neither its agent nor a program of it lives.
        """
        busy = {place for path in (*in_use, *self._uses()) for place in (path, *path.parents)}
        gone = self._work(is_abandoned=is_abandoned)
        needed = room.floor - room.free - sum(one.bytes for one in gone)
        limits = {
            Kind.ENVIRONMENTS: self._bounds.environments,
            Kind.SOURCES: self._bounds.sources,
        }
        for kind, limit in limits.items():
            found = self._evicted(kind, limit=limit, needed=max(0, needed), busy=busy)
            needed -= sum(one.bytes for one in found)
            gone += found
        return gone

    def _uses(self) -> list[Path]:
        found: list[Path] = []
        for file in self._home.attempts.glob(f"*/{USES}"):
            if not (file.parent / FAILED_MARK).exists():
                found += map(Path, file.read_text().splitlines())
        return found

    def _work(self, *, is_abandoned: bool) -> list[Removal]:
        """Return the folders of attempts that are over for long enough."""
        now, bounds = self._now(), self._bounds
        old: list[Path] = []
        failed: list[tuple[float, Path]] = []
        for folder in self._home.attempts.glob("*"):
            try:
                failed.append(((folder / FAILED_MARK).stat().st_mtime, folder))
                continue
            except FileNotFoundError:
                pass
            if is_abandoned and now - folder.lstat().st_mtime > bounds.keep_work_s:
                old.append(folder)
        failed.sort(reverse=True)
        for place, (at, folder) in enumerate(failed):
            if place >= bounds.keep_failed or now - at > bounds.keep_failed_s:
                old.append(folder)
        return [_work_removal(folder) for folder in sorted(old)]

    def _evicted(
        self, kind: Kind, *, limit: int, needed: int, busy: Collection[Path]
    ) -> list[Removal]:
        shelves = [shelf for shelf in self._shelves() if shelf.kind is kind]
        kept = {
            one.path: (one, shelf) for shelf in shelves for one in shelf.keeper.kept(shelf.cache)
        }
        chosen = to_evict(
            [one for one, _ in kept.values()],
            limit=limit,
            needed=needed,
            busy=busy,
            now=self._now(),
        )
        removals = []
        for one in chosen:
            gone, shelf = kept[one.kept.path]

            def do(shelf: Shelf = shelf, one: Kept = gone) -> bool:
                return shelf.keeper.evict(shelf.cache, one)

            removals.append(Removal(kind=kind, path=gone.path, bytes=one.bytes, do=do))
        return removals


def _work_removal(folder: Path) -> Removal:
    def do() -> bool:
        remove(folder)
        return not folder.exists()

    size = sum(measure(folder).values())
    return Removal(kind=Kind.WORK, path=folder, bytes=size, do=do)
