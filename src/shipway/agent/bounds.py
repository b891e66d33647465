"""How much an agent keeps, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

HOUR_S = 3_600.0
# What was used within this time is never removed: an attempt may have been promised it and not say
# so on the disk yet. The longest build takes an hour.
YOUNG_S = 2 * HOUR_S
WASTE_S = 24 * HOUR_S  # a crash's leftovers are removed after this


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The limits of an agent's home."""

    keep_work_s: float = 24 * HOUR_S  # a folder that waits for another attempt at the same tree
    keep_failed_s: float = 7 * 24 * HOUR_S  # the folder of an attempt that failed
    keep_failed: int = 20  # of those, the newest
    environments: int = 20_000_000_000  # bytes, packages that they are made of included
    sources: int = 10_000_000_000  # bytes of source trees
