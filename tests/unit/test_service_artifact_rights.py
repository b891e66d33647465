"""Who makes, finds, reads, changes and uses versions of artifacts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.artifact import ArtifactView, Part
from shipway.domain.errors import Forbidden, LeaseLost, NotFound
from shipway.domain.ids import Digest
from shipway.domain.item import Event
from shipway.domain.run import Run
from shipway.service.artifacts import ArtifactEdit
from shipway.service.ports import Tx
from shipway.service.tracked_runs import RunAsk
from tests.unit.conftest import Maker, World


def a_run(world: World, name: str = "r1", who: Actor | None = None) -> Run:
    ask = RunAsk(project="demo", id=name, is_begun=True)
    return world.do(lambda tx: world.service.tracked.upsert(tx, who or world.ann, ask))[0].run


def stored(maker: Maker, view: ArtifactView) -> ArtifactView:
    world = maker.world
    return world.do(lambda tx: world.service.artifacts.get(tx, world.ann, view.artifact.seq))


def a_program(world: World, run_id: str = "r1") -> Actor:
    item_id, _ = world.running(run_id=run_id, project="demo")
    return replace(world.ann, role=Role.JOB, item_id=item_id, attempt=1)


def test_artifacts_of_another_entity_are_made_by_admins_for_one_that_is_there(
    maker: Maker,
) -> None:
    world = maker.world
    view, _ = maker.begin({"a": "1"}, world.root, entity="ANN")
    assert (view.collection.entity, view.artifact.created_by) == ("ann", "root")
    same, _ = maker.begin({"a": "2"}, entity="Ann")
    assert same.collection.seq == view.collection.seq
    with pytest.raises(NotFound, match="there is no entity 'nobody'"):
        maker.begin({"a": "1"}, world.root, entity="nobody")
    with pytest.raises(NotFound, match="entity 'ann' that you may write to"):
        maker.begin({"a": "1"}, world.bob, entity="ann")
    for role in (Role.VIEWER, Role.AGENT, Role.JOB):
        with pytest.raises(Forbidden, match="log artifacts without a run"):
            maker.begin({"a": "1"}, replace(world.ann, role=role))


def test_a_version_of_a_run_is_logged_by_who_may_write_to_it(maker: Maker) -> None:
    world = maker.world
    a_run(world)
    with pytest.raises(Forbidden, match="role viewer may not write to runs"):
        maker.begin({"a": "1"}, replace(world.ann, role=Role.VIEWER), run="r1")
    with pytest.raises(NotFound, match="run ann/demo/r1"):
        maker.begin({"a": "1"}, world.bob, entity="ann", run="r1")
    view, _ = maker.begin({"a": "1"}, world.root, entity="ann", run="r1")
    assert view.collection.entity == "ann"


def test_a_version_is_found_by_its_name_its_type_and_who_may_see_it(maker: Maker) -> None:
    world, done = maker.world, maker.log({"a": "1"}, aliases=["best"])

    def named(name: str, who: Actor = world.ann, **more: Any) -> ArtifactView | None:
        return world.do(
            lambda tx: world.service.artifacts.named(tx, who, "ann", "demo", name, **more)
        )

    for name in ("data", "data:best", "data:v0", "data:latest"):
        assert named(name) == done
    assert named("data:v0", type="dataset") == named("data", world.root) == done
    for name in ("data:v1", "data:worse", "other:v0"):
        assert named(name) is None
    assert named("data:v0", type="model") is None
    assert named("data:v0", world.bob) is None
    assert named("data:v0", replace(world.ann, role=Role.JOB)) == done


READS: list[Callable[[Maker, Tx, Actor, ArtifactView], Any]] = [
    lambda m, tx, who, v: m.world.service.artifacts.get(tx, who, v.artifact.seq),
    lambda m, tx, who, v: m.world.service.artifacts.named(tx, who, "ann", "demo", "data:v0"),
    lambda m, tx, who, v: m.world.service.artifacts.of_client(tx, who, "c1"),
    lambda m, tx, who, v: m.world.service.artifact_lists.types(tx, who, "ann", "demo"),
    lambda m, tx, who, v: m.world.service.artifact_lists.collections(tx, who, "ann", "demo"),
    lambda m, tx, who, v: m.world.service.artifact_lists.collection(
        tx, who, "ann", "demo", "data"),
    lambda m, tx, who, v: m.world.service.artifact_lists.numbered(tx, who, v.collection.seq),
    lambda m, tx, who, v: m.uploads.readable(tx, who, "ann", "CY9rzUYh03PK3k6DJie09g=="),
]  # fmt: skip


@pytest.mark.parametrize("at", range(len(READS)))
def test_people_and_programs_read_artifacts_and_agents_do_not(maker: Maker, at: int) -> None:
    world, done = maker.world, maker.log({"a": "test"}, client_id="c1")
    for role in set(Role) - {Role.AGENT}:
        who = replace(world.ann, role=role)
        assert world.do(lambda tx, who=who: READS[at](maker, tx, who, done)) not in (None, [], ())
    with pytest.raises(Forbidden, match="role agent may not read artifacts"):
        world.do(lambda tx: READS[at](maker, tx, replace(world.ann, role=Role.AGENT), done))


def test_a_client_s_own_name_for_a_version_is_known_in_its_entity_alone(maker: Maker) -> None:
    world, (view, _) = maker.world, maker.begin({"a": "1"}, client_id="c1")
    of_client = world.service.artifacts.of_client
    assert world.do(lambda tx: of_client(tx, world.ann, "c1")) == view.artifact.seq
    assert world.do(lambda tx: of_client(tx, world.bob, "c1")) is None


def test_a_digest_that_nobody_stored_is_not_read(maker: Maker) -> None:
    world = maker.world
    maker.log({"a": "test"})
    known, unknown = "CY9rzUYh03PK3k6DJie09g==", "A" * 22 + "=="
    readable = maker.uploads.readable
    digest = Digest("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")
    assert world.do(lambda tx: readable(tx, world.ann, "ann", known)) == (digest, 4)
    assert world.do(lambda tx: readable(tx, world.root, "ann", known)) == (digest, 4)
    for who, md5 in ((world.ann, unknown), (world.bob, known)):
        with pytest.raises(NotFound, match="there is no file of that digest"):
            world.do(lambda tx, who=who, md5=md5: readable(tx, who, "ann", md5))


CHANGES: list[Callable[[Maker, Tx, Actor, ArtifactView], Any]] = [
    lambda m, tx, who, v: m.world.service.artifacts.edit(
        tx, who, v.artifact.seq, ArtifactEdit(description="x")),
    lambda m, tx, who, v: m.world.service.artifacts.edit(
        tx, who, v.artifact.seq, ArtifactEdit(metadata="{}")),
    lambda m, tx, who, v: m.world.service.artifacts.add_aliases(tx, who, v.artifact.seq, ["x"]),
    lambda m, tx, who, v: m.world.service.artifacts.delete_aliases(tx, who, v.artifact.seq, ["x"]),
    lambda m, tx, who, v: m.world.service.artifacts.delete(
        tx, who, v.artifact.seq, with_aliases=True),
]  # fmt: skip


@pytest.mark.parametrize("at", range(len(CHANGES)))
def test_who_may_change_a_version(maker: Maker, at: int) -> None:
    world = maker.world
    program = a_program(world)
    theirs, mine = maker.log({"a": "1"}, name="theirs"), maker.log({"a": "1"}, program, run="r1")
    a_run(world, "r2")
    other = maker.log({"a": "2"}, run="r2", name="other")

    def change(who: Actor, view: ArtifactView) -> None:
        world.do(lambda tx: CHANGES[at](maker, tx, who, view))

    with pytest.raises(Forbidden, match="a key with the role viewer may not change artifacts"):
        change(replace(world.ann, role=Role.VIEWER), theirs)
    with pytest.raises(NotFound, match="artifact of that id"):
        change(world.bob, theirs)
    for who, view in ((program, theirs), (program, other), (replace(program, item_id=None), mine)):
        with pytest.raises(Forbidden, match="changes what its own run logged only"):
            change(who, view)
    with pytest.raises(LeaseLost):
        change(replace(program, attempt=2), mine)
    assert [stored(maker, view) for view in (theirs, mine)] == [theirs, mine]
    change(program, mine)
    change(world.root, theirs)


def test_a_run_leads_to_what_it_used_and_a_version_to_who_used_it(maker: Maker) -> None:
    world, done = maker.world, maker.log({"a": "1"})
    run, lists = a_run(world), world.service.artifact_lists
    service, seq = world.service.artifacts, done.artifact.seq
    at = ("ann", "demo", "r1")
    told = world.do(lambda tx: service.use(tx, world.ann, seq, run=at, used_as="x" * 600))
    assert told == done
    assert world.do(lambda tx: lists.of_run(tx, run, Part.INPUT)) == [done]
    assert world.do(lambda tx: lists.of_run(tx, run, Part.OUTPUT)) == []
    users = world.do(lambda tx: lists.runs_of(tx, done, Part.INPUT))
    assert [user.seq for user in users] == [run.seq]
    assert world.do(lambda tx: lists.runs_of(tx, done, Part.OUTPUT)) == []
    with pytest.raises(NotFound, match="run ann/demo/none"):
        world.do(
            lambda tx: service.use(tx, world.ann, seq, run=("ann", "demo", "none"), used_as=None)
        )
    viewer = replace(world.ann, role=Role.VIEWER)
    with pytest.raises(Forbidden, match="may not write to runs"):
        world.do(lambda tx: service.use(tx, viewer, seq, run=at, used_as=None))


def test_a_program_that_has_ended_uses_nothing_more(maker: Maker) -> None:
    world, done = maker.world, maker.log({"a": "1"})
    item_id, token = world.running(run_id="r1", project="demo")
    program = replace(world.ann, role=Role.JOB, item_id=item_id, attempt=1)
    world.report(item_id, token, Event.FINISH, exit_code=0)
    service, at = world.service.artifacts, ("ann", "demo", "r1")
    with pytest.raises(LeaseLost):
        world.do(lambda tx: service.use(tx, program, done.artifact.seq, run=at, used_as=None))
