"""Bytes by digest in a folder, each blob a file that is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from shipway.blobs.incoming import Incoming
from shipway.domain.errors import Invalid, NotFound, ShipwayError, StorageFull
from shipway.domain.ids import Digest, is_digest

FREE_FLOOR = 256 << 20  # bytes that stay free on the disk, for the database beside it

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PART = 1 << 20  # bytes written and hashed at a time


def _go_on(_error: BaseException) -> None:
    """Leave it to the caller, who gets the error."""


class DirectoryBlobs:
    """The port `Blobs` on a folder of a local disk; any thread may call it."""

    def __init__(
        self,
        root: Path,
        *,
        free_floor: int = FREE_FLOOR,
        free_bytes: Callable[[Path], int] | None = None,
        sync: Callable[[int], None] = os.fsync,
        fatal: Callable[[BaseException], None] = _go_on,
    ) -> None:
        self._root = root
        self._new = root / "new"
        self._damaged = root / "damaged"
        self._leaving = root / "leaving"
        self._free_floor = free_floor
        self._free_bytes = free_bytes or _free_bytes
        self._sync = sync
        self._fatal = fatal  # called after a failed sync, when nobody knows what is on the disk
        self._numbers = itertools.count()

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    def open(self) -> None:
        """Make the folders, and clear what a crash left half written; needed before a put."""
        for folder in (self._root, self._new, self._damaged):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._new.iterdir():
            leftover.unlink()
        if self._leaving.exists():
            for leftover in self._leaving.iterdir():  # a crash came before anybody looked at it
                path = self._path(Digest(leftover.name))
                if path.exists():
                    leftover.unlink()
                else:
                    leftover.rename(path)
        self._sync_folder(self._root)
        for folder in itertools.takewhile(_is_ours, self._root.parents):
            self._sync_folder(folder)  # whoever made it: without one of them the blobs are lost

    def put(self, digest: Digest, data: bytes) -> None:
        """Store bytes durably under their digest; `Invalid` when they do not match it."""
        self.put_many({digest: data})

    def put_many(self, blobs: Mapping[Digest, bytes]) -> None:
        """Store several durably with as few syncs as can be; all of them or an error."""
        self._check_space(sum(map(len, blobs.values())))
        written: dict[Digest, Path] = {}
        try:
            self._store(blobs, written)
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFull("the disk of the blobs is full: nothing was stored") from error
            raise ShipwayError(f"the disk of the blobs failed: {error}") from error
        finally:
            for path in written.values():  # all renamed, unless something went wrong
                path.unlink(missing_ok=True)

    def get(self, digest: Digest) -> bytes:
        """Return the bytes, verified; `NotFound` for unknown or damaged ones."""
        if not is_digest(digest):
            raise NotFound(f"{digest!r} is not a blob's digest")
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"no blob {digest} is stored") from None
        except OSError as error:
            raise ShipwayError(f"the disk of the blobs failed: {error}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            self._put_aside(digest, path)
            raise NotFound(
                f"blob {digest} was damaged on the disk and put aside in {self._damaged}: "
                "upload it again, or restore it from a backup"
            )
        return data

    def begin(self, size: int) -> Incoming:
        """Begin a blob of about so many bytes whose digest comes with its end."""
        self._check_space(size)
        return Incoming(self._new / f"{os.getpid()}.{next(self._numbers)}", settle=self._take_in)

    def parts(self, digest: Digest) -> Iterator[bytes]:
        """Return the bytes piece by piece, all of them verified before the first."""
        if not self.has(digest):
            raise NotFound(f"no blob {digest} is stored")
        path = self._path(digest)
        digester = hashlib.sha256()
        for part in _parts(path):
            digester.update(part)
        if digester.hexdigest() != digest:
            self._put_aside(digest, path)
            raise NotFound(f"blob {digest} was damaged on the disk and put aside: upload it again")
        return _parts(path)

    def has(self, digest: Digest) -> bool:
        """Tell whether the bytes are there."""
        return is_digest(digest) and self._path(digest).exists()

    def delete(self, digest: Digest) -> None:
        """Delete the bytes; unknown ones are ignored."""
        if is_digest(digest):
            self._path(digest).unlink(missing_ok=True)

    def all(self) -> Iterator[Digest]:
        """Yield every stored digest, in no order that matters."""
        for outer in _folders(self._root):
            for inner in _folders(outer):
                for file in inner.iterdir():
                    if is_digest(file.name):
                        yield Digest(file.name)

    def old(self, *, before: int, after: str, limit: int) -> list[tuple[Digest, int]]:
        """Return digests with their sizes, in order, of what was last put before (ms UTC)."""
        found: list[tuple[Digest, int]] = []
        for outer in _after(_folders(self._root), after[:2]):
            for inner in _after(_folders(outer), after[2:4] if outer.name == after[:2] else ""):
                for file in sorted(inner.iterdir()):
                    if file.name <= after or not is_digest(file.name):
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        facts = file.stat()
                        if facts.st_mtime * 1_000 < before:
                            found.append((Digest(file.name), facts.st_size))
                    if len(found) >= limit:
                        return found
        return found

    def drop(self, digests: Iterable[Digest], *, before: int) -> int:
        """Delete what was not put since; return the bytes; 0 while somebody keeps all.

        A file is moved aside first and looked at there: a put that came before that has made it
        young, so it goes back; one that comes after it finds nothing and writes the bytes anew.
        """
        freed = 0
        with self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB) as is_ours:
            if not is_ours:
                return 0
            self._leaving.mkdir(mode=0o700, exist_ok=True)
            for digest in digests:
                assert is_digest(digest)
                freed += self._drop(digest, before)
        return freed

    @contextlib.contextmanager
    def keep(self) -> Iterator[None]:
        """Let nothing be dropped meanwhile, by any process; any number may ask for that."""
        with self._lock(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def _lock(self, how: int) -> Iterator[bool]:
        handle = os.open(self._root / "keep.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, how)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(handle)

    def _drop(self, digest: Digest, before: int) -> int:
        path, aside = self._path(digest), self._leaving / digest
        try:
            path.rename(aside)
        except FileNotFoundError:
            return 0
        facts = aside.stat()
        if facts.st_mtime * 1_000 >= before:
            aside.rename(path)
            return 0
        aside.unlink()
        return facts.st_size

    def _store(self, blobs: Mapping[Digest, bytes], written: dict[Digest, Path]) -> None:
        """Write all, sync all, rename all, sync the folders; `written` gets the new files."""
        for digest, data in blobs.items():
            if not self._has_whole(digest, len(data)):
                path = self._new / f"{os.getpid()}.{next(self._numbers)}"
                written[digest] = path
                _write(path, digest, data)
        self._settle(blobs, written)

    def _settle(self, digests: Iterable[Digest], written: Mapping[Digest, Path]) -> None:
        """Sync what was written, rename it, sync the folders of all."""
        for path in written.values():
            self._sync_path(path)
        folders = self._make_folders(digests)
        for digest, path in written.items():
            path.rename(self._path(digest))
        # Also for those that were there: whoever put them may not have come to this point.
        for folder in folders:
            self._sync_folder(folder)

    def _take_in(self, digest: Digest, size: int, path: Path) -> None:
        """Make a file that was written elsewhere a blob, durably."""
        written = {} if self._has_whole(digest, size) else {digest: path}
        try:
            self._settle([digest], written)
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFull("the disk of the blobs is full: nothing was stored") from error
            raise ShipwayError(f"the disk of the blobs failed: {error}") from error
        finally:
            path.unlink(missing_ok=True)

    def _has_whole(self, digest: Digest, size: int) -> bool:
        if not is_digest(digest):
            raise Invalid(f"{digest!r} is not a digest", field="digest", value=digest)
        path = self._path(digest)
        try:
            if path.stat().st_size != size:
                return False
            os.utime(path)  # young again: it is not dropped before something leads to it
        except FileNotFoundError:
            return False
        return True

    def _make_folders(self, digests: Iterable[Digest]) -> list[Path]:
        """Make the folders of some digests; return those to sync, inner ones first."""
        folders: dict[Path, None] = {}
        for digest in digests:
            inner = self._path(digest).parent
            folders[inner] = None
            if not inner.exists():
                inner.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Each time: another thread may have made them, and not synced them so far.
            folders[inner.parent] = None
            folders[self._root] = None
        return sorted(folders, key=lambda folder: -len(folder.parts))

    def _check_space(self, size: int) -> None:
        free = self._free_bytes(self._root)
        if free - size < self._free_floor:
            raise StorageFull(
                f"the disk of the blobs is full: {free >> 20} MiB are left, and "
                f"{self._free_floor >> 20} MiB are kept for the database; nothing was stored: "
                "make room on the server's disk"
            )

    def _put_aside(self, digest: Digest, path: Path) -> None:
        try:
            path.rename(self._damaged / f"{digest}.{os.getpid()}.{next(self._numbers)}")
        except FileNotFoundError:  # another thread was faster
            return

    def _path(self, digest: Digest) -> Path:
        return self._root / digest[:2] / digest[2:4] / digest

    def _sync_path(self, path: Path) -> None:
        self._sync_opened(os.open(path, os.O_RDONLY))

    def _sync_folder(self, folder: Path) -> None:
        self._sync_opened(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))

    def _sync_opened(self, handle: int) -> None:
        try:
            self._sync(handle)
        except OSError as error:
            if error.errno not in _FULL:
                self._fatal(error)
            raise
        finally:
            os.close(handle)


def _write(path: Path, digest: Digest, data: bytes) -> None:
    """Write a file that nobody sees yet, and check what was written."""
    digester = hashlib.sha256()
    view = memoryview(data)
    with path.open("xb", buffering=0) as file:
        for at in range(0, len(view), _PART):
            part = view[at : at + _PART]
            digester.update(part)
            while part:
                part = part[file.write(part) or 0 :]
    if digester.hexdigest() != digest:
        raise Invalid(
            f"the bytes have digest {digester.hexdigest()}, not {digest}: send them again",
            field="digest",
            value=digest,
        )


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while part := file.read(_PART):
            yield part


def _is_ours(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.W_OK)


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if len(entry.name) == 2 and entry.is_dir()]


def _after(folders: list[Path], name: str) -> list[Path]:
    return sorted(folder for folder in folders if folder.name >= name)


def _free_bytes(folder: Path) -> int:
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize
