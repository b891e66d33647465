"""Writes a tree of untrusted names below one folder and never outside of it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from shipway.domain.capsule import LINK_LIMIT, Entry, Mode, check_path, leads_out, show
from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest

OPEN_FOLDERS = 32  # folders kept open between two files
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeWriter:
    """Makes files and links over directory file descriptors: no name is ever followed.

    Every folder on the way is opened by itself without following links, every file is made anew
    (a second one of the same name, or one that differs by case where the file system does not
    tell them apart, is an error), and links come last, so nothing is written through one.
    """

    def __init__(self, root: Path, *, size_limit: int, file_limit: int) -> None:
        self._root = root
        self._left = size_limit
        self._size_limit = size_limit
        self._file_limit = file_limit
        self._open: OrderedDict[bytes, int] = OrderedDict()
        self._links: dict[bytes, bytes] = {}
        self._entries: list[Entry] = []

    def __enter__(self) -> Self:
        self._root_fd = os.open(self._root, _FOLDER)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        os.close(self._root_fd)

    def file(self, path: bytes, mode: Mode, chunks: Iterable[bytes]) -> Entry:
        """Write a new file and return what was written; `Invalid` for a bad or known name."""
        assert mode is not Mode.LINK
        self._count()
        folder, name = self._folder_of(path)
        permissions = 0o755 if mode is Mode.EXECUTABLE else 0o644
        try:
            fd = os.open(name, _NEW, permissions, dir_fd=folder)
        except FileExistsError as error:
            raise Invalid(
                f"{show(path)} is there already: twice in the source, or this file system does "
                "not tell it from another name"
            ) from error
        hashed, size = hashlib.sha256(), 0
        with os.fdopen(fd, "wb", buffering=0) as file:
            for chunk in chunks:
                self._spend(len(chunk))
                view = memoryview(chunk)
                while view:  # an unbuffered write may take less than all
                    view = view[file.write(view) :]
                hashed.update(chunk)
                size += len(chunk)
            os.fchmod(file.fileno(), permissions)  # whatever the umask is
        entry = Entry(path=path, mode=mode, size=size, digest=Digest(hashed.hexdigest()))
        self._entries.append(entry)
        return entry

    def link(self, path: bytes, target: bytes) -> None:
        """Note a link; `finish` makes it."""
        self._count()
        check_path(path)
        if path in self._links:
            raise Invalid(f"the link {show(path)} is there twice")
        if not target or len(target) > LINK_LIMIT or b"\0" in target:
            raise Invalid(f"the link {show(path)} has no usable target")
        self._links[path] = target

    def leading_out(self) -> list[bytes]:
        """Return the noted links that leave the tree."""
        return sorted(path for path in self._links if leads_out(path, self._links))

    def drop(self, paths: Iterable[bytes]) -> None:
        """Forget noted links."""
        for path in paths:
            del self._links[path]

    def finish(self) -> list[Entry]:
        """Make the links and return all entries; `Invalid` if one of them leaves the tree."""
        for path in self.leading_out():
            raise Invalid(f"the link {show(path)} -> {show(self._links[path])} leaves the tree")
        for path, target in sorted(self._links.items()):
            folder, name = self._folder_of(path)
            try:
                os.symlink(target, name, dir_fd=folder)
            except FileExistsError as error:
                raise Invalid(f"the link {show(path)} has the name of something else") from error
            digest = Digest(hashlib.sha256(target).hexdigest())
            entry = Entry(path=path, mode=Mode.LINK, size=len(target), digest=digest)
            self._entries.append(entry)
        return self._entries

    def _count(self) -> None:
        if len(self._entries) + len(self._links) >= self._file_limit:
            raise Invalid(f"the source has more than {self._file_limit} files")

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise Invalid(f"the source is larger than {self._size_limit} bytes")

    def _folder_of(self, path: bytes) -> tuple[int, bytes]:
        folder, _, name = check_path(path).rpartition(b"/")
        return self._folder(folder), name

    def _folder(self, path: bytes) -> int:
        if not path:
            return self._root_fd
        known = self._open.get(path)
        if known is not None:
            self._open.move_to_end(path)
            return known
        parent, _, name = path.rpartition(b"/")
        above = self._folder(parent)
        with contextlib.suppress(FileExistsError):  # an earlier file's; the open tells
            os.mkdir(name, 0o755, dir_fd=above)
        try:
            fd = os.open(name, _FOLDER, dir_fd=above)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            raise Invalid(f"{show(path)} is both a folder and something else") from error
        self._open[path] = fd
        if len(self._open) > OPEN_FOLDERS + path.count(b"/") + 1:
            os.close(self._open.popitem(last=False)[1])
        return fd
