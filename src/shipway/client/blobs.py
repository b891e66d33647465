"""The routes of blobs."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

from shipway.client.wire import Wire
from shipway.domain.errors import Code, ShipwayError

PACK_LIMIT = 32 << 20  # bytes of one pack
PACKED_BLOB_LIMIT = 4 << 20  # larger blobs travel alone
DIGESTS_LIMIT = 5_000  # digests in one question
FETCH_LIMIT = 256  # digests fetched in one pack

_HEAD = struct.Struct(">32sI")  # digest, length of the bytes that follow


class Blobs:
    """`/blobs`."""

    def __init__(self, wire: Wire, *, entity: str | None = None) -> None:
        self._wire = wire
        self._query = {"entity": entity}  # whose blobs are stored; None: one's own

    def of(self, entity: str | None) -> Blobs:
        """Return the same routes, storing for another entity where one may."""
        return Blobs(self._wire, entity=entity)

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Return those that the server lacks, in the order given."""
        lacking: list[str] = []
        for begin in range(0, len(digests), DIGESTS_LIMIT):
            part = list(digests[begin : begin + DIGESTS_LIMIT])
            body = {"digests": part}
            reply = self._wire.send("POST", "/blobs/missing", query=self._query, body=body)
            lacking += reply.json()["missing"]
        return lacking

    def put(self, digest: str, data: bytes) -> None:
        """Store one blob."""
        self._wire.send("PUT", f"/blobs/{digest}", query=self._query, data=data)

    def put_many(self, blobs: Mapping[str, bytes]) -> None:
        """Store blobs, the small ones several in a request."""
        pack: list[bytes] = []
        size = 0
        for digest, data in blobs.items():
            if len(data) > PACKED_BLOB_LIMIT:
                self.put(digest, data)
                continue
            frame = _HEAD.pack(bytes.fromhex(digest), len(data)) + data
            if size + len(frame) > PACK_LIMIT:
                self._send_pack(pack)
                pack, size = [], 0
            pack.append(frame)
            size += len(frame)
        if pack:
            self._send_pack(pack)

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes, checked against its digest."""
        return _checked(digest, self._wire.send("GET", f"/blobs/{digest}").data)

    def get_many(self, digests: Sequence[str], take: Callable[[str, bytes], None]) -> None:
        """Call `take(digest, bytes)` for each blob, checked, in any order.

        The server may leave out what does not fit into one answer; it is asked for again.
        """
        waiting = list(dict.fromkeys(digests))
        while waiting:
            part = waiting[:FETCH_LIMIT]
            reply = self._wire.send(
                "POST",
                "/blobs/fetch",
                body={"digests": part},
                headers={"Accept": "application/octet-stream"},
            )
            got = set()
            for digest, data in unpack(reply.data):
                take(digest, _checked(digest, data))
                got.add(digest)
            if not got:
                take(part[0], self.get(part[0]))
                got.add(part[0])
            waiting = [digest for digest in waiting if digest not in got]

    def _send_pack(self, frames: Sequence[bytes]) -> None:
        self._wire.send("POST", "/blobs/pack", query=self._query, data=b"".join(frames))


def unpack(pack: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the blobs of a pack."""
    at = 0
    while at < len(pack):
        if at + _HEAD.size > len(pack):
            raise _cut()
        digest, length = _HEAD.unpack_from(pack, at)
        at += _HEAD.size
        if at + length > len(pack):
            raise _cut()
        yield digest.hex(), pack[at : at + length]
        at += length


def _cut() -> ShipwayError:
    return ShipwayError("the server sent a pack of blobs that is cut off", code=Code.INTERNAL)


def _checked(digest: str, data: bytes) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise ShipwayError(
            f"the server sent other bytes than those of blob {digest}: they are {found}",
            code=Code.INTERNAL,
        )
    return data
