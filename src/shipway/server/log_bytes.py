"""Reads ranges of an attempt's log out of its compressed chunks."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence

from shipway.domain.attempt import LogChunk
from shipway.domain.errors import TooLarge
from shipway.domain.ids import Digest
from shipway.service.ports import Blobs

OPEN_LIMIT = 16  # readers of large chunks that can go on where they stopped
LARGE = 4 << 20  # bytes: a chunk above this is not inflated as a whole
SKIP = 1 << 20  # bytes inflated at once on the way to an offset


class LogBytes:
    """Slices of logs; following a sealed log goes on where the last read stopped."""

    def __init__(self, *, blobs: Blobs) -> None:
        self._blobs = blobs
        self._open: OrderedDict[tuple[Digest, int], _Inflater] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, chunks: Sequence[LogChunk], offset: int, limit: int) -> bytes:
        """Return at most `limit` bytes of a log from `offset` on; blocks on the disk."""
        parts: list[bytes] = []
        at, end = offset, offset + limit
        for chunk in chunks:
            if chunk.offset + chunk.length <= at:
                continue
            if chunk.offset > at or at >= end:
                break
            part = self._of_chunk(chunk, at - chunk.offset, end - at)
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def _of_chunk(self, chunk: LogChunk, start: int, limit: int) -> bytes:
        if chunk.length <= LARGE:
            data = inflate(self._blobs.get(chunk.digest), limit=chunk.length)
            return data[start : start + limit]
        with self._lock:
            reader = self._open.pop((chunk.digest, start), None)
        if reader is None:
            reader = _Inflater(self._blobs.get(chunk.digest))
            reader.skip(start)
        data = reader.read(limit)
        with self._lock:
            self._open[chunk.digest, start + len(data)] = reader
            while len(self._open) > OPEN_LIMIT:
                self._open.popitem(last=False)
        return data


class _Inflater:
    """A stream of decompressed bytes that only goes forward."""

    def __init__(self, data: bytes) -> None:
        self._stream = zlib.decompressobj()
        self._rest = data

    def skip(self, count: int) -> None:
        while count > 0 and (data := self.read(min(count, SKIP))):
            count -= len(data)

    def read(self, limit: int) -> bytes:
        parts: list[bytes] = []
        while limit > 0 and not self._stream.eof:
            data = self._stream.decompress(self._rest, limit)
            self._rest = self._stream.unconsumed_tail
            if not data and not self._rest:
                break
            parts.append(data)
            limit -= len(data)
        return b"".join(parts)


def inflate(data: bytes, *, limit: int, wbits: int = zlib.MAX_WBITS) -> bytes:
    """Decompress one whole stream; more than `limit` bytes of it is `TooLarge`.

    Data that is no whole stream raises `zlib.error`.
    """
    stream = zlib.decompressobj(wbits)
    out = stream.decompress(data, limit + 1)
    if len(out) > limit:
        raise TooLarge(f"the body is more than {limit} bytes once decompressed")
    if not stream.eof or stream.unused_data:
        raise zlib.error("the data is not one whole compressed stream")
    return out
