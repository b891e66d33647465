"""Artifacts on their way in: manifests, files that need not come, and what a commit demands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Role
from shipway.domain.artifact import ArtifactState, ArtifactView, ManifestKind, ManifestRow
from shipway.domain.capsule import digest_of
from shipway.domain.errors import Conflict, Forbidden, Invalid, LeaseLost, NotFound
from shipway.domain.ids import Digest, ItemId
from shipway.domain.item import Event
from shipway.domain.manifest import BYTES_LIMIT, Manifest, StoredFile, encode_contents, md5_of
from shipway.service.artifact_uploads import (
    FILES_LIMIT,
    SHOWN_LIMIT,
    FileAsk,
    Plan,
    Resolved,
    Sender,
    Whole,
    check_digest,
    files_of,
    read_announced,
    read_plan,
    store_whole,
)
from shipway.service.uploads import FRESH_MS
from tests.unit.conftest import Maker, manifest_of

MD5 = md5_of(b"1")
ONE = Digest("1" * 64)


def announce(maker: Maker, view: ArtifactView, **said: Any) -> ManifestRow:
    """Announce a manifest, ann's unless said."""
    values = {"kind": ManifestKind.FULL, "md5": MD5, "base": None, **said}
    who = values.pop("who", maker.world.ann)
    return maker.world.do(lambda tx: maker.uploads.announce(tx, who, view.artifact.seq, **values))


def plan_of(maker: Maker, view: ArtifactView) -> Plan:
    world = maker.world
    return world.do(lambda tx: maker.uploads.plan(tx, world.ann, view.artifact.seq))


def ready(maker: Maker, view: ArtifactView) -> tuple[Plan, Whole]:
    """Do all that comes before a commit."""
    plan = plan_of(maker, view)
    manifest = read_plan(maker.blobs, plan)
    resolved = maker.world.do(lambda tx: maker.uploads.resolve(tx, plan, manifest))
    return plan, store_whole(maker.blobs, plan, manifest, resolved)


def test_a_manifest_is_announced_with_its_kind_and_base(maker: Maker) -> None:
    base, (view, _) = maker.log({"a": "1"}), maker.begin({"a": "2"})
    row = announce(maker, view, kind=ManifestKind.INCREMENTAL, base=base.artifact.seq)
    assert row == ManifestRow(
        seq=row.seq, artifact=view.artifact.seq, kind=ManifestKind.INCREMENTAL, md5=MD5,
        base=base.artifact.seq,
    )  # fmt: skip
    assert maker.world.do(lambda tx: tx.manifests.get(row.seq)) == row
    assert announce(maker, view, md5="").md5 == ""
    with pytest.raises(Invalid, match="digest 'x' is not an MD5") as refused:
        announce(maker, view, md5="x")
    assert refused.value.details["field"] == "digest"


def test_nobody_adds_to_a_version_that_they_may_not_see(maker: Maker) -> None:
    world, base = maker.world, maker.log({"a": "1"})
    bobs, _ = maker.begin({"a": "2"}, world.bob)
    row = announce(maker, bobs, who=world.bob)
    with pytest.raises(NotFound, match="artifact of that id"):
        announce(maker, bobs, who=world.bob, base=base.artifact.seq)
    with pytest.raises(NotFound, match="artifact of that id"):
        world.do(
            lambda tx: maker.uploads.announce_again(
                tx, world.bob, row.seq, md5=None, base=base.artifact.seq
            )
        )
    assert world.do(lambda tx: tx.manifests.of_artifact(bobs.artifact.seq, limit=9)) == [row]


def test_what_is_said_again_of_a_manifest_changes_alone(maker: Maker) -> None:
    world, base, (view, _) = maker.world, maker.log({"a": "1"}), maker.begin({"a": "2"})
    row = announce(maker, view, md5="")

    def again(md5: str | None = None, base: int | None = None) -> ManifestRow:
        told: ManifestRow = world.do(
            lambda tx: maker.uploads.announce_again(tx, world.ann, row.seq, md5=md5, base=base)
        )
        assert world.do(lambda tx: tx.manifests.get(row.seq)) == told
        return told

    assert again(md5=MD5) == replace(row, md5=MD5)
    assert again(base=base.artifact.seq) == replace(row, md5=MD5, base=base.artifact.seq)
    assert again() == replace(row, md5=MD5, base=base.artifact.seq)
    with pytest.raises(Invalid, match="digest 'x' is not an MD5") as refused:
        again(md5="x")
    assert refused.value.details["field"] == "digest"
    with pytest.raises(NotFound, match="there is no manifest of that id"):
        world.do(
            lambda tx: maker.uploads.announce_again(tx, world.ann, row.seq + 9, md5=MD5, base=None)
        )


def test_files_are_asked_for_in_bearable_numbers_and_by_their_md5(maker: Maker) -> None:
    world, (view, _) = maker.world, maker.begin({"a": "1"})
    ask = FileAsk(artifact=view.artifact.seq, path="a", md5=MD5)

    def grant(asks: list[FileAsk]) -> list[bool]:
        granted: list[bool] = world.do(lambda tx: maker.uploads.grant(tx, world.ann, asks))
        return granted

    assert grant([ask] * FILES_LIMIT) == [True] * FILES_LIMIT
    assert grant([]) == []
    with pytest.raises(Invalid, match=f"at most {FILES_LIMIT} files a call") as refused:
        grant([ask] * (FILES_LIMIT + 1))
    assert refused.value.details["field"] == "artifactFiles"
    with pytest.raises(Invalid, match="md5 'x' is not an MD5") as refused:
        grant([replace(ask, md5="x")])
    assert refused.value.details["field"] == "md5"
    done = maker.log({"b": "2"})
    with pytest.raises(Conflict, match="artifact 'data:v0' is committed"):
        grant([ask, replace(ask, artifact=done.artifact.seq)])


def test_what_is_there_and_need_not_come_is_kept_from_then_on(maker: Maker) -> None:
    world = maker.world
    maker.log({"a": "1"})
    world.clock.advance(FRESH_MS)
    view, _ = maker.begin({"a": "1", "b": "2"})
    asks = [FileAsk(artifact=view.artifact.seq, path="a", md5=MD5)]
    digest = maker.stored(b"1")
    assert world.do(lambda tx: maker.uploads.grant(tx, world.ann, asks)) == [False]
    assert world.do(lambda tx: tx.blobs.stored_at("ann", digest)) == world.clock.now()


def test_a_file_that_came_is_its_entity_s_and_only_its(maker: Maker) -> None:
    world, (view, _) = maker.world, maker.begin({"a": "1"}, maker.world.bob)
    seq, sent = view.artifact.seq, {"digest": ONE, "size": 7, "md5": MD5, "sender": Sender()}
    world.do(lambda tx: maker.uploads.add_file(tx, seq, **sent))
    assert world.do(lambda tx: maker.uploads.readable(tx, world.bob, "bob", MD5)) == (ONE, 7)
    assert world.do(lambda tx: tx.blobs.stored_at("bob", ONE)) == world.clock.now()
    assert world.do(lambda tx: tx.blobs.stored_at("ann", ONE)) is None
    world.do(lambda tx: world.service.artifacts.delete(tx, world.bob, seq))
    for gone in (seq, seq + 9):
        with pytest.raises(NotFound, match="there is no artifact of that id"):
            world.do(lambda tx, gone=gone: maker.uploads.add_file(tx, gone, **sent))


def test_a_manifest_that_came_keeps_its_artifact_from_being_given_up(maker: Maker) -> None:
    world, (view, _) = maker.world, maker.begin({"a": "1"})
    row, seq = announce(maker, view), view.artifact.seq
    world.clock.advance(5)
    sent = {"manifest": row.seq, "digest": ONE, "size": 7, "sender": Sender()}
    world.do(lambda tx: maker.uploads.add_manifest(tx, seq, **sent))
    now = world.clock.now()
    assert world.do(lambda tx: tx.manifests.get(row.seq)) == replace(row, digest=ONE)
    assert world.do(lambda tx: tx.artifacts.get(seq)) == replace(view.artifact, updated_at=now)
    assert world.do(lambda tx: tx.blobs.stored_at("ann", ONE)) == now
    sent["manifest"] = row.seq + 9
    with pytest.raises(NotFound, match="there is no manifest of that id"):
        world.do(lambda tx: maker.uploads.add_manifest(tx, seq, **sent))


def test_an_attempt_sends_only_while_it_is_held(maker: Maker) -> None:
    world, (view, _) = maker.world, maker.begin({"a": "1"})
    item_id, token = world.running()
    sent = {"digest": ONE, "size": 7, "md5": MD5}

    def send(item: ItemId, attempt: int) -> None:
        by = Sender(item_id=item, attempt=attempt)
        seq = view.artifact.seq
        world.do(lambda tx: maker.uploads.add_file(tx, seq, sender=by, **sent))

    send(item_id, 1)
    for attempt in (0, 2):
        with pytest.raises(LeaseLost, match=f"attempt {attempt} of item {item_id} has ended"):
            send(item_id, attempt)
    with pytest.raises(LeaseLost):
        send(ItemId("none"), 1)
    world.report(item_id, token, Event.FINISH, exit_code=0)
    with pytest.raises(LeaseLost):
        send(item_id, 1)


def test_only_the_last_whole_manifest_counts_and_all_parts_do(maker: Maker) -> None:
    view, _ = maker.begin({"a": "2"})
    with pytest.raises(Invalid, match="the manifest has not come: upload it first") as refused:
        plan_of(maker, view)
    assert refused.value.details["field"] == "artifactID"
    announce(maker, view)  # it never comes
    maker.send(view, {"a": "1"})
    maker.send(view, {"a": "2"})
    announce(maker, view, md5="")  # nobody said what it is
    (part,) = plan_of(maker, view).parts
    assert maker.commit(view).artifact.file_count == 1
    assert part.digest == maker.stored(Manifest(manifest_of({"a": "2"})).encode())
    parts, _ = maker.begin({"a": "2"}, name="parts")
    for text in "12":
        maker.send(parts, {text: text}, kind=ManifestKind.PATCH)
    assert len(plan_of(maker, parts).parts) == 2
    announce(maker, parts, kind=ManifestKind.PATCH)
    with pytest.raises(Invalid, match="has not come"):
        plan_of(maker, parts)


def test_only_what_is_added_to_a_version_has_a_base(maker: Maker) -> None:
    base = maker.log({"a": "1"})
    for kind, has_base in ((ManifestKind.INCREMENTAL, True), (ManifestKind.FULL, False)):
        view, _ = maker.begin({"b": "2"}, name=kind.value)
        maker.send(view, {"b": "2"}, kind=kind, base=base.artifact.seq)
        assert plan_of(maker, view).base == (base.artifact.manifest if has_base else None)
        done = maker.commit(view)
        assert done.artifact.file_count == 1 + has_base
        assert [file.path for file in files_of(maker.blobs, done.artifact)] == (
            ["a", "b"] if has_base else ["b"]
        )
    plain, _ = maker.begin({"c": "2"}, name="plain")
    maker.send(plain, {"c": "2"}, kind=ManifestKind.INCREMENTAL)
    assert plan_of(maker, plain).base is None


def test_a_refusal_names_some_of_the_files_that_were_not_sent(maker: Maker) -> None:
    names = [f"f{at}" for at in range(SHOWN_LIMIT + 2)]
    view, manifest = maker.begin(dict.fromkeys(names, "x"))
    maker.send(view, {})
    plan = plan_of(maker, view)
    with pytest.raises(Invalid) as refused:
        maker.world.do(lambda tx: maker.uploads.resolve(tx, plan, manifest))
    shown = ", ".join(repr(name) for name in names[:SHOWN_LIMIT])
    assert refused.value.message == (
        f"{SHOWN_LIMIT + 2} of the manifest's files were not uploaded: {shown}"
    )
    assert refused.value.details["field"] == "artifactID"


def with_references(files: dict[str, str], refs: dict[str, str]) -> Manifest:
    value = manifest_of(files)
    for path, ref in refs.items():
        value["contents"][path] = {"digest": "e-tag", "ref": ref, "size": 9}
    return Manifest(value)


def test_files_are_resolved_to_their_blobs_and_references_stay(maker: Maker) -> None:
    world, (view, _) = maker.world, maker.begin({"a": "1", "b": "1"})
    maker.send(view, {"a": "1", "b": "1"})
    manifest = with_references({"a": "1", "b": "1"}, {"r": "s3://x/y"})
    plan, digest = plan_of(maker, view), maker.stored(b"1")

    def resolve() -> Resolved:
        found: Resolved = world.do(lambda tx: maker.uploads.resolve(tx, plan, manifest))
        return found

    world.clock.advance(FRESH_MS)
    found = resolve()
    assert found.files == [
        StoredFile(path="a", md5=MD5, digest=digest, size=1),
        StoredFile(path="b", md5=MD5, digest=digest, size=1),
        StoredFile(path="r", md5="e-tag", digest=None, size=9, ref="s3://x/y"),
    ]
    assert found.aging == []
    world.clock.advance(1)
    assert resolve().aging == [digest], "each once"


def test_a_commit_takes_no_blob_that_was_removed_meanwhile(maker: Maker) -> None:
    world, (view, _) = maker.world, maker.begin({"a": "1"})
    maker.send(view, {"a": "1"})
    plan, whole = ready(maker, view)
    there = maker.stored(b"1")
    world.do(lambda tx: maker.uploads.touch(tx, plan, [there]))
    with pytest.raises(Conflict, match="were removed just now: upload them again"):
        world.do(lambda tx: maker.uploads.touch(tx, plan, [there, ONE]))
    lost = replace(whole, manifest=ONE)
    with pytest.raises(Conflict, match="were removed just now"):
        world.do(lambda tx: maker.uploads.commit(tx, world.ann, plan, lost))
    assert maker.named("data") is None


def test_a_commit_stores_what_came_once(maker: Maker) -> None:
    world, (view, manifest) = maker.world, maker.begin({"a": "1", "b": "22"}, aliases=["x"])
    maker.send(view, {"a": "1", "b": "22"})
    plan, whole = ready(maker, view)
    world.clock.advance(5)
    whole = replace(whole, job={"kind": "git"})
    done = world.do(lambda tx: maker.uploads.commit(tx, world.ann, plan, whole))
    assert done.artifact == replace(
        view.artifact, state=ArtifactState.COMMITTED, digest=manifest.digest(), version=0,
        manifest=plan.parts[0].digest, contents=whole.contents, file_count=2, size=3,
        job={"kind": "git"}, updated_at=world.clock.now(),
    )  # fmt: skip
    assert done.aliases == ("latest", "x")
    assert world.do(lambda tx: maker.uploads.commit(tx, world.ann, plan, whole)) == done
    for digest in (whole.contents, whole.manifest):
        assert world.do(lambda tx, d=digest: tx.blobs.stored_at("ann", d)) == world.clock.now()
    size = world.do(lambda tx: maker.uploads.manifest_size(tx, done))
    assert size == len(maker.blobs.get(whole.manifest))
    elsewhere = replace(done, collection=replace(done.collection, entity="bob"))
    with pytest.raises(NotFound, match="there is no manifest"):
        world.do(lambda tx: maker.uploads.manifest_size(tx, elsewhere))


def test_nothing_is_committed_to_a_deleted_collection(maker: Maker) -> None:
    world, (view, _) = maker.world, maker.begin({"a": "1"})
    maker.send(view, {"a": "1"})
    plan, whole = ready(maker, view)
    seq = view.collection.seq
    world.do(lambda tx: world.service.artifact_lists.delete(tx, world.ann, seq))
    with pytest.raises(Conflict, match="collection 'data' was deleted"):
        world.do(lambda tx: maker.uploads.commit(tx, world.ann, plan, whole))
    viewer = replace(world.ann, role=Role.VIEWER)
    with pytest.raises(Forbidden):
        world.do(lambda tx: maker.uploads.commit(tx, viewer, plan, whole))


def test_what_is_stored_of_a_version_beside_its_files(maker: Maker) -> None:
    view, _ = maker.begin({"a": "1"})
    maker.send(view, {"a": "1"})
    plan = plan_of(maker, view)
    manifest = with_references({"a": "1"}, {"r": "s3://x/y"})
    resolved = maker.world.do(lambda tx: maker.uploads.resolve(tx, plan, manifest))
    contents = encode_contents(resolved.files)
    whole = store_whole(maker.blobs, plan, manifest, resolved, job={"x": 1}, capsule=b"capsule")
    capsule = digest_of(b"capsule")
    assert maker.blobs.get(capsule) == b"capsule"
    assert maker.blobs.get(digest_of(contents)) == contents
    assert whole == Whole(
        digest=manifest.digest(), manifest=plan.parts[0].digest or ONE,
        contents=digest_of(contents), blobs={digest_of(contents): len(contents), capsule: 7},
        file_count=2, size=10, job={"x": 1},
    )  # fmt: skip
    (part,) = plan.parts
    for made in (replace(plan, parts=(part, part)), replace(plan, base=part.digest)):
        merged = store_whole(maker.blobs, made, manifest, resolved)
        data = manifest.encode()
        assert merged.manifest == digest_of(data) != part.digest
        assert merged.blobs == {digest_of(contents): len(contents), merged.manifest: len(data)}
        assert maker.blobs.get(merged.manifest) == data


def test_bytes_that_are_not_the_manifest_of_their_artifact_are_refused(maker: Maker) -> None:
    manifest = Manifest(manifest_of({"a": "1"}))
    digest = maker.stored(manifest.encode())
    read_announced(maker.blobs, digest, BYTES_LIMIT, ManifestKind.FULL, manifest.digest())
    read_announced(maker.blobs, digest, 9, ManifestKind.PATCH, "another")
    with pytest.raises(Invalid, match=f"at most {BYTES_LIMIT} bytes") as refused:
        read_announced(maker.blobs, digest, BYTES_LIMIT + 1, ManifestKind.FULL, manifest.digest())
    assert refused.value.details == {"field": "manifest", "value": BYTES_LIMIT + 1}
    with pytest.raises(Invalid, match="was announced with another") as refused:
        check_digest(manifest, "another")
    assert refused.value.details == {"field": "digest", "value": "another"}
