"""Decides what leaves a cache: what was not used for longest, until the rest fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from shipway.agent.bounds import WASTE_S, YOUNG_S
from shipway.plugins.kept import Kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Evicted:
    """Something to be removed, and what that frees."""

    kept: Kept
    bytes: int


def to_evict(
    kept: Sequence[Kept], *, limit: int, needed: int, busy: Collection[Path], now: float
) -> list[Evicted]:
    """Return what goes, in order: waste, then the least recently used.

    It goes on until the rest is within the limit and `needed` bytes are free besides. What is
    busy, or was used within two hours, stays whatever that means for the limit.
    """
    links: Counter[int] = Counter()
    sizes: dict[int, int] = {}
    for one in kept:
        links.update(one.files.keys())
        sizes.update(one.files)
    total, freed = sum(sizes.values()), 0
    chosen: list[Evicted] = []
    for one in sorted(kept, key=lambda one: (not one.is_waste, one.used_at, one.path)):
        age = now - one.used_at
        if one.path in busy or age < (WASTE_S if one.is_waste else YOUNG_S):
            continue
        if not one.is_waste and total - freed <= limit and freed >= needed:
            break
        gone = 0
        for inode in one.files:
            links[inode] -= 1
            if not links[inode]:
                gone += sizes[inode]
        freed += gone
        chosen.append(Evicted(kept=one, bytes=gone))
    return chosen
