"""Lists what a capsule of a directory carries: names and looks, no contents."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shipway.domain.capsule import show
from shipway.domain.errors import Invalid
from shipway.sdk.ignore import GITIGNORE, SHIPWAYIGNORE, IgnoreRules
from shipway.sources.git_command import Git

LISTED_LIMIT = 100_000  # names looked at before a directory is refused as it is
NESTING_LIMIT = 10  # repositories within repositories
DEFAULTS = b"__pycache__/\n"  # what nobody means to send, of untracked files only
_VENV = b"pyvenv.cfg"  # an environment made for one place on one machine

Look = tuple[int, int, int, int, int]  # mode, size, mtime, ctime, inode


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file or link on disk."""

    path: bytes  # relative to the root
    look: Look
    is_tracked: bool  # by git
    is_included: bool  # named by the caller

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.look[1]

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.look[0])

    @property
    def is_executable(self) -> bool:
        """Whether its owner may execute it, as git sees it."""
        return bool(self.look[0] & 0o100)


def list_files(git: Git | None, root: bytes, include: Sequence[bytes]) -> list[Found]:
    """Return what is carried of a repository's working tree, or of a plain directory.

    Tracked files as they are on disk, untracked ones by git's rules, both less what .shipwayignore
    leaves out; sockets, pipes and devices are no files. Submodules come by content.
    """
    tracked: set[bytes] = set()
    if git is None:
        others: Iterable[bytes] = _walk(root, b"", _rules(root, (GITIGNORE, SHIPWAYIGNORE)))
    else:
        tracked, untracked = _list_repository(git, root, b"", 0)
        for_all = _rules(root, (SHIPWAYIGNORE,), defaults=b"")
        tracked = {path for path in tracked if not for_all.is_ignored(path)}
        rules = _rules(root, (SHIPWAYIGNORE,))
        venvs = {path.rpartition(b"/")[0] for path in untracked if path.endswith(b"/" + _VENV)}
        others = {
            path
            for path in untracked
            if not rules.is_ignored(path) and not any(above in venvs for above in parents(path))
        }
    named = set(_included(root, include))
    looks = _Looks(root)
    found: list[Found] = []
    for path in sorted(tracked.union(others, named)):
        look = looks.of(path)
        if look is None:
            continue
        is_included = path in named
        found.append(
            Found(path=path, look=look, is_tracked=path in tracked, is_included=is_included)
        )
    return found


def look_at(full: bytes) -> Look | None:
    """Return how a path looks now, None where there is no file or link."""
    try:
        return look_of(os.lstat(full))
    except (FileNotFoundError, NotADirectoryError):
        return None


def look_of(seen: os.stat_result) -> Look:
    """Return the part of a file's state that changes with its bytes."""
    return (seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)


def parents(path: bytes) -> Iterator[bytes]:
    """Yield the folders above a path, the nearest first."""
    at = path.rfind(b"/")
    while at > 0:
        yield path[:at]
        at = path.rfind(b"/", 0, at)


def _list_repository(
    git: Git, root: bytes, prefix: bytes, depth: int
) -> tuple[set[bytes], set[bytes]]:
    """Return tracked and untracked paths; of repositories inside it, too."""
    if depth > NESTING_LIMIT:
        raise Invalid(f"{show(prefix)} is the {depth}th repository within another", field="uri")
    cwd = Path(os.fsdecode(os.path.join(root, prefix)))
    tracked, untracked, nested = set(), set(), set()
    for row in git.run(["ls-files", "-z", "--stage"], cwd=cwd).split(b"\0"):
        head, _, path = row.partition(b"\t")
        if head.startswith(b"160000"):
            nested.add(path)
        elif path:
            tracked.add(prefix + path)
    for path in git.run(["ls-files", "-z", "--others", "--exclude-standard"], cwd=cwd).split(b"\0"):
        if path.endswith(b"/"):
            nested.add(path.rstrip(b"/"))
        elif path:
            untracked.add(prefix + path)
    for path in sorted(nested):
        if os.path.lexists(os.path.join(root, prefix, path, b".git")):  # else it is not there
            below = _list_repository(git, root, prefix + path + b"/", depth + 1)
            tracked |= below[0]
            untracked |= below[1]
    return tracked, untracked


def _rules(root: bytes, names: Sequence[bytes], defaults: bytes = DEFAULTS) -> IgnoreRules:
    def read(path: bytes) -> bytes:
        try:
            with open(os.path.join(root, path), "rb") as file:
                return file.read(1 << 20)
        except OSError:
            return b""

    return IgnoreRules(read, names, defaults)


def _walk(root: bytes, start: bytes, rules: IgnoreRules | None) -> Iterator[bytes]:
    """Yield the files below a folder; with no rules, all but git's own."""
    folders, seen = [start], 0
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(root, folder)) as rows:
            entries = list(rows)
        if rules is not None and folder and any(row.name == _VENV for row in entries):
            continue
        for row in entries:
            path = folder + b"/" + row.name if folder else row.name
            is_folder = row.is_dir(follow_symlinks=False)
            if row.name.lower() == b".git":
                continue
            if rules is not None and rules.is_ignored(path, is_folder=is_folder):
                continue
            if is_folder:
                folders.append(path)
                continue
            seen += 1
            if seen > LISTED_LIMIT:
                return  # far over what a capsule may carry: the check of limits says so
            yield path


def _included(root: bytes, include: Sequence[bytes]) -> Iterator[bytes]:
    for path in include:
        look = look_at(os.path.join(root, path))
        if look is not None and stat.S_ISDIR(look[0]):
            yield from _walk(root, path.strip(b"/"), None)
        else:
            yield path


class _Looks:
    """Looks at files, none of them through a linked folder."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._folders: dict[bytes, bool] = {b"": True}

    def of(self, path: bytes) -> Look | None:
        """Return how a file or link looks; None for anything else and what is not there."""
        if not self._is_folder(path.rpartition(b"/")[0]):
            return None
        look = look_at(os.path.join(self._root, path))
        if look is None or not (stat.S_ISREG(look[0]) or stat.S_ISLNK(look[0])):
            return None
        return look

    def _is_folder(self, path: bytes) -> bool:
        known = self._folders.get(path)
        if known is None:
            known = self._is_folder(path.rpartition(b"/")[0])
            if known:
                look = look_at(os.path.join(self._root, path))
                known = look is not None and stat.S_ISDIR(look[0])
            self._folders[path] = known
        return known
