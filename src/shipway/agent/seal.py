"""Proves that a work directory is as it was made: every entry's inode, mode, size and times."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

TICK_NS = 10_000_000  # file times are this coarse at worst: what is younger proves nothing

Sign = tuple[int, int, int, int, int, int]  # ctime, mtime, inode, size, mode, links


@dataclass(frozen=True, slots=True)
class Seal:
    """The signs of a folder and of all entries below it.

    A directory's ctime changes with every name that comes or goes, a file's with every write,
    and no program can set it: equal signs mean equal bytes and no other names.
    """

    names: tuple[str, ...]  # relative to the folder
    signs: tuple[Sign, ...]

    @property
    def newest(self) -> int:
        """When the last of it was made, in ns: changes since then show if a tick has passed."""
        return max(sign[0] for sign in self.signs)

    def holds(self, folder: int) -> bool:
        """Tell whether all below an open folder is as it was."""
        look = os.stat
        for name, sign in zip(self.names, self.signs, strict=True):
            try:
                now = look(name, dir_fd=folder, follow_symlinks=False)
            except OSError:
                return False
            if sign != (
                now.st_ctime_ns,
                now.st_mtime_ns,
                now.st_ino,
                now.st_size,
                now.st_mode,
                now.st_nlink,
            ):
                return False
        return True


def seal(folder: Path, top: str) -> Seal:
    """Seal the tree `top` inside a folder."""
    names = [top]
    for parent, folders, files in os.walk(folder / top):
        inner = Path(parent).relative_to(folder)
        names += [str(inner / name) for name in (*folders, *files)]
    return Seal(tuple(names), tuple(_sign((folder / name).lstat()) for name in names))


def sign_of(name: str, folder: int) -> Sign | None:
    """Return an entry's signs, or None for one that is not there."""
    try:
        return _sign(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except OSError:
        return None


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree as new files of its own: bytes, executable bits and links, no hard links."""
    target.mkdir(mode=0o755)
    with os.scandir(source) as entries:
        for entry in entries:
            to = target / entry.name
            if entry.is_symlink():
                to.symlink_to(Path(entry.path).readlink())
            elif entry.is_dir():
                copy_tree(Path(entry.path), to)
            else:
                _copy_file(entry.path, to)


def _copy_file(source: str, target: Path) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(reading)
        mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            left = found.st_size
            while left > 0:
                sent = os.sendfile(writing, reading, None, left)
                if sent == 0:
                    break
                left -= sent
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _sign(found: os.stat_result) -> Sign:
    return (
        found.st_ctime_ns,
        found.st_mtime_ns,
        found.st_ino,
        found.st_size,
        found.st_mode,
        found.st_nlink,
    )
