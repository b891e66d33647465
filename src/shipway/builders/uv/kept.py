"""Lists what the builder keeps, and removes of it what is not in use."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from shipway.builders.build_lock import USED, alone
from shipway.builders.uv import compiled, seal
from shipway.builders.uv.cache_lock import BUILDS_LOCK
from shipway.plugins.kept import Kept, measure

EVICTED = "evicted"
_ARCHIVES = "archive-v*"  # unpacked wheels, whose files are linked into the environments
_BUCKETS = ("sdists-v*", "builds-v*", "git-v*")  # the rest of uv's cache that grows


def kept(cache: Path) -> list[Kept]:
    """Return environments, built projects, uv's unpacked wheels and what crashes left."""
    environments = list(_environments(cache / "envs"))
    used: dict[int, float] = {}
    for one in environments:
        for inode in one.files:
            used[inode] = max(used.get(inode, 0.0), one.used_at)
    return [
        *environments,
        *_projects(cache / "projects"),
        *_packages(cache / "uv", used),
        *_leftovers(cache),
    ]


def evict(cache: Path, gone: Kept) -> bool:
    """Remove one of these unless it was used since, or is being built."""
    place = gone.path.relative_to(cache).parts
    locks = {
        "envs": cache / "envs" / f"{place[1]}.lock",
        "projects": cache / "projects" / f"{place[1]}.lock",
        "uv": cache / BUILDS_LOCK,
    }
    lock = locks.get(place[0])
    if lock is None:
        return _delete(gone.path)
    with alone(lock) as is_ours:
        if not is_ours or (place[0] != "uv" and _used_at(gone.path) > gone.used_at):
            return False
        away = _move_away(cache, gone.path)
    return away is not None and _delete(away)


def _environments(folder: Path) -> Iterator[Kept]:
    for generation in sorted(folder.glob("*/[0-9]*")):
        is_whole = (generation / seal.SEAL).exists()
        yield Kept(
            path=generation,
            used_at=_used_at(generation),
            files=measure(generation),
            is_waste=not is_whole,
        )


def _projects(folder: Path) -> Iterator[Kept]:
    for project in _folders(folder):
        is_whole = (project / compiled.DONE).exists()
        yield Kept(
            path=project,
            used_at=_used_at(project),
            files=measure(project),
            is_waste=not is_whole,
        )


def _packages(folder: Path, used: dict[int, float]) -> Iterator[Kept]:
    """Yield uv's own; a wheel was last used when the last environment that links to it was."""
    for archive in sorted(folder.glob(f"{_ARCHIVES}/*")):
        files = measure(archive)
        last = max((used[inode] for inode in files if inode in used), default=0.0)
        yield Kept(path=archive, used_at=max(last, _mtime(archive)), files=files)
    for pattern in _BUCKETS:
        for bucket in sorted(folder.glob(pattern)):
            newest = max([_mtime(bucket), *map(_mtime, bucket.glob("*"))])
            yield Kept(path=bucket, used_at=newest, files=measure(bucket))


def _leftovers(cache: Path) -> Iterator[Kept]:
    for name in ("tmp", EVICTED):
        for path in sorted((cache / name).glob("*")):
            yield Kept(path=path, used_at=_mtime(path), files=measure(path), is_waste=True)


def _used_at(path: Path) -> float:
    """Return when an environment or a built project was last used; when made, if never."""
    for mark in (USED, compiled.DONE):
        try:
            return (path / mark).stat().st_mtime
        except OSError:
            continue
    return _mtime(path)


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()  # somebody removes it at this moment


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir())


def _move_away(cache: Path, path: Path) -> Path | None:
    """Take a folder away in one step, so that nobody finds half of it."""
    aside = cache / EVICTED
    aside.mkdir(exist_ok=True)
    away = aside / f"{os.getpid()}.{time.time_ns()}.{path.name}"
    try:
        path.rename(away)
    except FileNotFoundError:
        return None
    except OSError:  # uv's cache may lie on another disk, behind a link
        return path
    return away


def _delete(path: Path) -> bool:
    for parent, _, _ in os.walk(path):
        os.chmod(parent, 0o700)  # noqa: PTH101 - hot path, plain text
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()
