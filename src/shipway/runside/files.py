"""Copies the files that a run saves to where the agent takes them from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PATH_LIMIT = 512  # characters of a file's name within its run


def name_of(path: Path) -> str:
    """Return the name that a file has within its run: relative to where the program runs.

    A file from somewhere else keeps its last part; a name that leads upwards is refused.
    """
    if path.is_absolute():
        try:
            path = path.resolve().relative_to(Path.cwd().resolve())
        except ValueError:
            path = Path(path.name)
    name = path.as_posix()
    if name in {"", "."} or ".." in path.parts:
        raise ValueError(f"{name!r} leads out of the run's files; save a path without '..'")
    if len(name) > PATH_LIMIT or not name.isprintable():
        raise ValueError(f"{name!r} cannot be a file's name within a run (text, at most 512 long)")
    return name


def expand(path: Path) -> Iterator[Path]:
    """Yield a file, or all files of a folder in order."""
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))


def store(path: Path, folder: Path) -> str:
    """Copy a file into `folder` whole or not at all; return the name that it got there.

    The name is new each time: the agent may still be reading what was saved under this one before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = os.urandom(16).hex()
    part = folder / f".{stored}.part"
    try:
        shutil.copyfile(path, part)
        part.replace(folder / stored)
    except BaseException:
        if part.exists():
            part.unlink()
        raise
    return stored
