"""Demands that the code of a launch or a job was uploaded before it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.tombstone import KEPT_MS
from shipway.service.ports import Tx

FRESH_MS = KEPT_MS // 2  # a capsule that was stored or asked for since has all its files


def check_uploaded(tx: Tx, entity: str, source: Mapping[str, Any], *, since: int) -> None:
    """Raise `Invalid` for a capsule that an entity does not have.

    One that was not asked for since that moment is to be offered again: its files may be gone.
    """
    digest = source.get("digest")
    if digest is None:
        return
    stored_at = tx.blobs.stored_at(entity, digest)
    if stored_at is not None and stored_at >= since:
        return
    raise Invalid(
        f"the capsule {digest} was not uploaded for {entity}: upload its manifest and files first",
        field="source.digest",
        value=digest,
    )
