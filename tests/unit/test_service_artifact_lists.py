"""Collections of artifacts: what is listed, changed and deleted, and by whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.artifact import ArtifactState, Collection, Part
from shipway.domain.errors import Exists, Forbidden, Invalid, NotFound
from shipway.service.artifact_fields import TAGS_LIMIT, TEXT_LIMIT
from shipway.service.artifact_lists import PAGE, ArtifactLists
from shipway.service.ports import Tx
from shipway.service.tracked_runs import RunAsk
from tests.unit.conftest import Maker, World


def lists_of(maker: Maker) -> ArtifactLists:
    return maker.world.service.artifact_lists


def edit(maker: Maker, seq: int, who: Actor | None = None, **said: Any) -> Collection:
    world = maker.world
    return world.do(lambda tx: lists_of(maker).edit(tx, who or world.ann, seq, **said))


def shown(maker: Maker, seq: int) -> Collection | None:
    world = maker.world
    return world.do(lambda tx: lists_of(maker).numbered(tx, world.ann, seq))


def test_types_and_collections_are_a_project_s_own(maker: Maker) -> None:
    world, lists = maker.world, lists_of(maker)
    began = world.clock.now()
    data = maker.log({"a": "1"}).collection
    world.clock.advance(5)
    model = maker.log({"a": "1"}, name="net", type="model").collection
    more = maker.log({"a": "1"}, name="after").collection
    maker.log({"a": "1"}, name="far", type="far", project="other")

    def types(who: Actor) -> Any:
        return world.do(lambda tx: lists.types(tx, who, "ann", "demo"))

    def find(who: Actor, type: str | None = None) -> Any:
        return world.do(lambda tx: lists.collections(tx, who, "ann", "demo", type=type))

    assert list(types(world.ann)) == [("dataset", began), ("model", began + 5)]
    assert types(world.root) == types(world.ann)
    assert find(world.ann) == find(world.root) == [more, data, model]
    assert find(world.ann, "model") == [model]
    assert list(types(world.bob)) == list(find(world.bob)) == []


def test_a_collection_is_found_by_name_type_and_number(maker: Maker) -> None:
    world, lists = maker.world, lists_of(maker)
    data = maker.log({"a": "1"}).collection

    def named(name: str, who: Actor, type: str | None = None) -> Collection | None:
        return world.do(lambda tx: lists.collection(tx, who, "ann", "demo", name, type=type))

    assert named("data", world.ann) == named("data", world.root, "dataset") == data
    assert named("data", world.ann, "model") is None
    assert named("none", world.ann) is None
    assert named("data", world.bob) is None
    for who, seq, found in (
        (world.ann, data.seq, data),
        (world.root, data.seq, data),
        (world.bob, data.seq, None),
        (world.ann, data.seq + 9, None),
    ):
        assert world.do(lambda tx, who=who, seq=seq: lists.numbered(tx, who, seq)) == found


def test_versions_come_newest_first_however_many(maker: Maker) -> None:
    world, lists = maker.world, lists_of(maker)
    first = maker.log({"a": "0"})
    maker.begin({"a": "pending"})
    maker.log({"a": "1"}, name="other")

    def fill(tx: Tx) -> None:
        for number in range(1, PAGE + 2):
            blank = replace(first.artifact, seq=0, state=ArtifactState.PENDING, version=None)
            made = tx.artifacts.insert(blank)
            tx.artifacts.amend(replace(first.artifact, seq=made.seq, version=number))

    world.do(fill)
    found = world.do(lambda tx: list(lists.versions(tx, first.collection)))
    assert [view.artifact.version for view in found] == list(range(PAGE + 1, -1, -1))
    assert found[-1] == first
    assert world.do(lambda tx: lists.latest(tx, first.collection)) == found[0]


def test_a_collection_without_a_version_has_no_latest(maker: Maker) -> None:
    view, _ = maker.begin({"a": "1"})
    lists = lists_of(maker)
    assert maker.world.do(lambda tx: lists.latest(tx, view.collection)) is None
    assert maker.world.do(lambda tx: list(lists.versions(tx, view.collection))) == []
    assert maker.world.do(lambda tx: lists.aliases(tx, view.collection)) == []


def test_the_aliases_of_a_collection_are_those_of_all_its_versions(maker: Maker) -> None:
    maker.log({"a": "1"}, aliases=["z", "b"])
    done = maker.log({"a": "2"}, aliases=["a"])
    maker.log({"a": "2"}, name="other", aliases=["c"])
    found = maker.world.do(lambda tx: lists_of(maker).aliases(tx, done.collection))
    assert found == ["a", "b", "latest", "z"]


def test_each_thing_that_is_said_of_a_collection_changes_alone(maker: Maker) -> None:
    expected = maker.log({"a": "1"}).collection
    changes: list[dict[str, Any]] = [
        {"description": "said"},
        {"name": "renamed"},
        {"type": "model"},
        {"description": ""},
        {},
        {"name": "renamed"},
    ]
    for said in changes:
        expected = replace(expected, **said)
        assert edit(maker, expected.seq, **said) == expected
        assert shown(maker, expected.seq) == expected
    assert maker.named("renamed:v0") is not None
    assert maker.named("data:v0") is None


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"type": "a:b"}, "type"),
        ({"description": "d" * (TEXT_LIMIT + 1)}, "description"),
    ],
)
def test_a_bad_change_of_a_collection_is_refused(
    maker: Maker, said: dict[str, Any], field: str
) -> None:
    data = maker.log({"a": "1"}).collection
    with pytest.raises(Invalid) as refused:
        edit(maker, data.seq, **said)
    assert refused.value.details["field"] == field
    assert shown(maker, data.seq) == data


def test_a_collection_is_not_renamed_to_one_that_is_there(maker: Maker) -> None:
    data, other = (maker.log({"a": "1"}, name=name).collection for name in ("data", "other"))
    with pytest.raises(Exists, match="there is a collection 'other' already") as refused:
        edit(maker, data.seq, name="other")
    assert refused.value.details == {"field": "name", "value": "other"}
    assert shown(maker, data.seq) == data
    world = maker.world
    world.do(lambda tx: lists_of(maker).delete(tx, world.ann, other.seq))
    assert edit(maker, data.seq, name="other").name == "other"


def test_tags_of_a_collection_come_and_go(maker: Maker) -> None:
    world, data = maker.world, maker.log({"a": "1"}).collection

    def tag(**said: Any) -> tuple[str, ...]:
        changed = world.do(lambda tx: lists_of(maker).tag(tx, world.ann, data.seq, **said))
        assert shown(maker, data.seq) == changed == replace(data, tags=changed.tags)
        return changed.tags

    assert tag(add=["t", "u", "t"]) == ("t", "u")
    assert tag(add=["w", "u"], remove=["t", "none"]) == ("u", "w")
    assert tag() == ("u", "w")
    full = [f"t{at}" for at in range(TAGS_LIMIT - 2)]
    assert tag(add=full) == ("u", "w", *full)
    with pytest.raises(Invalid, match=f"at most {TAGS_LIMIT} tags") as refused:
        tag(add=["more"])
    assert refused.value.details == {"field": "tags", "value": TAGS_LIMIT + 1}
    with pytest.raises(Invalid, match="tag 'a/b'"):
        tag(add=["a/b"])


def test_a_deleted_collection_goes_with_its_versions_and_frees_its_name(maker: Maker) -> None:
    world, lists = maker.world, lists_of(maker)
    made = [maker.log({"a": str(at)}, aliases=[f"x{at}"]) for at in range(2)]
    other = maker.log({"a": "1"}, name="other")
    world.clock.advance(5)
    seq = made[0].collection.seq
    gone = world.do(lambda tx: lists.delete(tx, world.ann, seq))
    assert gone == replace(made[0].collection, deleted_at=world.clock.now())
    assert world.do(lambda tx: tx.collections.get(seq)) == gone
    assert shown(maker, seq) is None
    for view in made:
        with pytest.raises(NotFound, match="artifact of that id"):
            world.do(lambda tx, v=view: world.service.artifacts.get(tx, world.ann, v.artifact.seq))
    assert world.do(lambda tx: lists.aliases(tx, gone)) == []
    with pytest.raises(NotFound, match="there is no collection of that id"):
        world.do(lambda tx: lists.delete(tx, world.ann, seq))
    again = maker.log({"a": "0"}, type="model")
    assert (again.collection.seq != seq, again.artifact.version) == (True, 0)
    assert maker.named("other:latest") == other


CHANGES: list[Callable[[ArtifactLists, Tx, Actor, int], Any]] = [
    lambda lists, tx, who, seq: lists.edit(tx, who, seq, description="x"),
    lambda lists, tx, who, seq: lists.tag(tx, who, seq, add=["x"]),
    lambda lists, tx, who, seq: lists.delete(tx, who, seq),
]


@pytest.mark.parametrize("at", range(len(CHANGES)))
def test_who_may_change_a_collection(maker: Maker, at: int) -> None:
    world, data = maker.world, maker.log({"a": "1"}).collection

    def change(who: Actor) -> None:
        world.do(lambda tx: CHANGES[at](lists_of(maker), tx, who, data.seq))

    for role in (Role.VIEWER, Role.JOB):
        with pytest.raises(Forbidden, match=f"role {role} may not change collections of artifacts"):
            change(replace(world.ann, role=role))
    with pytest.raises(NotFound, match="there is no collection of that id"):
        change(world.bob)
    assert shown(maker, data.seq) == data
    change(world.root)
    assert shown(maker, data.seq) != data


def test_what_a_run_made_is_deleted_with_it_and_what_it_only_logged_too_is_not(
    maker: Maker,
) -> None:
    world, lists = maker.world, lists_of(maker)
    runs = []
    for name in ("r1", "r2"):
        ask = RunAsk(project="demo", id=name, is_begun=True)
        runs.append(
            world.do(lambda tx, a=ask: world.service.tracked.upsert(tx, world.ann, a))[0].run
        )
    first = maker.log({"a": "1"}, run="r1", aliases=["x"])
    maker.log({"a": "1"}, run="r2")
    own = maker.log({"a": "2"}, run="r2")
    logged = world.do(lambda tx: lists.of_run(tx, runs[1], Part.OUTPUT))
    assert {view.artifact.seq for view in logged} == {first.artifact.seq, own.artifact.seq}
    makers = world.do(lambda tx: lists.runs_of(tx, first, Part.OUTPUT))
    assert {run.seq for run in makers} == {run.seq for run in runs}
    viewer = replace(world.ann, role=Role.VIEWER)
    with pytest.raises(Forbidden):
        world.do(lambda tx: lists.delete_of_run(tx, viewer, runs[1]))
    world.do(lambda tx: lists.delete_of_run(tx, world.ann, runs[1]))
    assert maker.named("data:v1") is None
    assert maker.named("data:x") is not None
    world.do(lambda tx: lists.delete_of_run(tx, world.ann, runs[0]))
    assert maker.named("data:x") is None


def test_a_collection_of_another_type_is_told_with_both(world: World, maker: Maker) -> None:
    maker.log({"a": "1"})
    with pytest.raises(Invalid, match="has the type 'dataset', not 'model'") as refused:
        maker.begin({"a": "1"}, type="model")
    assert refused.value.details == {"field": "type", "value": "model"}
