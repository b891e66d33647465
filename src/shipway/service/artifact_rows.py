"""What the service needs of a store for artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shipway.domain.artifact import Artifact, Collection, ManifestRow, Part
from shipway.domain.run import Run


class CollectionRows(Protocol):
    """Collections of artifacts."""

    def insert(self, collection: Collection) -> Collection:
        """Store a new collection; `Exists` for a name that its project knows."""

    def get(self, seq: int) -> Collection | None:
        """Return a collection, deleted ones too."""

    def named(self, entity: str, project: str, name: str) -> Collection | None:
        """Return a collection; entity and project are matched without case."""

    def find(
        self, entity: str | None, project: str | None, *, type: str | None, limit: int
    ) -> list[Collection]:
        """Return collections in order of project and name."""

    def types(self, entity: str, project: str, *, limit: int) -> list[tuple[str, int]]:
        """Return the types that a project has collections of, each with its first time."""

    def amend(self, collection: Collection) -> None:
        """Store everything that may change of a collection."""

    def number(self, seq: int) -> int:
        """Take the next version's number; it never comes again."""


class ArtifactRows(Protocol):
    """Versions."""

    def insert(self, artifact: Artifact) -> Artifact:
        """Store a new pending version."""

    def get(self, seq: int) -> Artifact | None:
        """Return a version, deleted ones too."""

    def amend(self, artifact: Artifact) -> None:
        """Store everything that may change of a version."""

    def by_digest(self, collection: int, digest: str, *, limit: int) -> list[Artifact]:
        """Return those of a digest, committed ones first, the newest first."""

    def of_parts(self, collection: int, distributed_id: str) -> Artifact | None:
        """Return the pending one that several processes make together."""

    def by_version(self, collection: int, version: int) -> Artifact | None:
        """Return a committed version."""

    def of_collection(self, collection: int, *, before: int, limit: int) -> list[Artifact]:
        """Return committed versions below a number, the newest first."""

    def expired(self, *, now: int, limit: int) -> list[Artifact]:
        """Return those whose time to live is over, what is pending too."""

    def abandoned(self, *, before: int, limit: int) -> list[Artifact]:
        """Return pending ones that nobody changed since."""


class ArtifactPurgeRows(Protocol):
    """What deleted versions leave."""

    def due(self, *, before: int, limit: int) -> list[int]:
        """Return versions that were deleted before this and still have something."""

    def count(self, *, before: int) -> int:
        """Count them."""

    def clear(self, seq: int, *, limit: int) -> int:
        """Remove up to so many of a version's other rows; return how many."""

    def close(self, seq: int, *, now: int) -> None:
        """Note that nothing is left but the row, with its number."""


class AliasRows(Protocol):
    """Which version an alias stands for."""

    def get(self, collection: int, alias: str) -> int | None:
        """Return the version of an alias."""

    def of_artifact(self, artifact: int) -> tuple[str, ...]:
        """Return a version's aliases in order."""

    def of_collection(self, collection: int, *, limit: int) -> list[tuple[str, int]]:
        """Return a collection's aliases in order, each with its version."""

    def put(self, collection: int, alias: str, artifact: int) -> None:
        """Move an alias to a version."""

    def delete(self, collection: int, alias: str, artifact: int) -> None:
        """Take an alias from a version; nothing where it is another's."""


class ManifestRows(Protocol):
    """Manifests that clients announce and send."""

    def insert(self, manifest: ManifestRow) -> ManifestRow:
        """Store a new one."""

    def get(self, seq: int) -> ManifestRow | None:
        """Return one."""

    def of_artifact(self, artifact: int, *, limit: int) -> list[ManifestRow]:
        """Return an artifact's, in order."""

    def amend(self, manifest: ManifestRow) -> None:
        """Store its MD5, base and digest."""


class ArtifactLinkRows(Protocol):
    """Which runs and clients artifacts belong to."""

    def link(
        self, run_seq: int, part: Part, artifact: int, *, used_as: str | None, at: int
    ) -> None:
        """Note that a run logged or used a version; the first time stands."""

    def of_run(self, run_seq: int, part: Part, *, limit: int) -> Sequence[Artifact]:
        """Return the committed versions that a run logged or used."""

    def runs_of(self, artifact: int, part: Part, *, limit: int) -> Sequence[Run]:
        """Return the runs that logged or used a version."""

    def put_client(self, entity: str, client_id: str, artifact: int) -> None:
        """Note by what name a client of an entity calls a version."""

    def of_client(self, entity: str, client_id: str) -> int | None:
        """Return the version that a client of an entity calls so."""
