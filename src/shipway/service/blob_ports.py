"""What the service needs of a store for bytes by digest, and for whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from shipway.domain.ids import Digest


class BlobRows(Protocol):
    """Which blobs are stored, and whose they are."""

    def missing(self, entity: str, digests: Iterable[Digest]) -> list[Digest]:
        """Return those that this entity has not stored, in the order given."""

    def add(
        self, entity: str, blobs: Mapping[Digest, int], *, now: int, md5: str | None = None
    ) -> None:
        """Note stored blobs (digest to size) as this entity's; of a single one also its MD5."""

    def by_md5(self, entity: str, md5s: Iterable[str]) -> dict[str, tuple[Digest, int, int]]:
        """Return digest, size and last use of what this entity stored under these MD5s."""

    def stored_at(self, entity: str, digest: Digest) -> int | None:
        """Return when this entity stored a blob, or last asked for it; None if it did not."""

    def touch(self, entity: str, digests: Iterable[Digest], *, now: int) -> list[Digest]:
        """Note that somebody is about to use these; return those that are not there any more."""

    def forget(self, digests: Iterable[Digest], *, before: int) -> list[Digest]:
        """Delete everybody's rows of what nobody used since; return those without any row now."""

    def size(self, entity: str | None, digest: Digest) -> int | None:
        """Return a blob's size if this entity stored it, or anybody when none is named."""


class Blobs(Protocol):
    """Bytes by digest."""

    def put(self, digest: Digest, data: bytes) -> None:
        """Store bytes durably under their digest; `Invalid` when they do not match it."""

    def put_many(self, blobs: Mapping[Digest, bytes]) -> None:
        """Store several durably with as few syncs as can be."""

    def get(self, digest: Digest) -> bytes:
        """Return the bytes, verified; `NotFound` for unknown or damaged ones."""

    def has(self, digest: Digest) -> bool:
        """Tell whether the bytes are there."""

    def delete(self, digest: Digest) -> None:
        """Delete the bytes; unknown ones are ignored."""

    def all(self) -> Iterable[Digest]:
        """Yield every stored digest, in no order that matters."""

    def old(self, *, before: int, after: str, limit: int) -> list[tuple[Digest, int]]:
        """Return digests with their sizes, in order, of what was last put before (ms UTC)."""

    def drop(self, digests: Iterable[Digest], *, before: int) -> int:
        """Delete what was not put since; return the bytes; 0 while somebody keeps all."""


class Incoming(Protocol):
    """A blob on its way in."""

    @property
    def size(self) -> int:
        """The bytes so far."""

    def write(self, data: bytes) -> None:
        """Add bytes; `StorageFull` when there is no room."""

    def keep(self) -> Digest:
        """Store the bytes durably and return their digest; once."""

    def drop(self) -> None:
        """Forget the bytes, if they are not kept; a second call does nothing."""


class LargeBlobs(Blobs, Protocol):
    """Bytes by digest, of which some are too large to hold at once."""

    def begin(self, size: int) -> Incoming:
        """Begin a blob of about so many bytes; `StorageFull` when there is no room."""

    def parts(self, digest: Digest) -> Iterator[bytes]:
        """Return the bytes piece by piece, all of them verified before the first."""
