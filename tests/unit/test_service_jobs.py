"""Jobs: what is stored, under which versions, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.artifact import ArtifactView
from shipway.domain.errors import Forbidden, Invalid, NotFound
from shipway.domain.ids import Digest
from shipway.domain.item import Event
from shipway.domain.job import Job, JobKind
from shipway.service.artifacts import ArtifactEdit
from shipway.service.jobs import ALIASES_LIMIT
from shipway.service.ports import Tx
from shipway.service.uploads import FRESH_MS
from tests.unit.conftest import SOURCE, World

CAPSULE = {"kind": "capsule", "digest": "c" * 64}
IMAGE = {"kind": "image", "image": "a/b:1"}


def create(world: World, **values: Any) -> Job:
    said = {"kind": "git", "source": SOURCE, "name": "train", **values}
    return world.do(lambda tx: world.service.jobs.create(tx, world.ann, said))


def test_a_job_keeps_what_was_said(world: World) -> None:
    made = create(
        world,
        project="p",
        aliases=["best", "best"],
        entry_point=["train.py"],
        args=["--x"],
        run_config={"lr": 1},
        resource="local-process",
        resource_args={"local-process": {}},
        python="3.12",
        description="d" * 3_000,
    )
    stored = world.do(lambda tx: world.service.jobs.get(tx, world.ann, "ann/p/train:best"))
    assert stored == made
    assert (made.entity, made.project, made.name, made.kind) == ("ann", "p", "train", JobKind.GIT)
    assert (made.entry_point, made.args, made.run_config) == (("train.py",), ("--x",), {"lr": 1})
    assert (made.resource, made.resource_args) == ("local-process", {"local-process": {}})
    assert (made.python, made.description, made.created_by) == ("3.12", "d" * 2_000, "ann")
    assert made.aliases == ("best", "latest")
    assert (made.source, made.created_at) == (SOURCE, world.clock.now())


def test_a_job_needs_little(world: World) -> None:
    made = create(world)
    assert (made.project, made.aliases, made.entry_point) == ("uncategorized", ("latest",), None)
    assert (made.args, made.run_config, made.resource_args) == ((), {}, {})
    assert (made.resource, made.python, made.description) == (None, None, "")


def test_a_change_is_a_new_version_and_old_ones_stay(world: World) -> None:
    first, second = create(world, args=["1"]), create(world, args=["2"])

    def get(alias: str) -> Job:
        address = f"ann/uncategorized/train:{alias}"
        return world.do(lambda tx: world.service.jobs.get(tx, world.ann, address))

    assert get(f"v{first.version}").args == ("1",)
    assert get(f"v{second.version}").args == get("latest").args == ("2",)


@pytest.mark.parametrize(("kind", "source"), [("git", SOURCE), ("image", IMAGE), ("code", CAPSULE)])
def test_a_kind_goes_with_its_source(world: World, kind: str, source: dict[str, Any]) -> None:
    world.do(lambda tx: world.service.blobs.admit(tx, world.ann, {Digest("c" * 64): 1}))
    assert create(world, kind=kind, source=source).kind == kind
    for other in {"git", "image", "code"} - {kind}:
        with pytest.raises(Invalid, match=f"a job of kind {other} has no source") as refused:
            create(world, kind=other, source=source)
        assert refused.value.details == {"field": "source.kind", "value": source["kind"]}


def test_the_digest_of_an_image_is_nothing_uploaded(world: World) -> None:
    pinned = {**IMAGE, "digest": "sha256:" + "d" * 64, "platforms": ["linux/amd64"]}
    assert create(world, kind="image", source=pinned).source == pinned


def test_the_code_of_a_job_must_have_been_uploaded_lately(world: World) -> None:
    with pytest.raises(Invalid, match="was not uploaded for ann"):
        create(world, kind="code", source=CAPSULE)
    world.do(lambda tx: world.service.blobs.admit(tx, world.ann, {Digest("c" * 64): 1}))
    world.clock.advance(FRESH_MS)
    create(world, kind="code", source=CAPSULE)
    world.clock.advance(1)
    with pytest.raises(Invalid, match="was not uploaded for ann") as refused:
        create(world, kind="code", source=CAPSULE)
    assert refused.value.details == {"field": "source.digest", "value": "c" * 64}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": "moon"}, "kind"),
        ({"kind": None}, "kind"),
        ({"source": None}, "source"),
        ({"source": "git"}, "source"),
        ({"source": {"kind": "ftp"}}, "source.kind"),
        ({"source": {"kind": "git"}}, "source.url"),
        ({"source": {**SOURCE, "colour": 1}}, "source.colour"),
        ({"aliases": ["v12"]}, "aliases"),
        ({"aliases": ["a/b"]}, "aliases"),
        ({"aliases": "best"}, "aliases"),
        ({"aliases": [1]}, "aliases"),
        ({"entry_point": "train.py"}, "entry_point"),
        ({"args": [1]}, "args"),
        ({"args": 3}, "args"),
        ({"run_config": [1]}, "run_config"),
        ({"resource_args": "x"}, "resource_args"),
        ({"project": "a/b"}, "project"),
        ({"name": None}, "name"),
        ({"name": "-x"}, "name"),
        ({"config_schema": {"type": "word"}}, "config_schema.type"),
    ],
)
def test_a_bad_job_is_refused_with_its_field(
    world: World, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        create(world, **values)
    assert refused.value.details["field"] == field
    assert world.do(lambda tx: tx.collections.find(None, None, type=None, limit=1)) == []


def test_an_alias_that_only_begins_like_a_version_is_taken(world: World) -> None:
    assert set(create(world, aliases=["v1a", "v"]).aliases) == {"v1a", "v", "latest"}


def test_aliases_have_a_limit(world: World) -> None:
    many = [f"a{at}" for at in range(ALIASES_LIMIT + 5)]
    assert set(create(world, aliases=many).aliases) == {*many[:ALIASES_LIMIT], "latest"}


def test_a_job_of_another_entity_is_made_by_admins_alone(world: World) -> None:
    said = {"kind": "git", "source": SOURCE, "name": "train", "entity": "bob"}
    with pytest.raises(NotFound, match="entity 'bob' that you may write to"):
        create(world, entity="bob")
    made = world.do(lambda tx: world.service.jobs.create(tx, world.root, said))
    assert made.entity == "bob"


@pytest.mark.parametrize(
    "address", ["train", "ann/p/train", "ann/p/train:", "a/b/c/d:e", "a/b/c:d:e"]
)
def test_an_address_has_four_parts(world: World, address: str) -> None:
    with pytest.raises(Invalid, match="is not of the form") as refused:
        world.do(lambda tx: world.service.jobs.get(tx, world.ann, address))
    assert refused.value.details == {"field": "job", "value": address}


def test_a_job_that_is_not_there_is_refused_with_what_is(world: World) -> None:
    create(world, project="p", aliases=["best"])
    get = world.service.jobs.get
    for address, hint in (
        ("ann/p/trian:latest", r"\(ann/p has: train\)$"),
        ("ann/p/train:bets", r"\(train has: best, latest\)$"),
        ("ann/q/train:latest", r"\(ann/q has: none\)$"),
    ):
        with pytest.raises(NotFound, match=f"there is no job '{address}' {hint}"):
            world.do(lambda tx, address=address: get(tx, world.ann, address))


def test_a_job_of_others_is_as_if_it_were_not_there(world: World) -> None:
    create(world, project="p")
    get, find = world.service.jobs.get, world.service.jobs.find
    with pytest.raises(NotFound, match=r"^there is no job 'ann/p/train:latest'$"):
        world.do(lambda tx: get(tx, world.bob, "ann/p/train:latest"))
    with pytest.raises(NotFound, match="there is no job 'ann/p/other:latest'") as missing:
        world.do(lambda tx: get(tx, world.ann, "ann/p/other:latest"))
    assert missing.value.details == {"field": "job", "value": "ann/p/other:latest"}
    assert world.do(lambda tx: find(tx, world.bob, entity=None, project=None)) == []
    for who, entity in ((world.ann, None), (world.root, None), (world.root, "ann")):
        found = world.do(lambda tx: find(tx, who, entity=entity, project=None))
        assert [job.name for job in found] == ["train"]
    assert world.do(lambda tx: find(tx, world.root, entity="bob", project=None)) == []


SCHEMA = {
    "type": "object",
    "required": ["lr", "epochs"],
    "properties": {
        "lr": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "net": {"type": "object", "properties": {"name": {"enum": ["small", "big"]}}},
    },
}


@pytest.mark.parametrize(
    ("asked", "field", "why"),
    [
        ({"lr": 2}, "run_config.lr", "2 is greater than the maximum of 1"),
        ({"lr": "x"}, "run_config.lr", "'x' is not of type 'number'"),
        ({"net": {"name": "huge"}}, "run_config.net.name", r"is not one of \['small', 'big'\]"),
    ],
)
def test_a_run_config_that_does_not_fit_is_refused_at_push(
    world: World, asked: dict[str, Any], field: str, why: str
) -> None:
    job = create(world, config_schema=SCHEMA, run_config={"lr": 0.5})
    assert job.config_schema == SCHEMA
    world.add(source=None, job=job.address)
    world.add(source=None, job=job.address, run_config={"lr": 1, "net": {"name": "big"}, "more": 1})
    with pytest.raises(Invalid, match=why) as refused:
        world.add(source=None, job=job.address, run_config=asked)
    assert refused.value.details["field"] == field
    with pytest.raises(Invalid, match="maximum"):
        world.add(source=None, job=job.address, parameters={"lr": 3})


def completed(
    world: World, job: Job, who: Actor, inputs: dict[str, Any] | None = None, **more: Any
) -> ArtifactView:
    """Say what a job's first run found."""
    edit = ArtifactEdit(
        metadata='{"input_types": {}}', inputs={"is_partial": False, **(inputs or {})}, **more
    )

    def work(tx: Tx) -> ArtifactView:
        view = world.service.artifacts.named(tx, who, job.entity, job.project, f"{job.name}:v0")
        assert view is not None
        return world.service.artifacts.edit(tx, who, view.artifact.seq, edit)

    return world.do(work)


def test_a_job_is_completed_by_its_own_run_once_and_keeps_its_schema(world: World) -> None:
    job = create(world, config_schema=SCHEMA)
    other = create(world, name="other")
    world.add(source=None, job=job.address)
    grant = world.lease().leases[0]
    program = replace(world.ann, role=Role.JOB, item_id=grant.item.id, attempt=1)
    world.report(grant.item.id, grant.token, Event.START)
    with pytest.raises(Forbidden):
        completed(world, other, program)
    done = completed(world, job, program, {"config_schema": None}, description="mine", aliases=())
    assert (done.artifact.metadata, done.artifact.description) == ('{"input_types": {}}', None)
    assert done.aliases == ("latest",), "it says nothing else"
    kept = world.do(lambda tx: world.service.jobs.get(tx, world.ann, job.address))
    assert (kept.is_partial, kept.config_schema) == (False, SCHEMA)
    with pytest.raises(Forbidden):
        completed(world, job, program)
    changed = completed(world, job, world.ann, {"config_schema": None})
    assert changed.artifact.job is not None
    assert changed.artifact.job["config_schema"] is None, "people may take it away"


def test_values_that_take_too_long_to_check_are_refused(world: World) -> None:
    schema = {"properties": {"a": {"items": {"anyOf": [{"const": at} for at in range(600)]}}}}
    job = create(world, config_schema=schema)
    world.add(source=None, job=job.address, run_config={"a": [599]})
    with pytest.raises(Invalid, match="too much to check"):
        world.add(source=None, job=job.address, run_config={"a": [599] * 1_000})
