"""What every store must do with artifacts; a test class inherits it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shipway.domain.artifact import Artifact, ArtifactState, Collection, ManifestKind, Part
from shipway.domain.artifact import ManifestRow as Manifest
from shipway.domain.errors import Exists
from shipway.domain.ids import UserName
from shipway.service.ports import Store, Tx
from shipway.testing.store_samples import ENTITY, PROJECT, a_digest, a_run, write


def a_collection(name: str = "data", *, type: str = "dataset") -> Collection:
    """Make a collection."""
    return Collection(
        seq=0, entity=ENTITY, project=PROJECT, name=name, type=type, description="\N{ROCKET}",
        tags=("a", "b"), created_at=5, created_by="ada",
    )  # fmt: skip


def an_artifact(collection: Collection, number: int = 1) -> Artifact:
    """Make a pending version."""
    return Artifact(
        seq=0, collection=collection.seq, state=ArtifactState.PENDING, digest=f"d{number}",
        description="said", metadata='{"a":NaN}', tags=("t",), history_step=3, wanted=("best",),
        client_id=f"c{number}", distributed_id="many", run_seq=7, created_by=UserName("ada"),
        created_at=number, updated_at=number,
    )  # fmt: skip


def committed(tx: Tx, artifact: Artifact) -> Artifact:
    """Commit a version."""
    changed = replace(
        artifact, state=ArtifactState.COMMITTED, version=tx.collections.number(artifact.collection),
        manifest=a_digest(1), contents=a_digest(artifact.seq), file_count=2, size=1 << 40,
        job={"kind": "git"}, updated_at=9,
    )  # fmt: skip
    tx.artifacts.amend(changed)
    return changed


def stored(store: Store, number: int = 1, name: str = "data") -> Artifact:
    """Store a committed version of a collection, which is made where it is not there."""

    def work(tx: Tx) -> Artifact:
        found = tx.collections.named(ENTITY, PROJECT, name)
        found = found or tx.collections.insert(a_collection(name))
        return committed(tx, tx.artifacts.insert(an_artifact(found, number)))

    return write(store, work)


class ArtifactSuite:
    """Collections, versions, aliases and what leads to them."""

    def test_a_version_reads_back_as_it_was_and_as_it_became(self, store: Store) -> None:
        collection = write(store, lambda tx: tx.collections.insert(a_collection()))
        made = write(store, lambda tx: tx.artifacts.insert(an_artifact(collection)))
        assert made == replace(an_artifact(collection), seq=made.seq)
        with store.read() as tx:
            assert tx.collections.get(collection.seq) == replace(a_collection(), seq=collection.seq)
            assert tx.collections.named(ENTITY.upper(), PROJECT.upper(), "data") == collection
            assert tx.artifacts.of_parts(collection.seq, "many") == made
            assert tx.artifacts.abandoned(before=2, limit=9) == [made]
            assert tx.artifacts.abandoned(before=1, limit=9) == []
        changed = write(store, lambda tx: committed(tx, made))
        with store.read() as tx:
            assert tx.artifacts.get(made.seq) == changed
            assert tx.artifacts.by_version(collection.seq, 0) == changed
            assert tx.artifacts.of_parts(collection.seq, "many") is None
            assert tx.artifacts.abandoned(before=99, limit=9) == []

    def test_what_has_a_time_to_live_is_found_at_its_end(self, store: Store) -> None:
        collection = write(store, lambda tx: tx.collections.insert(a_collection()))
        late, soon, gone = (
            write(store, lambda tx, at=at: tx.artifacts.insert(  # type: ignore[misc] # bound now
                replace(an_artifact(collection), expires_at=at)
            ))
            for at in (9, 5, 4)
        )  # fmt: skip
        write(store, lambda tx: tx.artifacts.amend(replace(gone, deleted_at=1)))
        with store.read() as tx:
            assert tx.artifacts.expired(now=4, limit=9) == []
            assert tx.artifacts.expired(now=9, limit=9) == [soon, late]
            assert tx.artifacts.expired(now=9, limit=1) == [soon]

    def test_a_name_is_used_once_until_its_collection_is_deleted(self, store: Store) -> None:
        first = write(store, lambda tx: tx.collections.insert(a_collection()))
        with pytest.raises(Exists):
            write(store, lambda tx: tx.collections.insert(a_collection()))
        write(store, lambda tx: tx.collections.insert(a_collection("b", type="model")))
        with store.read() as tx:
            assert tx.collections.types(ENTITY, PROJECT, limit=9) == [("dataset", 5), ("model", 5)]
            found = tx.collections.find(ENTITY, PROJECT, type="model", limit=9)
            assert [one.name for one in found] == ["b"]
        write(store, lambda tx: tx.collections.amend(replace(first, deleted_at=6)))
        second = write(store, lambda tx: tx.collections.insert(a_collection()))
        assert second.seq > first.seq
        with store.read() as tx:
            found = tx.collections.find(ENTITY, None, type=None, limit=9)
            assert [one.seq for one in found][-1] != first.seq
            assert len(found) == 2

    def test_numbers_never_come_again_and_lists_are_newest_first(self, store: Store) -> None:
        made = [stored(store, number) for number in range(3)]
        gone = replace(made[2], state=ArtifactState.DELETED, deleted_at=5)
        write(store, lambda tx: tx.artifacts.amend(gone))
        last = stored(store, 4)
        assert last.version == 3
        with store.read() as tx:
            found = tx.artifacts.of_collection(last.collection, before=99, limit=9)
            assert [one.version for one in found] == [3, 1, 0]
            assert tx.artifacts.by_version(last.collection, 2) is None
            assert tx.artifacts.by_digest(last.collection, "d2", limit=9) == []
            assert tx.artifacts.by_digest(last.collection, "d1", limit=9) == [made[1]]

    def test_an_alias_is_one_version_s_at_a_time(self, store: Store) -> None:
        one, two = stored(store, 1), stored(store, 2)
        for artifact in (one, two):
            write(store, lambda tx, a=artifact: tx.aliases.put(a.collection, "best", a.seq))  # type: ignore[misc] # bound now
        write(store, lambda tx: tx.aliases.delete(one.collection, "best", one.seq))
        with store.read() as tx:
            assert tx.aliases.get(one.collection, "best") == two.seq
            assert tx.aliases.of_artifact(one.seq) == ()
            assert tx.aliases.of_collection(one.collection, limit=9) == [("best", two.seq)]
        write(store, lambda tx: tx.aliases.delete(one.collection, "best", two.seq))
        with store.read() as tx:
            assert tx.aliases.get(one.collection, "best") is None

    def test_manifests_come_in_the_order_in_which_they_were_announced(self, store: Store) -> None:
        artifact = stored(store)
        row = Manifest(seq=0, artifact=artifact.seq, kind=ManifestKind.PATCH, md5="", base=None)
        first = write(store, lambda tx: tx.manifests.insert(row))
        second = write(store, lambda tx: tx.manifests.insert(replace(row, base=artifact.seq)))
        changed = replace(first, md5="m", digest=a_digest(3))
        write(store, lambda tx: tx.manifests.amend(changed))
        with store.read() as tx:
            assert tx.manifests.of_artifact(artifact.seq, limit=9) == [changed, second]
            assert tx.manifests.get(second.seq) == second

    def test_runs_and_clients_lead_to_versions_and_back(self, store: Store) -> None:
        run = write(store, lambda tx: tx.runs.insert(a_run()))
        artifact = stored(store)
        for used_as in ("first", "again"):
            write(store, lambda tx, u=used_as: tx.artifact_links.link(  # type: ignore[misc] # bound now
                run.seq, Part.INPUT, artifact.seq, used_as=u, at=5
            ))  # fmt: skip
        write(store, lambda tx: tx.artifact_links.put_client(ENTITY, "c", artifact.seq))
        with store.read() as tx:
            assert tx.artifact_links.of_run(run.seq, Part.INPUT, limit=9) == [artifact]
            assert tx.artifact_links.of_run(run.seq, Part.OUTPUT, limit=9) == []
            assert tx.artifact_links.runs_of(artifact.seq, Part.INPUT, limit=9) == [run]
            assert tx.artifact_links.of_client(ENTITY.upper(), "c") == artifact.seq
            assert tx.artifact_links.of_client("others", "c") is None

    def test_what_is_purged_leads_to_no_blob_and_keeps_its_number(self, store: Store) -> None:
        artifact = stored(store)
        write(store, lambda tx: tx.artifact_links.put_client(ENTITY, "c", artifact.seq))
        with store.read() as tx:
            ((seq, text),) = tx.references.artifacts(after=0, limit=9)
            assert seq == artifact.seq
            assert {a_digest(1), a_digest(artifact.seq)} <= set(text.split())
            assert '"kind"' in text
            assert tx.references.artifacts(after=seq, limit=9) == []
        gone = replace(artifact, state=ArtifactState.DELETED, deleted_at=5)
        write(store, lambda tx: tx.artifacts.amend(gone))
        with store.read() as tx:
            assert tx.artifact_purges.due(before=5, limit=9) == []
            assert tx.artifact_purges.due(before=6, limit=9) == [artifact.seq]
            assert tx.artifact_purges.count(before=6) == 1
        assert write(store, lambda tx: tx.artifact_purges.clear(artifact.seq, limit=9)) == 1
        write(store, lambda tx: tx.artifact_purges.close(artifact.seq, now=7))
        with store.read() as tx:
            assert tx.artifact_purges.due(before=99, limit=9) == []
            assert tx.references.artifacts(after=0, limit=9) == []
            found = tx.artifacts.get(artifact.seq)
            assert found is not None
            assert (found.version, found.manifest) == (artifact.version, None)

    def test_files_are_found_by_md5_of_their_own_entity_alone(self, store: Store) -> None:
        digest = a_digest(1)
        write(store, lambda tx: tx.blobs.add(ENTITY, {digest: 5}, now=3))
        with store.read() as tx:
            assert tx.blobs.by_md5(ENTITY, ["m"]) == {}
        write(store, lambda tx: tx.blobs.add(ENTITY, {digest: 5}, now=3, md5="m"))
        write(store, lambda tx: tx.blobs.add(ENTITY, {digest: 5}, now=4))
        with store.read() as tx:
            assert tx.blobs.by_md5(ENTITY, ["m", "n"]) == {"m": (digest, 5, 4)}
            assert tx.blobs.by_md5("others", ["m"]) == {}
