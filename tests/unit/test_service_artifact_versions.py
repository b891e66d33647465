"""Versions of artifacts: what is stored of them, what may be changed, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.artifact import Artifact, ArtifactState, ArtifactView, Collection
from shipway.domain.errors import Conflict, Invalid, NotFound
from shipway.domain.run import Run
from shipway.service.artifact_fields import (
    METADATA_LIMIT,
    TAGS_LIMIT,
    TEXT_LIMIT,
    TTL_LIMIT_S,
)
from shipway.service.artifacts import ALIASES_LIMIT, ID_LIMIT, ArtifactEdit
from shipway.service.tracked_runs import RunAsk
from tests.unit.conftest import Maker, World


def a_run(world: World, name: str = "r1", who: Actor | None = None) -> Run:
    ask = RunAsk(project="demo", id=name, is_begun=True)
    return world.do(lambda tx: world.service.tracked.upsert(tx, who or world.ann, ask))[0].run


def edit(maker: Maker, view: ArtifactView, who: Actor | None = None, **said: Any) -> ArtifactView:
    world, seq = maker.world, view.artifact.seq
    return world.do(
        lambda tx: world.service.artifacts.edit(tx, who or world.ann, seq, ArtifactEdit(**said))
    )


def stored(maker: Maker, view: ArtifactView) -> ArtifactView:
    world = maker.world
    return world.do(lambda tx: world.service.artifacts.get(tx, world.ann, view.artifact.seq))


def test_a_new_version_keeps_all_that_was_said(maker: Maker) -> None:
    world, run = maker.world, a_run(maker.world)
    view, manifest = maker.begin(
        {"a": "1"}, run="r1", description="said", metadata='{"x": 1}', aliases=["x", "y", "x"],
        tags=["t", "u", "t"], history_step=7, client_id="c1", distributed_id="d1", ttl_s=60,
    )  # fmt: skip
    now = world.clock.now()
    assert view.artifact == Artifact(
        seq=view.artifact.seq, collection=view.collection.seq, state=ArtifactState.PENDING,
        digest=manifest.digest(), description="said", metadata='{"x": 1}', tags=("t", "u"),
        history_step=7, wanted=("x", "y"), client_id="c1", distributed_id="d1", run_seq=run.seq,
        created_by=world.ann.user, created_at=now, updated_at=now, expires_at=now + 60_000,
    )  # fmt: skip
    assert view.collection == Collection(
        seq=view.collection.seq, entity="ann", project="demo", name="data", type="dataset",
        created_at=now, created_by="ann",
    )  # fmt: skip
    assert stored(maker, view) == view


def test_a_new_version_needs_little(maker: Maker) -> None:
    view, _ = maker.begin(
        {"a": "1"}, entity="", project="", run="", client_id="", distributed_id=""
    )
    assert (view.collection.entity, view.collection.project) == ("ann", "uncategorized")
    made = view.artifact
    assert (made.run_seq, made.client_id, made.distributed_id, made.expires_at) == (None,) * 4
    assert (made.description, made.metadata, made.tags, made.wanted) == (None, None, (), ())
    of_client = maker.world.service.artifacts.of_client
    assert maker.world.do(lambda tx: of_client(tx, maker.world.ann, "")) is None


def test_what_is_said_of_a_committed_version_stays_as_it_was(maker: Maker) -> None:
    run = a_run(maker.world)
    files = {"a": "1", "b": "22"}
    done = maker.log(files, run="r1", description="said", aliases=["x"], tags=["t"], ttl_s=60)
    made = done.artifact
    assert (made.description, made.tags, made.run_seq) == ("said", ("t",), run.seq)
    assert (made.version, made.file_count, made.size, made.job) == (0, 2, 3, None)
    assert stored(maker, done) == done
    maker.world.clock.advance(5)
    again, _ = maker.begin(files, aliases=["y"], description="other", tags=["u"])
    assert again == replace(done, aliases=("latest", "x", "y"))


def test_a_pending_one_that_is_asked_for_again_takes_more_aliases(maker: Maker) -> None:
    first, _ = maker.begin({"a": "1"}, client_id="c1", aliases=["b", "a"])
    maker.world.clock.advance(5)
    again, _ = maker.begin({"a": "1"}, client_id="c1", aliases=["a", "c"])
    assert again.artifact == replace(
        first.artifact, wanted=("b", "a", "c"), updated_at=maker.world.clock.now()
    )
    assert stored(maker, again) == again
    many = [f"a{at}" for at in range(ALIASES_LIMIT)]
    full, _ = maker.begin({"a": "1"}, client_id="c1", aliases=many)
    assert full.artifact.wanted == tuple(["b", "a", "c", *many][:ALIASES_LIMIT])


def test_parts_are_one_version_until_it_is_whole(maker: Maker) -> None:
    one, _ = maker.begin({"a": "1"}, distributed_id="d")
    two, _ = maker.begin({"b": "2"}, distributed_id="d")
    other, _ = maker.begin({"b": "2"}, distributed_id="e")
    assert one.artifact.seq == two.artifact.seq != other.artifact.seq


def test_who_does_not_say_who_they_are_makes_a_new_version_each_time(maker: Maker) -> None:
    one, _ = maker.begin({"a": "1"})
    two, _ = maker.begin({"a": "1"})
    assert one.artifact.seq != two.artifact.seq


def test_an_alias_goes_to_who_asks_for_it_last(maker: Maker) -> None:
    first, second = maker.log({"a": "1"}, aliases=["best"]), maker.log({"a": "2"}, aliases=["best"])
    assert stored(maker, first).aliases == ()
    assert stored(maker, second).aliases == ("best", "latest")
    maker.begin({"a": "1"})
    assert stored(maker, first).aliases == ("latest",), "the same content is the newest again"


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"aliases": ["v1"]}, "alias"),
        ({"aliases": ["a/b"]}, "alias"),
        ({"aliases": [f"a{at}" for at in range(ALIASES_LIMIT + 1)]}, "aliases"),
        ({"tags": [f"t{at}" for at in range(TAGS_LIMIT + 1)]}, "tags"),
        ({"tags": ["a:b"]}, "tag"),
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"type": ""}, "type"),
        ({"type": "job", "name": "a, b"}, "name"),
        ({"project": "a/b"}, "projectName"),
        ({"digest": "d" * (ID_LIMIT + 1)}, "digest"),
        ({"client_id": "c" * (ID_LIMIT + 1)}, "clientID"),
        ({"description": "d" * (TEXT_LIMIT + 1)}, "description"),
        ({"metadata": '{"a":"' + "d" * METADATA_LIMIT + '"}'}, "metadata"),
        ({"metadata": "1"}, "metadata"),
        ({"ttl_s": -1}, "ttl"),
        ({"ttl_s": TTL_LIMIT_S + 1}, "ttl"),
    ],
)
def test_a_bad_version_is_refused_with_its_field(
    maker: Maker, said: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        maker.begin({"a": "1"}, **said)
    assert refused.value.details["field"] == field
    assert maker.world.do(lambda tx: tx.collections.find(None, None, type=None, limit=1)) == []


def test_the_ends_of_what_may_be_said_are_taken(maker: Maker) -> None:
    aliases, tags = ([f"{at}" for at in range(limit)] for limit in (ALIASES_LIMIT, TAGS_LIMIT))
    metadata = '{"a":"' + "d" * (METADATA_LIMIT - 8) + '"}'
    view, _ = maker.begin(
        {"a": "1"}, aliases=aliases, tags=tags, description="d" * TEXT_LIMIT, metadata=metadata,
        digest="d" * ID_LIMIT, client_id="c" * ID_LIMIT, ttl_s=TTL_LIMIT_S,
    )  # fmt: skip
    assert (view.artifact.wanted, view.artifact.tags) == (tuple(aliases), tuple(tags))
    assert view.artifact.expires_at == view.artifact.created_at + 1_000 * TTL_LIMIT_S


def test_what_a_launch_puts_in_place_of_an_artifact(maker: Maker) -> None:
    world = maker.world
    said = {"ann/demo/full:v1": 1, "short:v2": 2, "bare": 3, "both": 4, "ann/demo/both": 5}
    item_id, _ = world.running(run_id="r1", project="demo", artifacts=said)
    program = replace(world.ann, role=Role.JOB, item_id=item_id, attempt=1)

    def override(name: str, who: Actor = program) -> Any:
        return world.do(lambda tx: world.service.artifacts.override(tx, who, "ann", "demo", name))

    asked = ("full:v1", "short:v2", "bare", "bare:latest", "both")
    assert [override(name) for name in asked] == [1, 2, 3, 3, 5]
    assert [override(name) for name in ("full", "short:v1", "bare:v2", "none")] == [None] * 4
    assert override("bare", world.ann) is None
    other = replace(program, item_id=world.add().id)
    assert override("bare", other) is None


def test_each_thing_that_is_said_of_a_version_changes_alone(maker: Maker) -> None:
    done = maker.log(
        {"a": "1"}, description="one", metadata="{}", tags=["t", "u"], aliases=["x"], ttl_s=60
    )
    maker.world.clock.advance(5)
    now = maker.world.clock.now()
    changes: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"description": "two"}, {"description": "two"}),
        ({"metadata": '{"y": 1}'}, {"metadata": '{"y": 1}'}),
        ({"tags_to_add": ["w", "t"]}, {"tags": ("t", "u", "w")}),
        ({"tags_to_delete": ["t", "none"]}, {"tags": ("u", "w")}),
        ({"ttl_s": 9}, {"expires_at": done.artifact.created_at + 9_000}),
        ({"description": ""}, {"description": ""}),
        ({"inputs": {"is_partial": False}}, {}),
        ({}, {}),
    ]
    expected = replace(done.artifact, updated_at=now)
    for said, told in changes:
        expected = replace(expected, **told)
        assert edit(maker, done, **said).artifact == expected
        assert stored(maker, done).artifact == expected
    assert stored(maker, done).aliases == ("latest", "x")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"description": "d" * (TEXT_LIMIT + 1)}, "description"),
        ({"metadata": "[]"}, "metadata"),
        ({"tags_to_add": ["a/b"]}, "tag"),
        ({"tags_to_add": [f"t{at}" for at in range(TAGS_LIMIT)]}, "tags"),
        ({"ttl_s": -1}, "ttl"),
        ({"aliases": ["v3"]}, "alias"),
        ({"aliases": [f"a{at}" for at in range(ALIASES_LIMIT + 1)]}, "aliases"),
    ],
)
def test_a_bad_change_of_a_version_is_refused(
    maker: Maker, said: dict[str, Any], field: str
) -> None:
    done = maker.log({"a": "1"}, tags=["t"])
    with pytest.raises(Invalid) as refused:
        edit(maker, done, **said)
    assert refused.value.details["field"] == field
    assert stored(maker, done) == done


def test_tags_may_be_exchanged_where_they_are_as_many_as_may_be(maker: Maker) -> None:
    tags = [f"t{at}" for at in range(TAGS_LIMIT)]
    done = maker.log({"a": "1"}, tags=tags)
    changed = edit(maker, done, tags_to_add=["new"], tags_to_delete=["t0"]).artifact
    assert changed.tags == (*tags[1:], "new")


def test_all_aliases_of_a_version_may_be_said_at_once(maker: Maker) -> None:
    first = maker.log({"a": "1"}, aliases=["old", "kept"])
    second = maker.log({"a": "2"}, aliases=["theirs", "other"])
    changed = edit(maker, first, aliases=["kept", "new", "theirs"])
    assert changed.aliases == stored(maker, first).aliases == ("kept", "new", "theirs")
    assert stored(maker, second).aliases == ("latest", "other")
    assert edit(maker, first, aliases=[]).aliases == ()


def test_what_is_not_whole_is_not_named_nor_used(maker: Maker) -> None:
    world, (view, _) = maker.world, maker.begin({"a": "1"})
    a_run(world)
    service, seq = world.service.artifacts, view.artifact.seq
    for work in (
        lambda tx: service.add_aliases(tx, world.ann, seq, ["x"]),
        lambda tx: service.edit(tx, world.ann, seq, ArtifactEdit(aliases=["x"])),
        lambda tx: service.use(tx, world.ann, seq, run=("ann", "demo", "r1"), used_as=None),
    ):
        with pytest.raises(Conflict, match="artifact 'data' is not whole yet"):
            world.do(work)
    assert edit(maker, view, description="said").artifact.description == "said"


def test_aliases_come_and_go_and_another_s_stays(maker: Maker) -> None:
    world, service = maker.world, maker.world.service.artifacts
    first, second = maker.log({"a": "1"}), maker.log({"a": "2"})
    seq = first.artifact.seq
    world.do(lambda tx: service.add_aliases(tx, world.ann, seq, ["x", "y"]))
    assert stored(maker, first).aliases == ("x", "y")
    world.do(lambda tx: service.delete_aliases(tx, world.ann, seq, ["x", "latest", "none"]))
    assert stored(maker, first).aliases == ("y",)
    assert stored(maker, second).aliases == ("latest",)
    with pytest.raises(Invalid, match="reads as a version"):
        world.do(lambda tx: service.add_aliases(tx, world.ann, seq, ["v7"]))
    many = [f"a{at}" for at in range(ALIASES_LIMIT + 1)]
    for work in (service.add_aliases, service.delete_aliases):
        world.do(lambda tx, work=work: work(tx, world.ann, seq, many[1:]))
        with pytest.raises(Invalid, match=f"at most {ALIASES_LIMIT} aliases"):
            world.do(lambda tx, work=work: work(tx, world.ann, seq, many))


def test_a_deleted_version_is_nowhere_and_says_when_it_went(maker: Maker) -> None:
    world, service = maker.world, maker.world.service.artifacts
    first, second = maker.log({"a": "1"}, aliases=["x"]), maker.log({"a": "2"})
    pending, _ = maker.begin({"a": "3"}, aliases=["y"])
    world.clock.advance(5)
    for view in (first, pending):
        seq, has_aliases = view.artifact.seq, bool(stored(maker, view).aliases)
        told = world.do(
            lambda tx, s=seq, a=has_aliases: service.delete(tx, world.ann, s, with_aliases=a)
        )
        assert told.artifact == view.artifact, "what it was is told"
        row = world.do(lambda tx, seq=seq: tx.artifacts.get(seq))
        now = world.clock.now()
        assert row == replace(
            view.artifact, state=ArtifactState.DELETED, deleted_at=now, updated_at=now
        )
        with pytest.raises(NotFound, match="there is no artifact of that id"):
            world.do(lambda tx, seq=seq: service.get(tx, world.ann, seq))
    for name in ("data:x", "data:v0", "data:y"):
        assert maker.named(name) is None
    assert stored(maker, second).aliases == ("latest",)


def test_the_last_version_takes_latest_with_it(maker: Maker) -> None:
    world, done = maker.world, maker.log({"a": "1"})
    service = world.service.artifacts
    world.do(lambda tx: service.delete(tx, world.ann, done.artifact.seq, with_aliases=True))
    assert maker.named("data:latest") is None
    assert maker.log({"a": "1"}).artifact.version == 1


def test_so_many_versions_as_asked_for_go_at_the_end_of_their_time(maker: Maker) -> None:
    world, service = maker.world, maker.world.service.artifacts
    for at in range(3):
        maker.log({"a": str(at)}, ttl_s=1)
    world.clock.advance(1_000)
    assert [world.do(lambda tx: service.expire(tx, limit=2)) for _ in range(3)] == [2, 1, 0]
