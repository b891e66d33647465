"""Keeps fetched trees on disk: made once, sealed, looked over before each use."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.domain.capsule import Entry, Mode, digest_of, encode
from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest
from shipway.plugins.errors import TemporaryError
from shipway.plugins.kept import Kept, measure

LOCK_POLL_S = 0.02  # between two tries for another process's lock
SEAL_VERSION = 1
CHUNK = 1 << 20
_BOOT = Path("/proc/sys/kernel/random/boot_id")

Make = Callable[[Path], Iterable[Entry]]  # writes a tree into an empty folder


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedTree:
    """A tree of the cache, whole when it was looked at."""

    path: Path
    digest: Digest  # of its canonical manifest
    note: dict[str, Any]  # what its maker wanted to remember


class TreeCache:
    """Trees by key, shared by all processes of one user; each key is made by one at a time.

    A seal beside the tree has every entry's mode, size, times and inode. An entry that looks
    different is hashed; a tree with other bytes, or more or fewer names, is made anew. After a
    restart of the machine every entry is hashed once: a power cut may have emptied files.
    """

    def __init__(self, home: Path) -> None:
        self._trees = home / "trees"
        self._making = home / "making"
        self._locks = home / "locks"

    def get(
        self, key: str, make: Make, *, wait_s: float, remember: Note | None = None
    ) -> SealedTree:
        """Return the tree of a key, calling `make` if it is not there or not whole."""
        found = self._look(key, is_locked=False)
        if found is not None:
            return found
        for folder in (self._trees, self._making, self._locks):
            folder.mkdir(parents=True, exist_ok=True)
        with _locked(self._locks / key, wait_s):
            found = self._look(key, is_locked=True)
            if found is not None:
                return found
            self._discard(key)
            return self._make(key, make, remember)

    def kept(self) -> list[Kept]:
        """Return every tree with its last use, and what crashes left half made."""
        found = []
        for parent in (self._trees, self._making):
            for folder in sorted(parent.glob("*")):
                with contextlib.suppress(OSError):  # somebody is faster
                    used_at = folder.stat().st_mtime
                    is_waste = parent == self._making
                    files = measure(folder)
                    found.append(Kept(path=folder, used_at=used_at, files=files, is_waste=is_waste))
        return found

    def evict(self, gone: Kept) -> bool:
        """Remove one of these unless it was used since, or is being made."""
        key = gone.path.name
        try:
            with _locked(self._locks / key, 0):
                if gone.path.stat().st_mtime > gone.used_at:
                    return False
                if gone.is_waste:
                    _remove(gone.path)
                else:
                    self._discard(key)
        except (TemporaryError, FileNotFoundError):
            return False
        return True

    def _make(self, key: str, make: Make, remember: Note | None) -> SealedTree:
        folder = self._making / key  # ours alone: we hold the lock
        tree = folder / "tree"
        tree.mkdir(parents=True)
        try:
            manifest = encode(make(tree))
            note = remember() if remember is not None else {}
            (folder / "manifest").write_bytes(manifest)
            _seal(folder, digest_of(manifest), note)
            folder.rename(self._trees / key)
        except BaseException:
            _remove(folder)
            raise
        return SealedTree(path=self._trees / key / "tree", digest=digest_of(manifest), note=note)

    def _look(self, key: str, *, is_locked: bool) -> SealedTree | None:
        folder = self._trees / key
        try:
            seal = json.loads((folder / "seal").read_bytes())
            if seal["version"] != SEAL_VERSION:
                return None
            digest, note = Digest(seal["digest"]), dict(seal["note"])
            seen = _scan(folder / "tree")
            looks = {os.fsencode(path): tuple(look) for path, look in seal["entries"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if seal["boot"] != _boot() or looks != seen:
            if not is_locked or not _is_whole(folder, digest, seen):
                return None
            _seal(folder, digest, note)
        with contextlib.suppress(OSError):
            os.utime(folder)  # when it was last used
        return SealedTree(path=folder / "tree", digest=digest, note=note)

    def _discard(self, key: str) -> None:
        _remove(self._making / key)
        old = self._trees / key
        if old.exists():
            old.rename(self._making / key)
            _remove(self._making / key)


Note = Callable[[], dict[str, Any]]


def _seal(folder: Path, digest: Digest, note: dict[str, Any]) -> None:
    entries = {os.fsdecode(path): look for path, look in _scan(folder / "tree").items()}
    seal = {"version": SEAL_VERSION, "digest": digest, "boot": _boot(), "note": note}
    new = folder / "seal.new"
    new.write_text(json.dumps(seal | {"entries": entries}), encoding="utf-8")
    new.rename(folder / "seal")


def _scan(root: Path) -> dict[bytes, tuple[int, ...]]:
    """Return how every entry of a tree looks; a folder by its mode alone."""
    looks: dict[bytes, tuple[int, ...]] = {}
    folders = [b""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(os.fsencode(root), folder)) as rows:
            for row in rows:
                path = folder + b"/" + row.name if folder else row.name
                found = row.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    looks[path] = (found.st_mode,)
                    folders.append(path)
                else:
                    looks[path] = (
                        found.st_mode,
                        found.st_size,
                        found.st_mtime_ns,
                        found.st_ctime_ns,
                        found.st_ino,
                    )
    return looks


def _is_whole(folder: Path, digest: Digest, seen: dict[bytes, tuple[int, ...]]) -> bool:
    """Tell by its bytes whether a tree is still what its manifest says."""
    entries: list[Entry] = []
    folders: set[bytes] = set()
    root = os.fsencode(folder / "tree")
    for path, look in seen.items():
        if stat.S_ISDIR(look[0]):
            folders.add(path)
            continue
        entry = _entry(root, path, look[0])
        if entry is None:
            return False
        entries.append(entry)
    parents = {entry.path[:at] for entry in entries for at in _slashes(entry.path)}
    try:
        return folders == parents and digest_of(encode(entries)) == digest
    except Invalid:  # a name that no source has
        return False


def _entry(root: bytes, path: bytes, mode: int) -> Entry | None:
    full = root + b"/" + path
    hashed, size = hashlib.sha256(), 0
    if stat.S_ISLNK(mode):
        target = os.readlink(full)
        hashed.update(target)
        return Entry(path=path, mode=Mode.LINK, size=len(target), digest=Digest(hashed.hexdigest()))
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) not in (0o644, 0o755):
        return None
    with os.fdopen(os.open(full, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        while chunk := file.read(CHUNK):
            hashed.update(chunk)
            size += len(chunk)
    kind = Mode.EXECUTABLE if mode & 0o100 else Mode.FILE
    return Entry(path=path, mode=kind, size=size, digest=Digest(hashed.hexdigest()))


def _slashes(path: bytes) -> list[int]:
    return [at for at, byte in enumerate(path) if byte == ord("/")]


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""  # not Linux: no sign of a restart


@contextlib.contextmanager
def _locked(path: Path, wait_s: float) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TemporaryError(
                        f"another attempt has been fetching the same source for {wait_s:.0f} s"
                    ) from None
                time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(fd)


def _remove(folder: Path) -> None:
    """Remove a folder of ours, whatever a program did to its modes."""
    if not folder.exists():
        return
    for base, names, _ in os.walk(folder):
        for name in names:
            path = Path(base, name)
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder)
