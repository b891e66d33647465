"""A blob on its way into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from shipway.domain.ids import Digest


class MemoryIncoming:
    """The port `Incoming`, without a disk."""

    def __init__(self, put: Callable[[Digest, bytes], None]) -> None:
        self._put = put
        self._data = bytearray()

    @property
    def size(self) -> int:
        """The bytes so far."""
        return len(self._data)

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._data += data

    def keep(self) -> Digest:
        """Store the bytes and return their digest."""
        data = bytes(self._data)
        digest = Digest(hashlib.sha256(data).hexdigest())
        self._put(digest, data)
        return digest

    def drop(self) -> None:
        """Leave nothing behind."""
