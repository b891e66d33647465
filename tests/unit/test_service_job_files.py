"""Files of jobs that were made here: given once, kept, and what is said of the job stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.artifact import NAME_LIMIT, Artifact, ArtifactState, ArtifactView, Collection
from shipway.domain.capsule import digest_of
from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest
from shipway.domain.manifest import Manifest, StoredFile, encode_contents, md5_of
from shipway.service.artifact_uploads import Whole, files_of
from shipway.service.job_files import lacks_files, store_files
from tests.unit.conftest import SOURCE, Maker, World


def a_job(world: World, name: str = "train", **values: Any) -> ArtifactView:
    said = {"kind": "git", "source": SOURCE, "name": name, **values}
    world.do(lambda tx: world.service.jobs.create(tx, world.ann, said))
    found = world.do(
        lambda tx: world.service.artifacts.named(tx, world.ann, "ann", "uncategorized", name)
    )
    assert found is not None
    return found


def whole_of(maker: Maker, *texts: str) -> tuple[list[StoredFile], Whole]:
    """Store files and what leads to them, as the server does."""
    files = [
        StoredFile(
            path=text, md5=md5_of(text.encode()), digest=maker.stored(text.encode()),
            size=len(text),
        )
        for text in texts
    ]  # fmt: skip
    contents = {file.path: {"digest": file.md5, "size": file.size} for file in files}
    manifest = Manifest({"version": 1, "contents": contents})
    return files, store_files(maker.blobs, manifest, files)


def fill(maker: Maker, job: ArtifactView, whole: Whole) -> ArtifactView:
    return maker.world.do(lambda tx: maker.world.service.job_files.fill(tx, job, whole))


def add_code(maker: Maker, job: ArtifactView, whole: Whole) -> Artifact:
    """Add a job's code; return its version's row."""
    world = maker.world
    seq = world.do(lambda tx: world.service.job_files.add_code(tx, job, whole))
    return world.do(lambda tx: world.service.artifacts.get(tx, world.ann, seq)).artifact


def test_only_a_whole_version_of_a_job_that_was_made_here_lacks_files(maker: Maker) -> None:
    job = a_job(maker.world)
    assert lacks_files(job)
    for other in (
        maker.log({"a": "1"}),
        replace(job, artifact=replace(job.artifact, state=ArtifactState.PENDING)),
        replace(job, artifact=replace(job.artifact, job=None)),
        fill(maker, job, whole_of(maker, "a")[1]),
    ):
        assert not lacks_files(other)


def test_what_is_stored_leads_to_every_file(maker: Maker) -> None:
    files, _ = whole_of(maker, "b", "aa")
    files.append(StoredFile(path="r", md5="e", digest=None, size=4, ref="s3://x"))
    manifest = Manifest({"version": 1, "contents": {}})
    whole = store_files(maker.blobs, manifest, files)
    data, contents = manifest.encode(), encode_contents(files)
    assert whole == Whole(
        digest=manifest.digest(), manifest=digest_of(data), contents=digest_of(contents),
        blobs={
            digest_of(data): len(data), digest_of(contents): len(contents),
            digest_of(b"b"): 1, digest_of(b"aa"): 2,
        },
        file_count=3, size=7,
    )  # fmt: skip
    assert [maker.blobs.get(one) for one in (whole.manifest, whole.contents)] == [data, contents]


def test_a_job_is_given_its_files_once_and_keeps_them(maker: Maker) -> None:
    world = maker.world
    job = a_job(world, description="said", aliases=["best"])
    _, first = whole_of(maker, "a", "bb")
    world.clock.advance(5)
    filled = fill(maker, job, first)
    assert filled.artifact == replace(
        job.artifact, digest=first.digest, manifest=first.manifest, contents=first.contents,
        file_count=2, size=3,
    )  # fmt: skip
    assert filled.aliases == job.aliases == ("best", "latest")
    for digest in first.blobs:
        assert world.do(lambda tx, d=digest: tx.blobs.stored_at("ann", d)) == world.clock.now()
    _, second = whole_of(maker, "c")
    assert fill(maker, job, second) == filled, "the first ones stand, as whoever comes late learns"
    seq = job.artifact.seq
    assert world.do(lambda tx: world.service.artifacts.get(tx, world.ann, seq)) == filled
    assert [file.path for file in files_of(maker.blobs, filled.artifact)] == ["a", "bb"]
    assert world.do(lambda tx: tx.blobs.stored_at("ann", second.manifest)) is None
    run = world.do(
        lambda tx: world.service.jobs.get(tx, world.ann, "ann/uncategorized/train:latest")
    )
    assert run.source == SOURCE


def test_the_code_of_a_job_is_a_version_beside_it_once_each(maker: Maker) -> None:
    world = maker.world
    job = a_job(world)
    _, whole = whole_of(maker, "a", "bb")
    world.clock.advance(5)
    now = world.clock.now()
    made = add_code(maker, job, whole)
    assert made == Artifact(
        seq=made.seq, collection=made.collection, state=ArtifactState.COMMITTED, version=0,
        digest=whole.digest, created_by=world.ann.user, created_at=now, updated_at=now,
        manifest=whole.manifest, contents=whole.contents, file_count=2, size=3,
    )  # fmt: skip
    assert world.do(lambda tx: tx.collections.get(made.collection)) == Collection(
        seq=made.collection, entity="ann", project="uncategorized", name="code-train", type="code",
        created_at=now, created_by="ann",
    )  # fmt: skip
    for digest in whole.blobs:
        assert world.do(lambda tx, d=digest: tx.blobs.stored_at("ann", d)) == now
    assert add_code(maker, job, whole) == made
    other = add_code(maker, job, whole_of(maker, "c")[1])
    assert (other.collection, other.version) == (made.collection, 1)
    latest = world.do(lambda tx: tx.aliases.get(made.collection, "latest"))
    assert latest == other.seq
    assert add_code(maker, job, whole) == made


def test_code_that_a_client_never_finished_is_not_taken_for_a_job_s(maker: Maker) -> None:
    job, (_, whole) = a_job(maker.world), whole_of(maker, "a")
    view, _ = maker.begin(
        {}, project="uncategorized", name="code-train", type="code", digest=whole.digest
    )
    made = add_code(maker, job, whole)
    assert (made.collection, made.version) == (view.artifact.collection, 0)
    assert made.seq != view.artifact.seq


def test_a_job_with_a_long_name_has_code_too(maker: Maker) -> None:
    name = "n" * NAME_LIMIT
    made = add_code(maker, a_job(maker.world, name), whole_of(maker, "a")[1])
    found = maker.world.do(lambda tx: tx.collections.get(made.collection))
    assert found is not None
    assert found.name == f"code-{name}"[:NAME_LIMIT]


def test_code_does_not_go_among_versions_of_another_kind(maker: Maker) -> None:
    maker.log({"a": "1"}, project="uncategorized", name="code-train")
    job, (_, whole) = a_job(maker.world), whole_of(maker, "a")
    with pytest.raises(Invalid, match="'code-train' has the type 'dataset', not 'code'"):
        add_code(maker, job, whole)


def test_files_are_known_by_the_md5_that_clients_count(maker: Maker) -> None:
    world, (files, _) = maker.world, whole_of(maker, "a", "bb")
    reference = StoredFile(path="r", md5="e", digest=None, size=4, ref="s3://x")
    job = a_job(world)
    world.do(lambda tx: world.service.job_files.own(tx, job, [reference, *files]))
    for file in files:
        found: tuple[Digest, int] = world.do(
            lambda tx, file=file: maker.uploads.readable(tx, world.ann, "ann", file.md5)
        )
        assert found == (file.digest, file.size)
