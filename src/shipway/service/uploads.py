"""Demands that the code of a launch or a job was uploaded before it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.source import SourceKind
from shipway.domain.tombstone import KEPT_MS
from shipway.service.ports import Tx

FRESH_MS = KEPT_MS // 2  # a capsule that was stored or asked for since has all its files


def check_uploaded(tx: Tx, entity: str, source: Mapping[str, Any], *, since: int) -> None:
    """Raise `Invalid` for a capsule, or a patch of a commit, that an entity does not have.

    One that was not asked for since that moment is to be offered again: its files may be gone.
    """
    for kind, field, what, how in _UPLOADED:
        digest = source.get(field)
        if digest is None or source.get("kind") != kind:
            continue
        stored_at = tx.blobs.stored_at(entity, digest)
        if stored_at is None or stored_at < since:
            raise Invalid(
                f"the {what} {digest} was not uploaded for {entity}: upload {how} first",
                field=f"source.{field}",
                value=digest,
            )


_UPLOADED = (  # a source's kind and field, what its digest names, what is to be sent
    (SourceKind.CAPSULE, "digest", "capsule", "its manifest and files"),
    (SourceKind.GIT, "patch", "patch", "it"),
)
