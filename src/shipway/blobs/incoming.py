"""A blob on its way in: a file that nobody sees until it is whole."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path

from shipway.domain.errors import ShipwayError, StorageFull
from shipway.domain.ids import Digest

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Incoming:
    """The port `Incoming` on a file; one thread at a time calls it."""

    def __init__(self, path: Path, *, settle: Callable[[Digest, int, Path], None]) -> None:
        self._path = path
        self._settle = settle
        self._digester = hashlib.sha256()
        self._file = path.open("xb", buffering=0)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._digester.update(data)
        self.size += len(data)
        part = memoryview(data)
        try:
            while part:
                part = part[self._file.write(part) or 0 :]
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFull("the disk of the blobs is full: nothing was stored") from error
            raise ShipwayError(f"the disk of the blobs failed: {error}") from error

    def keep(self) -> Digest:
        """Store the bytes durably and return their digest."""
        self._file.close()
        digest = Digest(self._digester.hexdigest())
        self._settle(digest, self.size, self._path)
        return digest

    def drop(self) -> None:
        """Forget the bytes, if they are not kept; a second call does nothing."""
        self._file.close()
        self._path.unlink(missing_ok=True)
