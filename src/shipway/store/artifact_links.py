"""Rows of what artifacts are tied to: aliases, manifests, runs and clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shipway.domain.artifact import Artifact, ManifestKind, ManifestRow, Part
from shipway.domain.ids import Digest
from shipway.domain.names import fold
from shipway.domain.run import Run
from shipway.store.artifacts import to_artifact
from shipway.store.rows import check_text, to_run
from shipway.store.session import Row, Session


class Aliases:
    """The port `AliasRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, collection: int, alias: str) -> int | None:
        """Return the version of an alias."""
        params = {"collection_seq": collection, "alias": alias}
        row = self._session.one("artifact_of_alias", params)
        return None if row is None else int(row[0])

    def of_artifact(self, artifact: int) -> tuple[str, ...]:
        """Return a version's aliases in order."""
        rows = self._session.all("aliases_of_artifact", {"artifact_seq": artifact})
        return tuple(alias for (alias,) in rows)

    def of_collection(self, collection: int, *, limit: int) -> list[tuple[str, int]]:
        """Return a collection's aliases in order, each with its version."""
        params = {"collection_seq": collection, "limit": limit}
        return [(alias, seq) for alias, seq in self._session.all("aliases_of_collection", params)]

    def put(self, collection: int, alias: str, artifact: int) -> None:
        """Move an alias to a version."""
        check_text(alias=alias)
        params = {"collection_seq": collection, "alias": alias, "artifact_seq": artifact}
        self._session.run("put_artifact_alias", params)

    def delete(self, collection: int, alias: str, artifact: int) -> None:
        """Take an alias from a version; nothing where it is another's."""
        params = {"collection_seq": collection, "alias": alias, "artifact_seq": artifact}
        self._session.run("delete_artifact_alias", params)


class Manifests:
    """The port `ManifestRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, manifest: ManifestRow) -> ManifestRow:
        """Store a new one."""
        params = {
            "artifact_seq": manifest.artifact,
            "kind": manifest.kind.value,
            "checksum": manifest.md5,
            "base_seq": manifest.base,
        }
        row = self._session.one("insert_manifest", params)
        assert row is not None
        return replace(manifest, seq=row[0])

    def get(self, seq: int) -> ManifestRow | None:
        """Return one."""
        row = self._session.one("manifest", {"seq": seq})
        return None if row is None else _to_manifest(row)

    def of_artifact(self, artifact: int, *, limit: int) -> list[ManifestRow]:
        """Return an artifact's, in order."""
        params = {"artifact_seq": artifact, "limit": limit}
        return [_to_manifest(row) for row in self._session.all("manifests_of_artifact", params)]

    def amend(self, manifest: ManifestRow) -> None:
        """Store its MD5, base and digest."""
        params = {
            "seq": manifest.seq,
            "checksum": manifest.md5,
            "base_seq": manifest.base,
            "digest": manifest.digest,
        }
        self._session.run("amend_manifest", params)


class ArtifactLinks:
    """The port `ArtifactLinkRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def link(
        self, run_seq: int, part: Part, artifact: int, *, used_as: str | None, at: int
    ) -> None:
        """Note that a run logged or used a version; the first time stands."""
        check_text(used_as=used_as)
        params = {
            "run_seq": run_seq,
            "part": part.value,
            "artifact_seq": artifact,
            "used_as": used_as,
            "at": at,
        }
        self._session.run("link_artifact", params)

    def of_run(self, run_seq: int, part: Part, *, limit: int) -> Sequence[Artifact]:
        """Return the committed versions that a run logged or used."""
        params = {"run_seq": run_seq, "part": part.value, "limit": limit}
        return [to_artifact(row) for row in self._session.all("artifacts_of_run", params)]

    def runs_of(self, artifact: int, part: Part, *, limit: int) -> Sequence[Run]:
        """Return the runs that logged or used a version."""
        params = {"artifact_seq": artifact, "part": part.value, "limit": limit}
        return [to_run(row) for row in self._session.all("runs_of_artifact", params)]

    def put_client(self, entity: str, client_id: str, artifact: int) -> None:
        """Note by what name a client of an entity calls a version."""
        check_text(client_id=client_id)
        params = {
            "entity_folded": fold(entity),
            "client_id": client_id,
            "artifact_seq": artifact,
        }
        self._session.run("put_artifact_client", params)

    def of_client(self, entity: str, client_id: str) -> int | None:
        """Return the version that a client of an entity calls so."""
        params = {"entity_folded": fold(entity), "client_id": client_id}
        row = self._session.one("artifact_of_client", params)
        return None if row is None else int(row[0])


def _to_manifest(row: Row) -> ManifestRow:
    return ManifestRow(
        seq=row[0],
        artifact=row[1],
        kind=ManifestKind(row[2]),
        md5=row[3],
        base=row[4],
        digest=None if row[5] is None else Digest(row[5]),
    )
