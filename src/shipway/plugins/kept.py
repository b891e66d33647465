"""What a plugin keeps in its cache, and how it lets go of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

Files = Mapping[int, int]  # inode to bytes on the disk: what is linked twice counts once


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One thing that can be removed as a whole; it is made again when somebody needs it."""

    path: Path
    used_at: float  # s UTC: the last use, to a minute or so
    files: Files
    is_waste: bool = False  # a crash left it: nobody will use it again


@runtime_checkable
class Keeper(Protocol):
    """A source or builder whose cache is bounded by last use; one without is left alone."""

    def kept(self, cache: Path) -> list[Kept]:
        """Return all that could be removed, in no order; it may take seconds."""

    def evict(self, cache: Path, gone: Kept) -> bool:
        """Remove it unless it was used since, or is being made; False where it stays."""


def measure(folder: Path) -> dict[int, int]:
    """Return the files below a folder: inode to bytes on the disk."""
    found: dict[int, int] = {}
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    seen = entry.stat(follow_symlinks=False)
                    found[seen.st_ino] = seen.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:  # gone meanwhile, or a program took the right to look away
            continue
    return found
