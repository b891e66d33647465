"""Rows that say whose the stored blobs are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from shipway.domain.ids import Digest
from shipway.domain.names import fold
from shipway.store.session import Session


class Blobs:
    """The port `BlobRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def missing(self, entity: str, digests: Iterable[Digest]) -> list[Digest]:
        """Return those that this entity has not stored, in the order given."""
        params = {"entity_folded": fold(entity), "digests": json.dumps(list(digests))}
        return [Digest(digest) for (digest,) in self._session.all("missing_blobs", params)]

    def add(
        self, entity: str, blobs: Mapping[Digest, int], *, now: int, md5: str | None = None
    ) -> None:
        """Note stored blobs (digest to size) as this entity's; of a single one also its MD5."""
        assert md5 is None or len(blobs) == 1
        folded = fold(entity)
        self._session.many(
            "add_blob",
            [
                {
                    "entity_folded": folded,
                    "digest": digest,
                    "size": size,
                    "stored_at": now,
                    "checksum": md5,
                }
                for digest, size in blobs.items()
            ],
        )

    def by_md5(self, entity: str, md5s: Iterable[str]) -> dict[str, tuple[Digest, int, int]]:
        """Return digest, size and last use of what this entity stored under these MD5s."""
        params = {"entity_folded": fold(entity), "checksums": json.dumps(sorted(set(md5s)))}
        rows = self._session.all("blobs_by_checksum", params)
        return {md5: (Digest(digest), size, at) for md5, digest, size, at in sorted(rows)}

    def stored_at(self, entity: str, digest: Digest) -> int | None:
        """Return when this entity stored a blob, or last asked for it; None if it did not."""
        params = {"entity_folded": fold(entity), "digest": digest}
        row = self._session.one("blob_stored_at", params)
        return None if row is None else int(row[0])

    def touch(self, entity: str, digests: Iterable[Digest], *, now: int) -> list[Digest]:
        """Note that somebody is about to use these; return those that are not there any more."""
        folded = fold(entity)
        gone = []
        for digest in digests:
            params = {"entity_folded": folded, "digest": digest, "now": now}
            if self._session.one("touch_blob", params) is None:
                gone.append(digest)
        return gone

    def forget(self, digests: Iterable[Digest], *, before: int) -> list[Digest]:
        """Delete everybody's rows of what nobody used since; return those without any row now."""
        free = []
        for digest in digests:
            self._session.run("forget_blob", {"digest": digest, "before": before})
            if self.size(None, digest) is None:
                free.append(digest)
        return free

    def size(self, entity: str | None, digest: Digest) -> int | None:
        """Return a blob's size if this entity stored it, or anybody when none is named."""
        if entity is None:
            row = self._session.one("blob_size_anywhere", {"digest": digest})
        else:
            params = {"entity_folded": fold(entity), "digest": digest}
            row = self._session.one("blob_size", params)
        return None if row is None else int(row[0])
