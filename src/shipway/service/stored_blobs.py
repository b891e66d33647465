"""Keeps which blobs are whose: an entity sees only what it stored itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Invalid, NotFound
from shipway.domain.ids import Digest, is_digest
from shipway.service.access import AGENTS, READERS, missing, require
from shipway.service.ports import Clock, Tx

DIGESTS_LIMIT = 5_000  # digests in one question

_USERS = AGENTS | {Role.JOB}


class StoredBlobs:
    """Use cases of blobs; the bytes themselves go past the database."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    def missing(self, tx: Tx, actor: Actor, digests: Sequence[object]) -> list[Digest]:
        """Return those of the digests that the actor's entity has not stored."""
        require(actor, _USERS, "store blobs")
        return tx.blobs.missing(actor.entity, [check_digest(digest) for digest in digests])

    def admit(self, tx: Tx, actor: Actor, blobs: Mapping[Digest, int]) -> None:
        """Note blobs (digest to size) whose bytes were just stored."""
        require(actor, _USERS, "store blobs")
        tx.blobs.add(actor.entity, blobs, now=self._clock.now())

    def check_reads(self, tx: Tx, actor: Actor, digests: Sequence[object]) -> list[Digest]:
        """Return the digests if the actor may read every one of them."""
        require(actor, _USERS | READERS, "read blobs")
        checked = [check_digest(digest) for digest in digests]
        owner = None if actor.role is Role.ADMIN else actor.entity
        for digest in checked:
            if tx.blobs.size(owner, digest) is None:
                raise NotFound(missing(f"blob {digest}"))
        return checked


def check_digest(value: object) -> Digest:
    """Return a digest; raise `Invalid` for anything else."""
    if not isinstance(value, str) or not is_digest(value):
        raise Invalid(
            f"{value!r} is not a SHA-256 of 64 lower-case hex digits", field="digest", value=value
        )
    return Digest(value)
