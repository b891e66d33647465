"""How much of a disk is left, and when that is too little for new work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FREE_SHARE = 0.05  # of a disk stays free,
FREE_BYTES = 2_000_000_000  # or so much where that is less: below it no new work is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is left of a disk, in bytes."""

    free: int
    total: int

    @property
    def floor(self) -> int:
        """Bytes that stay free."""
        return min(int(self.total * FREE_SHARE), FREE_BYTES)

    @property
    def is_low(self) -> bool:
        """Whether there is too little left for new work."""
        return self.free < self.floor

    def __str__(self) -> str:
        return f"{in_words(self.free)} free, where {in_words(self.floor)} stay free"

    def to_json(self) -> dict[str, Any]:
        """Return it as the wire has it."""
        return {"free": self.free, "total": self.total}


def in_words(size: int) -> str:
    """Return a number of bytes as people say it, in powers of ten."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
