"""Keeps which blobs are whose: an entity sees only what was stored for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Invalid, NotFound
from shipway.domain.ids import Digest, is_digest
from shipway.service.access import AGENTS, READERS, missing, own_entity, require
from shipway.service.ports import Clock, Tx

DIGESTS_LIMIT = 5_000  # digests in one question
TOUCH_MS = 24 * 3_600_000  # how often the use of a stored blob is written down

_USERS = AGENTS | {Role.JOB}


class StoredBlobs:
    """Use cases of blobs; the bytes themselves go past the database."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    def missing(
        self, tx: Tx, actor: Actor, digests: Sequence[object], *, entity: str | None = None
    ) -> list[Digest]:
        """Return those of the digests that an entity, the actor's unless said, has not stored."""
        require(actor, _USERS, "store blobs")
        owner = own_entity(actor, entity)
        return tx.blobs.missing(owner, [check_digest(digest) for digest in digests])

    def aging(
        self, tx: Tx, actor: Actor, digests: Sequence[object], *, entity: str | None = None
    ) -> list[Digest]:
        """Return those that are stored, and have to be touched before somebody uses them."""
        owner, before = own_entity(actor, entity), self._clock.now() - TOUCH_MS
        aging = []
        for digest in map(check_digest, digests):
            stored_at = tx.blobs.stored_at(owner, digest)
            if stored_at is not None and stored_at < before:
                aging.append(digest)
        return aging

    def touch(
        self, tx: Tx, actor: Actor, digests: Sequence[Digest], *, entity: str | None = None
    ) -> list[Digest]:
        """Keep blobs that somebody is about to use; return those that are gone after all."""
        return tx.blobs.touch(own_entity(actor, entity), digests, now=self._clock.now())

    def admit(
        self, tx: Tx, actor: Actor, blobs: Mapping[Digest, int], *, entity: str | None = None
    ) -> None:
        """Note blobs (digest to size) whose bytes were just stored, as that entity's."""
        require(actor, _USERS, "store blobs")
        tx.blobs.add(own_entity(actor, entity), blobs, now=self._clock.now())

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
