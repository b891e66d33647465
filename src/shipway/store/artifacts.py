"""Rows of artifacts: collections, versions, and what deleted ones leave."""

from __future__ import annotations

import json

from shipway.domain.artifact import Artifact, ArtifactState, Collection
from shipway.domain.errors import Exists
from shipway.domain.ids import Digest, UserName
from shipway.domain.names import fold
from shipway.store.rows import check_text, to_json
from shipway.store.session import Row, Session


class Collections:
    """The port `CollectionRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, collection: Collection) -> Collection:
        """Store a new collection; `Exists` for a name that its project knows."""
        check_text(
            entity=collection.entity, project=collection.project, name=collection.name,
            type=collection.type, description=collection.description,
        )  # fmt: skip
        params = {
            "entity": collection.entity,
            "entity_folded": fold(collection.entity),
            "project": collection.project,
            "project_folded": fold(collection.project),
            "name": collection.name,
            "type": collection.type,
            "description": collection.description,
            "tags": to_json(collection.tags),
            "created_at": collection.created_at,
            "created_by": collection.created_by,
        }
        if self._session.one("insert_collection", params) is None:
            raise Exists(
                f"there is a collection {collection.name!r} already",
                details={"field": "name", "value": collection.name},
            )
        stored = self.named(collection.entity, collection.project, collection.name)
        assert stored is not None
        return stored

    def get(self, seq: int) -> Collection | None:
        """Return a collection, deleted ones too."""
        row = self._session.one("collection", {"seq": seq})
        return None if row is None else _to_collection(row)

    def named(self, entity: str, project: str, name: str) -> Collection | None:
        """Return a collection; entity and project are matched without case."""
        params = {"entity_folded": fold(entity), "project_folded": fold(project), "name": name}
        row = self._session.one("collection_by_name", params)
        return None if row is None else _to_collection(row)

    def find(
        self, entity: str | None, project: str | None, *, type: str | None, limit: int
    ) -> list[Collection]:
        """Return collections in order of project and name."""
        params = {
            "entity_folded": None if entity is None else fold(entity),
            "project_folded": None if project is None else fold(project),
            "type": type,
            "limit": limit,
        }
        return [_to_collection(row) for row in self._session.all("collections_of_project", params)]

    def types(self, entity: str, project: str, *, limit: int) -> list[tuple[str, int]]:
        """Return the types that a project has collections of, each with its first time."""
        params = {"entity_folded": fold(entity), "project_folded": fold(project), "limit": limit}
        return [(name, at) for name, at in self._session.all("artifact_types", params)]

    def amend(self, collection: Collection) -> None:
        """Store everything that may change of a collection."""
        check_text(
            name=collection.name, type=collection.type, description=collection.description
        )  # fmt: skip
        params = {
            "seq": collection.seq,
            "name": collection.name,
            "type": collection.type,
            "description": collection.description,
            "tags": to_json(collection.tags),
            "deleted_at": collection.deleted_at,
        }
        self._session.run("amend_collection", params)

    def number(self, seq: int) -> int:
        """Take the next version's number; it never comes again."""
        row = self._session.one("number_version", {"seq": seq})
        assert row is not None, f"no collection has seq {seq}"
        return int(row[0])


class Artifacts:
    """The port `ArtifactRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, artifact: Artifact) -> Artifact:
        """Store a new pending version."""
        check_text(
            digest=artifact.digest, client_id=artifact.client_id,
            distributed_id=artifact.distributed_id,
        )  # fmt: skip
        params = {
            **_changing(artifact),
            "collection_seq": artifact.collection,
            "history_step": artifact.history_step,
            "client_id": artifact.client_id,
            "distributed_id": artifact.distributed_id,
            "run_seq": artifact.run_seq,
            "created_by": artifact.created_by,
            "created_at": artifact.created_at,
        }
        row = self._session.one("insert_artifact", params)
        assert row is not None
        stored = self.get(row[0])
        assert stored is not None
        return stored

    def get(self, seq: int) -> Artifact | None:
        """Return a version, deleted ones too."""
        row = self._session.one("artifact", {"seq": seq})
        return None if row is None else to_artifact(row)

    def amend(self, artifact: Artifact) -> None:
        """Store everything that may change of a version."""
        self._session.run("amend_artifact", _changing(artifact))

    def by_digest(self, collection: int, digest: str, *, limit: int) -> list[Artifact]:
        """Return those of a digest, committed ones first, the newest first."""
        params = {"collection_seq": collection, "digest": digest, "limit": limit}
        return [to_artifact(row) for row in self._session.all("artifacts_by_digest", params)]

    def of_parts(self, collection: int, distributed_id: str) -> Artifact | None:
        """Return the pending one that several processes make together."""
        params = {"collection_seq": collection, "distributed_id": distributed_id}
        row = self._session.one("artifact_of_parts", params)
        return None if row is None else to_artifact(row)

    def by_version(self, collection: int, version: int) -> Artifact | None:
        """Return a committed version."""
        params = {"collection_seq": collection, "version": version}
        row = self._session.one("artifact_by_version", params)
        return None if row is None else to_artifact(row)

    def of_collection(self, collection: int, *, before: int, limit: int) -> list[Artifact]:
        """Return committed versions below a number, the newest first."""
        params = {"collection_seq": collection, "before": before, "limit": limit}
        return [to_artifact(row) for row in self._session.all("artifacts_of_collection", params)]

    def expired(self, *, now: int, limit: int) -> list[Artifact]:
        """Return those whose time to live is over, what is pending too."""
        rows = self._session.all("expired_artifacts", {"now": now, "limit": limit})
        return [to_artifact(row) for row in rows]

    def abandoned(self, *, before: int, limit: int) -> list[Artifact]:
        """Return pending ones that nobody changed since."""
        rows = self._session.all("abandoned_artifacts", {"before": before, "limit": limit})
        return [to_artifact(row) for row in rows]


class ArtifactPurges:
    """The port `ArtifactPurgeRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def due(self, *, before: int, limit: int) -> list[int]:
        """Return versions that were deleted before this and still have something."""
        rows = self._session.all("artifacts_due", {"before": before, "limit": limit})
        return [int(seq) for (seq,) in rows]

    def count(self, *, before: int) -> int:
        """Count them."""
        row = self._session.one("count_artifacts_due", {"before": before})
        return 0 if row is None else int(row[0])

    def clear(self, seq: int, *, limit: int) -> int:
        """Remove up to so many of a version's other rows; return how many."""
        removed = 0
        for name in _PURGES:
            left = limit - removed
            if left > 0:
                removed += len(self._session.all(name, {"seq": seq, "limit": left}))
        return removed

    def close(self, seq: int, *, now: int) -> None:
        """Note that nothing is left but the row, with its number."""
        self._session.run("note_artifact_purge", {"seq": seq, "now": now})


_PURGES = ("purge_artifact_runs", "purge_artifact_manifests", "purge_artifact_clients")


def to_artifact(row: Row) -> Artifact:
    """Build a version from the columns of fragment `artifact`."""
    (
        seq, collection, state, digest, version, description, metadata, tags, history_step, wanted,
        client_id, distributed_id, run_seq, created_by, created_at, updated_at, manifest,
        contents, file_count, size, job, deleted_at, expires_at,
    ) = row  # fmt: skip
    return Artifact(
        seq=seq,
        collection=collection,
        state=ArtifactState(state),
        digest=digest,
        version=version,
        description=description,
        metadata=metadata,
        tags=tuple(json.loads(tags)),
        history_step=history_step,
        wanted=tuple(json.loads(wanted)),
        client_id=client_id,
        distributed_id=distributed_id,
        run_seq=run_seq,
        created_by=None if created_by is None else UserName(created_by),
        created_at=created_at,
        updated_at=updated_at,
        manifest=None if manifest is None else Digest(manifest),
        contents=None if contents is None else Digest(contents),
        file_count=file_count,
        size=size,
        job=None if job is None else json.loads(job),
        deleted_at=deleted_at,
        expires_at=expires_at,
    )


def _changing(artifact: Artifact) -> dict[str, object]:
    check_text(description=artifact.description, metadata=artifact.metadata)
    return {
        "seq": artifact.seq,
        "state": artifact.state.value,
        "digest": artifact.digest,
        "version": artifact.version,
        "description": artifact.description,
        "metadata": artifact.metadata,
        "tags": to_json(artifact.tags),
        "wanted": to_json(artifact.wanted),
        "updated_at": artifact.updated_at,
        "manifest": artifact.manifest,
        "contents": artifact.contents,
        "file_count": artifact.file_count,
        "size": artifact.size,
        "job": None if artifact.job is None else to_json(artifact.job),
        "deleted_at": artifact.deleted_at,
        "expires_at": artifact.expires_at,
    }


def _to_collection(row: Row) -> Collection:
    return Collection(
        seq=row[0],
        entity=row[1],
        project=row[2],
        name=row[3],
        type=row[4],
        description=row[5],
        tags=tuple(json.loads(row[6])),
        created_at=row[7],
        created_by=row[8],
        deleted_at=row[9],
    )
