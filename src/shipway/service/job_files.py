"""Gives jobs that were made here the files that clients of artifacts read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shipway.domain.artifact import (
    LATEST,
    NAME_LIMIT,
    Artifact,
    ArtifactState,
    ArtifactView,
    Collection,
)
from shipway.domain.capsule import digest_of
from shipway.domain.manifest import Manifest, StoredFile, encode_contents
from shipway.service.artifact_collections import collection_for
from shipway.service.artifact_uploads import Whole
from shipway.service.artifact_views import view_of
from shipway.service.ports import Blobs, Clock, Tx

CODE_TYPE = "code"  # of the artifacts that hold what jobs run
SAME_LIMIT = 100  # versions of one digest that are looked at


class JobFiles:
    """The server's own steps: nobody's permission is asked, nothing said of the job changes."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    def own(self, tx: Tx, view: ArtifactView, files: Sequence[StoredFile]) -> None:
        """Note files whose bytes are stored under the MD5s that clients count."""
        entity, now = view.collection.entity, self._clock.now()
        for file in files:
            if file.digest is not None:
                tx.blobs.add(entity, {file.digest: file.size}, now=now, md5=file.md5)

    def add_code(self, tx: Tx, job: ArtifactView, whole: Whole) -> int:
        """Return the artifact with a job's code: a version of `code-NAME`, once each."""
        now = self._clock.now()
        collection = collection_for(
            tx,
            Collection(
                seq=0,
                entity=job.collection.entity,
                project=job.collection.project,
                name=f"{CODE_TYPE}-{job.collection.name}"[:NAME_LIMIT],
                type=CODE_TYPE,
                created_at=now,
                created_by=job.collection.created_by,
            ),
        )
        for same in tx.artifacts.by_digest(collection.seq, whole.digest, limit=SAME_LIMIT):
            if same.state is ArtifactState.COMMITTED:
                return same.seq
        made = tx.artifacts.insert(
            Artifact(
                seq=0,
                collection=collection.seq,
                state=ArtifactState.PENDING,
                digest=whole.digest,
                created_by=job.artifact.created_by,
                created_at=now,
                updated_at=now,
            )
        )
        number = tx.collections.number(collection.seq)
        version = replace(
            _filled(made, whole), state=ArtifactState.COMMITTED, version=number, updated_at=now
        )
        tx.blobs.add(collection.entity, whole.blobs, now=now)
        tx.artifacts.amend(version)
        tx.aliases.put(collection.seq, LATEST, version.seq)
        return version.seq

    def fill(self, tx: Tx, job: ArtifactView, whole: Whole) -> ArtifactView:
        """Give a job's version its files; one that has some keeps them."""
        found = tx.artifacts.get(job.artifact.seq)
        assert found is not None, "rows of artifacts stay"
        if not lacks_files(replace(job, artifact=found)):
            return view_of(tx, found)
        tx.blobs.add(job.collection.entity, whole.blobs, now=self._clock.now())
        version = _filled(found, whole)
        tx.artifacts.amend(version)
        return view_of(tx, version)


def lacks_files(view: ArtifactView) -> bool:
    """Tell whether a version is a job's that nobody gave its files yet."""
    found = view.artifact
    return (
        found.state is ArtifactState.COMMITTED and found.job is not None and found.manifest is None
    )


def store_files(blobs: Blobs, manifest: Manifest, files: Sequence[StoredFile]) -> Whole:
    """Store what a version of stored files will lead to."""
    data, contents = manifest.encode(), encode_contents(files)
    stored = {digest_of(data): len(data), digest_of(contents): len(contents)}
    for each in (data, contents):
        blobs.put(digest_of(each), each)
    stored |= {file.digest: file.size for file in files if file.digest is not None}
    return Whole(
        digest=manifest.digest(),
        manifest=digest_of(data),
        contents=digest_of(contents),
        blobs=stored,
        file_count=len(files),
        size=sum(file.size for file in files),
    )


def _filled(artifact: Artifact, whole: Whole) -> Artifact:
    return replace(
        artifact,
        digest=whole.digest,
        manifest=whole.manifest,
        contents=whole.contents,
        file_count=whole.file_count,
        size=whole.size,
    )
