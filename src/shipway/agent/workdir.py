"""Gives each attempt a folder of its own, with the source in it that nobody else writes to."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from shipway.agent.lease import Key
from shipway.agent.seal import TICK_NS, Seal, Sign, copy_tree, seal, sign_of
from shipway.agent.watcher import Guard, Watcher

log = logging.getLogger(__name__)

KEPT = 20  # folders of failed attempts that are kept for whoever wants to know why
POOLED = 64  # folders that wait, unchanged, for another attempt at the same tree
SEALED_ENTRIES = 2_000  # larger trees cost more to look over than the pool saves
MOMENT_NS = 100_000_000  # less than what passed the start gate may wait for its folder
TREES = 256  # of which it is known how long a copy takes
EXTRAS = 64  # files beside the work directory that are removed before a folder is used again
FAILED_MARK = "failed"
USES = "uses"  # a file that names what of the caches must stay while the attempt lives
_PARTS = frozenset({"work", "tmp", "files", "config.json"})


@dataclass(slots=True, kw_only=True)
class _Folder:
    """What is known of one attempt's folder."""

    path: Path
    tree: str = ""
    source: Path | None = None
    seal: Seal | None = None
    newest: int = 0  # when the last of it was made, ns
    is_provable: bool = False  # it was a tick old when its program started
    tmp: Sign | None = None
    files: Sign | None = None
    config: bytes | None = None  # what config.json is proven to hold
    config_sign: Sign | None = None
    may_pool: bool = True
    since: float = 0.0  # when it began to wait for another attempt
    guard: Guard | None = None  # hears of changes, so that the seal need not be looked at


class Gone(NamedTuple):
    """An attempt whose program and logs are done with."""

    key: Key
    has_failed: bool  # its folder is kept for whoever wants to know why
    may_pool: bool


class Folders:
    """All attempts' folders; a folder that its program left as it was serves again by a rename."""

    def __init__(
        self,
        root: Path,
        *,
        later: Callable[[Callable[[], None]], Any],
        watcher: Watcher | None = None,
        kept: int = KEPT,
    ) -> None:
        self._root = root
        self._kept = kept
        self._later = later  # runs what need not be waited for
        self._watcher = watcher or Watcher()  # one that was not opened hears nothing
        self._folders: dict[Key, _Folder] = {}
        self._pool: OrderedDict[str, deque[_Folder]] = OrderedDict()  # by tree digest
        self._pooled = 0
        self._copy_ns: dict[str, int] = {}  # what the last copy of a tree took
        self._failed: deque[Path] = deque()
        self._lock = threading.Lock()

    def path(self, key: Key) -> Path:
        """Return where an attempt's folder is."""
        folder = self._folders.get(key)
        return self._root / key if folder is None else folder.path

    def open(self, key: Key) -> Path:
        """Make the folder with what every attempt has but the source; a second call finds it."""
        path = self._root / key
        for part in (path, path / "tmp", path / "files"):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock:
            self._folders.setdefault(key, _Folder(path=path))
        return path

    def take(self, key: Key, tree: str, config: bytes) -> bool:
        """Rename a pooled folder of that tree to an attempt's; False if there is none."""
        with self._lock:
            waiting = self._pool.get(tree)
            if not waiting or key in self._folders:
                return False
            folder = waiting.pop()
            self._pooled -= 1
            path = self._root / key
            try:
                os.rename(folder.path, path)  # noqa: PTH104 - makes no third Path
            except OSError:
                log.warning("pooled folder lost", extra={"folder": str(folder.path)})
                return False
            folder.path = path
            self._folders[key] = folder
        if folder.config != config:
            _write_config(folder, config)
            folder.config = None  # too young for its signs to prove anything
        return True

    def at_hand(self, tree: str) -> int:
        """Return how many folders of a tree are there, or can be copied in a moment."""
        copy_ns = self._copy_ns.get(tree)
        return len(self._pool.get(tree, ())) + (MOMENT_NS // copy_ns if copy_ns else 0)

    def fill(self, key: Key, tree: str, source: Path, config: bytes) -> Path:
        """Copy a tree into an attempt's folder; what an earlier try left there is removed."""
        path = self.open(key)
        folder = self._folders[key]
        if (path / "work").exists():
            remove(path / "work")
        self._drop(folder)
        self._fill(folder, tree, source, config)
        return path

    def start(self, key: Key) -> None:
        """Note that the attempt's program starts now."""
        folder = self._folders.get(key)
        if folder is not None and not folder.is_provable:
            folder.is_provable = time.time_ns() > folder.newest + TICK_NS

    def release(self, key: Key, *, has_failed: bool, may_pool: bool) -> None:
        """Let go of a folder whose program and logs are done with."""
        self.release_all([Gone(key, has_failed=has_failed, may_pool=may_pool)])

    def release_all(self, gone: Sequence[Gone]) -> None:
        """Let go of several folders at once."""
        self._watcher.hear()
        for one in gone:
            self._release(one.key, has_failed=one.has_failed, may_pool=one.may_pool)

    def _release(self, key: Key, *, has_failed: bool, may_pool: bool) -> None:
        with self._lock:
            folder = self._folders.pop(key, None)
        if folder is None:
            folder = _Folder(path=self._root / key, may_pool=False)
        if has_failed:
            self._drop(folder)
            self._keep(folder.path)
        elif not (may_pool and self._is_pristine(folder)):
            self._drop(folder)
            self._discard(folder.path)
        elif folder.is_provable or (folder.guard is not None and folder.guard.is_quiet):
            self._pool_folder(folder)
        else:  # young when it was used, so nobody knows; but a copy of that tree is worth having
            self._drop(folder)
            self._discard(folder.path)
            self._later(lambda: self._stock(folder))

    def sweep(self, alive: Collection[Key]) -> None:
        """After a start: remove what belongs to no live attempt, but for the last failed ones."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        failed = []
        for path in sorted(self._root.iterdir()):
            if path.name in alive:
                continue
            if (path / FAILED_MARK).exists():
                failed.append(path)
            else:
                self._discard(path)
        self._failed.extend(failed)
        self._trim()

    def expire(self, *, older_s: float) -> list[Path]:
        """Remove folders that waited so long for another attempt at their tree."""
        before = time.monotonic() - older_s
        with self._lock:
            old = [f for waiting in self._pool.values() for f in waiting if f.since < before]
            for folder in old:
                self._pool[folder.tree].remove(folder)
            self._pooled -= len(old)
        for folder in old:
            self._drop(folder)
            remove(folder.path)
        return [folder.path for folder in old]

    def _keep(self, path: Path) -> None:
        with suppress(OSError):
            (path / FAILED_MARK).touch()
        self._failed.append(path)
        self._trim()

    def _trim(self) -> None:
        while len(self._failed) > self._kept:
            self._discard(self._failed.popleft())

    def _discard(self, path: Path) -> None:
        self._later(lambda: remove(path))

    def _fill(self, folder: _Folder, tree: str, source: Path, config: bytes) -> None:
        began = time.monotonic_ns()
        _fill(folder, tree, source, config)
        self._guard(folder)
        if len(self._copy_ns) >= TREES:
            self._copy_ns.clear()
        self._copy_ns[tree] = max(1, time.monotonic_ns() - began)

    def _guard(self, folder: _Folder) -> None:
        assert folder.seal is not None
        if folder.may_pool:
            entries = (*folder.seal.names, "tmp", "files", "config.json")
            folder.guard = self._watcher.guard(folder.path, _PARTS, entries)

    def _drop(self, folder: _Folder) -> None:
        if folder.guard is not None:
            self._watcher.drop(folder.guard)
            folder.guard = None

    def _is_pristine(self, folder: _Folder) -> bool:
        if not folder.may_pool or folder.seal is None:
            return False
        guard = folder.guard
        if guard is not None:
            if guard.is_quiet:
                return True
            if folder.is_provable:  # what is looked at now is as it was, or nobody's any more
                guard.clear()
        try:
            fd = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return _is_pristine(folder, folder.seal, fd)
        finally:
            os.close(fd)

    def _pool_folder(self, folder: _Folder) -> None:
        with self._lock:
            folder.since = time.monotonic()
            self._pool.setdefault(folder.tree, deque()).append(folder)
            self._pool.move_to_end(folder.tree)
            self._pooled += 1
            extra = self._shrink()
        for one in extra:
            self._drop(one)
            self._discard(one.path)

    def _stock(self, used: _Folder) -> None:
        """Put a new copy of a tree into the pool."""
        assert used.source is not None
        spare = _Folder(path=used.path.with_name(f"{used.path.name}.spare"))
        for part in ("tmp", "files"):
            (spare.path / part).mkdir(mode=0o700, parents=True)
        self._fill(spare, used.tree, used.source, used.config or b"{}")
        self._pool_folder(spare)

    def _shrink(self) -> list[_Folder]:
        """Drop folders of the tree that was not used for longest."""
        dropped = []
        while self._pooled > POOLED:
            tree, waiting = next(iter(self._pool.items()))
            if not waiting:
                del self._pool[tree]
                continue
            dropped.append(waiting.popleft())
            self._pooled -= 1
        return dropped


def _is_pristine(folder: _Folder, sealed: Seal, fd: int) -> bool:
    """Tell whether a folder can serve again, and make it so where a few files are in the way."""
    extras = []
    for name in os.listdir(fd):
        if name in _PARTS:
            continue
        extras.append(name)
        if len(extras) > EXTRAS:
            return False
    if not sealed.holds(fd):
        return False
    for name, sign in (("tmp", folder.tmp), ("files", folder.files)):
        if sign != sign_of(name, fd) and not _is_empty_folder(name, fd):
            return False
    for name in extras:
        try:
            os.unlink(name, dir_fd=fd)
        except OSError:  # a folder, or not ours to remove
            return False
    config = sign_of("config.json", fd)
    if folder.config is not None and folder.config_sign != config:
        folder.config = None
    return config is None or not stat.S_ISDIR(config[4])  # which could not be written anew


def _fill(folder: _Folder, tree: str, source: Path, config: bytes) -> None:
    copy_tree(source, folder.path / "work")
    _write_config(folder, config)
    folder.tree, folder.source = tree, source
    folder.seal = seal(folder.path, "work")
    folder.config = config
    folder.may_pool = len(folder.seal.names) <= SEALED_ENTRIES
    fd = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        folder.tmp, folder.files = sign_of("tmp", fd), sign_of("files", fd)
        folder.config_sign = sign_of("config.json", fd)
    finally:
        os.close(fd)
    assert folder.config_sign is not None
    folder.newest = max(folder.seal.newest, folder.config_sign[0])


def _write_config(folder: _Folder, config: bytes) -> None:
    path = folder.path / "config.json"
    path.unlink(missing_ok=True)  # never through a link that a program left
    path.write_bytes(config)


def _is_empty_folder(name: str, fd: int) -> bool:
    try:
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
    except OSError:
        return False
    try:
        with os.scandir(inner) as entries:
            is_empty = next(entries, None) is None
        return is_empty and stat.S_IMODE(os.fstat(inner).st_mode) == 0o700
    finally:
        os.close(inner)


def remove(path: Path) -> None:
    """Remove a folder, also one whose program took its owner's rights to parts of it away."""
    shutil.rmtree(path, ignore_errors=True)
    if not path.exists():
        return
    with suppress(OSError):
        path.chmod(0o700)
    for parent, folders, _ in os.walk(path):
        for name in folders:
            inner = Path(parent, name)
            with suppress(OSError):
                if not inner.is_symlink():
                    inner.chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        log.warning("folder not removed", extra={"folder": str(path)})
