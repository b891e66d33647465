"""Finds the collection that a new version goes into, or makes it."""

from __future__ import annotations

from shipway.domain.artifact import Collection
from shipway.domain.errors import Invalid
from shipway.service.ports import Tx


def collection_for(tx: Tx, wanted: Collection) -> Collection:
    """Return the collection of that name, made if need be; `Invalid` for one of another type."""
    found = tx.collections.named(wanted.entity, wanted.project, wanted.name)
    if found is None:
        return tx.collections.insert(wanted)
    if found.type != wanted.type:
        raise Invalid(
            f"artifact {wanted.name!r} has the type {found.type!r}, not {wanted.type!r}",
            field="type",
            value=wanted.type,
        )
    return found
