"""Artifacts: who may do what, what is the same, what a name stands for, what goes when."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace

import pytest

from shipway.domain.actor import Role
from shipway.domain.artifact import ArtifactView, ManifestKind, Part
from shipway.domain.errors import Conflict, Forbidden, Invalid, LeaseLost, NotFound
from shipway.domain.ids import Digest
from shipway.domain.item import Event
from shipway.domain.manifest import Manifest, md5_of
from shipway.domain.tombstone import KEPT_MS
from shipway.service.artifact_uploads import (
    FileAsk,
    Sender,
    files_of,
    read_announced,
    read_plan,
    store_whole,
)
from shipway.service.artifacts import ArtifactEdit
from shipway.service.tracked_runs import RunAsk
from tests.unit.conftest import Maker, manifest_of

DAY_MS = 86_400_000


def test_numbers_come_at_commit_and_latest_moves(maker: Maker) -> None:
    slow, _ = maker.begin({"a": "1"}, client_id="c1")
    fast = maker.log({"a": "2"}, aliases=["best"])
    assert (fast.artifact.version, fast.aliases) == (0, ("best", "latest"))
    maker.send(slow, {"a": "1"})
    done = maker.commit(slow)
    assert (done.artifact.version, done.aliases) == (1, ("latest",))
    assert maker.commit(slow).artifact.version == 1, "said twice"
    assert maker.named("data:best").artifact.version == 0  # type: ignore[union-attr] # it is there
    assert maker.named("data").artifact.version == 1  # type: ignore[union-attr] # it is there
    assert maker.named("data:v2") is None


def test_the_same_content_is_the_same_version(maker: Maker) -> None:
    first = maker.log({"a": "1"})
    maker.log({"a": "2"})
    again, _ = maker.begin({"a": "1"}, aliases=["again"], client_id="c9")
    assert again.artifact.seq == first.artifact.seq
    assert again.aliases == ("again", "latest")
    found = maker.world.do(
        lambda tx: maker.world.service.artifacts.of_client(tx, maker.world.ann, "c9")
    )
    assert found == first.artifact.seq


def test_one_client_s_pending_one_is_not_another_s(maker: Maker) -> None:
    one, _ = maker.begin({"a": "1"}, client_id="c1", aliases=["x"])
    same, _ = maker.begin({"a": "1"}, client_id="c1", aliases=["y"])
    other, _ = maker.begin({"a": "1"}, client_id="c2")
    assert one.artifact.seq == same.artifact.seq != other.artifact.seq
    maker.send(same, {"a": "1"})
    assert maker.commit(same).aliases == ("latest", "x", "y")


def test_a_collection_has_one_type(maker: Maker) -> None:
    maker.log({"a": "1"})
    with pytest.raises(Invalid, match="has the type 'dataset'"):
        maker.begin({"a": "2"}, type="model")


def test_what_is_not_whole_is_not_committed(maker: Maker) -> None:
    view, manifest = maker.begin({"a": "1", "b": "2"})
    with pytest.raises(Invalid, match="has not come"):
        maker.commit(view)
    maker.send(view, {"a": "1"})
    with pytest.raises(Invalid, match="the manifest's digest is"):
        maker.commit(view)
    digest = maker.stored(manifest.encode())
    with pytest.raises(Invalid, match="announced with"):
        read_announced(maker.blobs, digest, 9, ManifestKind.FULL, "another")
    plan = maker.world.do(lambda tx: maker.uploads.plan(tx, maker.world.ann, view.artifact.seq))
    with pytest.raises(Invalid, match="not uploaded: 'b'"):
        maker.world.do(lambda tx: maker.uploads.resolve(tx, plan, manifest))


def test_what_is_added_goes_over_what_was(maker: Maker) -> None:
    base = maker.log({"a": "1", "b": "1"})
    view, _ = maker.begin({"b": "2", "c": "2"})
    maker.send(
        view, {"b": "2", "c": "2"}, kind=ManifestKind.INCREMENTAL, base=base.artifact.seq
    )  # fmt: skip
    done = maker.commit(view).artifact
    assert done.file_count == 3
    assert done.digest == Manifest(manifest_of({"a": "1", "b": "2", "c": "2"})).digest()


def test_several_processes_make_one_together(maker: Maker) -> None:
    for files in ({"a": "1"}, {"b": "2"}):
        view, _ = maker.begin(files, distributed_id="d")
        maker.send(view, files, kind=ManifestKind.PATCH)
    assert maker.commit(view).artifact.file_count == 2


def test_a_committed_version_takes_nothing_more(maker: Maker) -> None:
    done = maker.log({"a": "1"})
    with pytest.raises(Conflict, match="does not change any more"):
        maker.send(done, {"a": "2"})


def test_versions_go_with_their_aliases_only_when_asked(maker: Maker) -> None:
    first, second = maker.log({"a": "1"}), maker.log({"a": "2"})
    service, ann, do = maker.world.service.artifacts, maker.world.ann, maker.world.do
    with pytest.raises(Conflict, match="aliases latest"):
        do(lambda tx: service.delete(tx, ann, second.artifact.seq))
    do(lambda tx: service.delete(tx, ann, second.artifact.seq, with_aliases=True))
    found = maker.named("data:latest")
    assert found is not None
    assert found.artifact.seq == first.artifact.seq, "the newest that is left"
    assert maker.named("data:v1") is None
    with pytest.raises(NotFound):
        do(lambda tx: service.get(tx, ann, second.artifact.seq))
    assert maker.log({"a": "2"}).artifact.version == 2, "a number never comes again"


def test_others_see_and_change_nothing(maker: Maker) -> None:
    world, done = maker.world, maker.log({"a": "1"})
    service, seq = world.service.artifacts, done.artifact.seq
    assert world.do(lambda tx: service.named(tx, world.bob, "ann", "demo", "data")) is None
    for work in (
        lambda tx: service.get(tx, world.bob, seq),
        lambda tx: service.edit(tx, world.bob, seq, ArtifactEdit(description="x")),
        lambda tx: service.delete(tx, world.bob, seq, with_aliases=True),
        lambda tx: maker.uploads.readable(tx, world.bob, "ann", md5_of(b"1")),
        lambda tx: world.service.artifact_lists.delete(tx, world.bob, done.collection.seq),
    ):
        with pytest.raises(NotFound):
            world.do(work)
    viewer = replace(world.ann, role=Role.VIEWER)
    assert world.do(lambda tx: service.get(tx, viewer, seq)).artifact.seq == seq
    with pytest.raises(Forbidden):
        world.do(lambda tx: service.edit(tx, viewer, seq, ArtifactEdit(description="x")))
    bobs, _ = maker.begin({"a": "1"}, world.bob)
    asks = [FileAsk(artifact=bobs.artifact.seq, path="a", md5=md5_of(b"1"))]
    granted = world.do(lambda tx: maker.uploads.grant(tx, world.bob, asks))
    assert granted == [True], "nobody learns what others have"


def test_a_program_logs_from_its_own_run_alone_and_only_while_it_runs(maker: Maker) -> None:
    world = maker.world
    item_id, token = world.running(run_id="r1", project="demo")
    job = replace(world.ann, role=Role.JOB, item_id=item_id, attempt=1)
    theirs = maker.log({"x": "1"}, name="theirs")
    done = maker.log({"a": "1"}, job, run="r1")
    sender = Sender(item_id=item_id, attempt=1)
    view, _ = maker.begin({"a": "2"}, job, run="r1")
    service = world.service.artifacts
    world.do(lambda tx: service.add_aliases(tx, job, done.artifact.seq, ["mine"]))
    run = ("ann", "demo", "r1")
    world.do(lambda tx: service.use(tx, job, theirs.artifact.seq, run=run, used_as=None))
    with pytest.raises(Forbidden):
        maker.begin({"a": "3"}, job)
    with pytest.raises(Forbidden):
        world.do(lambda tx: service.delete(tx, job, theirs.artifact.seq, with_aliases=True))
    world.report(item_id, token, Event.FINISH, exit_code=0)
    with pytest.raises(LeaseLost):
        maker.send(view, {"a": "2"}, actor=world.ann, sender=sender)


def test_bytes_stay_while_an_artifact_needs_them_and_go_a_week_later(maker: Maker) -> None:
    world, blobs = maker.world, maker.blobs
    kept, gone = maker.log({"a": "kept", "b": "both"}), maker.log({"a": "gone", "b": "both"})
    world.do(lambda tx: world.service.artifacts.delete(
        tx, world.ann, gone.artifact.seq, with_aliases=True
    ))  # fmt: skip
    everything = set(blobs.all())
    world.clock.advance(KEPT_MS - DAY_MS)
    tidy(maker)
    assert set(blobs.all()) == everything
    world.clock.advance(2 * DAY_MS)
    tidy(maker)
    left = set(blobs.all())
    assert len(everything - left) == 3, "a file, a manifest, and which files there were"
    assert {Digest(hashlib.sha256(text).hexdigest()) for text in (b"kept", b"both")} <= left
    assert {kept.artifact.manifest, kept.artifact.contents} <= left
    assert maker.log({"a": "gone", "b": "both"}).artifact.version == 2


def test_what_nobody_committed_goes_after_a_week(maker: Maker) -> None:
    view, _ = maker.begin({"a": "1"})
    maker.send(view, {"a": "1"})
    maker.world.clock.advance(KEPT_MS + DAY_MS)
    tidy(maker)
    assert set(maker.blobs.all()) == set()
    with pytest.raises(NotFound):
        maker.commit(view)


def test_a_version_goes_at_the_end_of_its_time_to_live(maker: Maker) -> None:
    world, service = maker.world, maker.world.service.artifacts
    kept, short = maker.log({"a": "1"}), maker.log({"a": "2"}, ttl_s=60, aliases=["best"])
    longer = maker.log({"a": "3"}, name="other", ttl_s=60)
    for ttl_s in (-3, 1 << 50):
        with pytest.raises(Invalid, match="time to live"):
            maker.log({"a": "4"}, ttl_s=ttl_s)

    def edit(seq: int, ttl_s: int) -> ArtifactView:
        return world.do(lambda tx: service.edit(tx, world.ann, seq, ArtifactEdit(ttl_s=ttl_s)))

    assert edit(kept.artifact.seq, 30).artifact.expires_at == kept.artifact.created_at + 30_000
    assert edit(kept.artifact.seq, 0).artifact.expires_at is None
    edit(longer.artifact.seq, 90)
    world.clock.advance(59_999)
    assert world.do(world.service.upkeep.purge) == 0
    world.clock.advance(1)
    assert world.do(world.service.upkeep.purge) == 1
    assert maker.named("data:v1") is None
    assert maker.named("data:best") is None
    found = maker.named("data:latest")
    assert found is not None
    assert found.artifact.seq == kept.artifact.seq
    assert short.artifact.expires_at is not None
    assert maker.named("other:latest") is not None
    world.clock.advance(30_000)
    world.do(world.service.upkeep.purge)
    assert maker.named("other:latest") is None


def tidy(maker: Maker) -> None:
    """Do the upkeep; every blob is as old as the clock says."""
    world = maker.world
    for digest in maker.blobs.all():
        os.utime(maker.blobs._path(digest), (0, 0))
    while world.do(world.service.upkeep.purge):
        pass
    world.reclaim(maker.blobs)


def test_a_run_leads_to_what_it_logged_and_used(maker: Maker) -> None:
    world = maker.world
    ask = RunAsk(project="demo", id="r1", is_begun=True)
    run = world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, ask))[0].run
    maker.log({"a": "1"}, run="r1")
    again, _ = maker.begin({"a": "1"}, run="r1")
    world.do(lambda tx: world.service.artifact_lists.delete_of_run(tx, world.ann, run))
    assert maker.named("data:v0") is None
    with pytest.raises(NotFound):
        world.do(lambda tx: world.service.artifacts.get(tx, world.ann, again.artifact.seq))
    with pytest.raises(NotFound):
        maker.begin({"a": "1"}, run="none")


@pytest.mark.parametrize("metadata", ["", "[]", "{", json.dumps("x" * (5 << 20))])
def test_metadata_is_an_object(maker: Maker, metadata: str) -> None:
    with pytest.raises(Invalid, match="metadata"):
        maker.begin({"a": "1"}, metadata=metadata)


def test_only_who_may_change_a_version_may_fill_it(maker: Maker) -> None:
    world, (view, _) = maker.world, maker.begin({"a": "1"})
    maker.send(view, {"a": "1"})
    seq, uploads = view.artifact.seq, maker.uploads
    plan = world.do(lambda tx: uploads.plan(tx, world.ann, seq))
    manifest = read_plan(maker.blobs, plan)
    resolved = world.do(lambda tx: uploads.resolve(tx, plan, manifest))
    whole = store_whole(maker.blobs, plan, manifest, resolved)
    item_id, _ = world.running(run_id="r1", project="demo")
    program = replace(world.ann, role=Role.JOB, item_id=item_id, attempt=1)
    asks = [FileAsk(artifact=seq, path="a", md5=md5_of(b"1"))]
    for who in (replace(world.ann, role=Role.VIEWER), program):
        for work in (
            lambda tx, who=who: uploads.announce(
                tx, who, seq, kind=ManifestKind.FULL, md5="", base=None
            ),
            lambda tx, who=who: uploads.announce_again(
                tx, who, plan.parts[0].seq, md5=None, base=None
            ),
            lambda tx, who=who: uploads.grant(tx, who, asks),
            lambda tx, who=who: uploads.plan(tx, who, seq),
            lambda tx, who=who: uploads.commit(tx, who, plan, whole),
        ):
            with pytest.raises(Forbidden):
                world.do(work)
    assert maker.commit(view).artifact.version == 0


def test_what_an_entity_has_need_not_be_sent_again(maker: Maker) -> None:
    maker.log({"a": "1"})
    view, _ = maker.begin({"a": "1", "b": "2"})
    asks = [
        FileAsk(artifact=view.artifact.seq, path=path, md5=md5_of(text.encode()))
        for path, text in {"a": "1", "b": "2"}.items()
    ]
    granted = maker.world.do(lambda tx: maker.uploads.grant(tx, maker.world.ann, asks))
    assert granted == [False, True]


def test_a_manifest_is_its_own_artifact_s_and_its_md5_may_come_later(maker: Maker) -> None:
    world, uploads = maker.world, maker.uploads
    one, manifest = maker.begin({"a": "1"})
    other, _ = maker.begin({"a": "2"})
    seq = one.artifact.seq
    row = world.do(
        lambda tx: uploads.announce(tx, world.ann, seq, kind=ManifestKind.FULL, md5="", base=None)
    )
    data = manifest.encode()
    digest, md5 = maker.stored(data), md5_of(data)
    sent = {"manifest": row.seq, "digest": digest, "size": len(data), "sender": Sender()}
    with pytest.raises(NotFound):
        world.do(lambda tx: uploads.add_manifest(tx, other.artifact.seq, **sent))
    world.do(lambda tx: uploads.add_manifest(tx, seq, **sent))
    with pytest.raises(Invalid, match="has not come"):
        world.do(lambda tx: uploads.plan(tx, world.ann, seq))
    world.do(lambda tx: uploads.announce_again(tx, world.ann, row.seq, md5=md5, base=None))
    (part,) = world.do(lambda tx: uploads.plan(tx, world.ann, seq)).parts
    assert (part.md5, part.digest) == (md5, digest)
    assert world.do(lambda tx: uploads.expected(tx, row.seq)) == (
        ManifestKind.FULL, manifest.digest()
    )  # fmt: skip
    with pytest.raises(NotFound, match="there is no manifest of that id"):
        world.do(lambda tx: uploads.expected(tx, row.seq + 100))


def test_the_files_of_a_version_are_told(maker: Maker) -> None:
    view, _ = maker.begin({"b": "22", "a": "1"})
    assert files_of(maker.blobs, view.artifact) == []
    maker.send(view, {"b": "22", "a": "1"})
    found = files_of(maker.blobs, maker.commit(view).artifact)
    assert [(file.path, file.size) for file in found] == [("a", 1), ("b", 2)]


def test_a_version_that_a_second_run_logs_is_its_output_too(maker: Maker) -> None:
    world = maker.world
    for name in ("r1", "r2"):
        ask = RunAsk(project="demo", id=name, is_begun=True)
        run = world.do(lambda tx, ask=ask: world.service.tracked.upsert(tx, world.ann, ask))[0].run
        done = maker.log({"a": "1"}, run=name)
        found = world.do(
            lambda tx, run=run: world.service.artifact_lists.of_run(tx, run, Part.OUTPUT)
        )
        assert [view.artifact.seq for view in found] == [done.artifact.seq]


def test_a_changed_collection_is_shown_as_it_is(maker: Maker) -> None:
    world, seq = maker.world, maker.log({"a": "1"}).collection.seq
    lists = world.service.artifact_lists
    told = world.do(lambda tx: lists.edit(tx, world.ann, seq, description="said"))
    tagged = world.do(lambda tx: lists.tag(tx, world.ann, seq, add=["t"]))
    assert (told.description, tagged.tags) == ("said", ("t",))
    assert world.do(lambda tx: lists.numbered(tx, world.ann, seq)) == tagged
