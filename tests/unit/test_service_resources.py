"""Resources: which there are, and what their schemas and a job's let through."""

from __future__ import annotations

from typing import Any

import pytest

from shipway.domain.errors import Invalid
from shipway.domain.job import Job, JobKind
from shipway.domain.launch_spec import LaunchSpec
from shipway.service.resources import BUILT_IN
from tests.unit.conftest import SOURCE, World

SCHEMA = {"type": "object", "properties": {"size": {"type": "integer"}}}


def test_resources_are_the_shipped_ones_and_those_of_live_agents(world: World) -> None:
    known = world.service.resources.known
    world.register("agent-two", resources=["local-process", "quantum"])
    assert world.do(lambda tx: known(tx, "quantum")) >= {*BUILT_IN, "quantum"}
    assert world.do(lambda tx: known(tx, "unknown")) >= {*BUILT_IN, "quantum"}
    for shipped in (None, "ray"):
        assert "quantum" not in world.do(lambda tx, name=shipped: known(tx, name))


def test_a_schema_that_an_agent_brings_holds_and_a_shipped_one_stays(world: World) -> None:
    resources, shipped = world.service.resources, world.service.resources.schema("local-process")
    assert shipped is not None
    brought = {"quantum": SCHEMA, "local-process": {}, "odd": "no schema"}
    world.register("agent-two", resources=["quantum"], facts={"schemas": brought})
    assert resources.schema("quantum") == SCHEMA
    assert resources.schema("local-process") == shipped
    assert resources.schema("odd") is None
    resources.check_args("quantum", {"size": 3}, path="resource_args.quantum")
    resources.check_args("odd", {"size": "any"}, path="resource_args.odd")
    with pytest.raises(Invalid) as refused:
        resources.check_args("quantum", {"size": "big"}, path="resource_args.quantum")
    assert refused.value.details["field"] == "resource_args.quantum.size"


@pytest.mark.parametrize("values", [None, [], "size=3"])
def test_arguments_of_a_resource_are_a_mapping(world: World, values: object) -> None:
    with pytest.raises(Invalid, match=r"resource_args\.ray must be a mapping") as refused:
        world.service.resources.check_args("ray", values, path="resource_args.ray")
    assert refused.value.details["field"] == "resource_args.ray"


def a_job(**schemas: Any) -> Job:
    return Job(
        entity="ann", project="p", name="train", version=0, aliases=(), kind=JobKind.GIT,
        source=SOURCE, **schemas,
    )  # fmt: skip


def check(world: World, job: Job, **values: Any) -> None:
    names = {"entity": "ann", "project": "p", "run_id": "r", "author": "ann", "resource": "ray"}
    queue = {"queue": "default", "queue_entity": "ann", "project_queue": "p"}
    spec = LaunchSpec.from_json({**names, **queue, "source": SOURCE, **values})
    world.service.resources.check_inputs(job, spec)


def test_values_are_held_to_the_schemas_that_a_job_has(world: World) -> None:
    bad = {"size": "big"}
    check(world, a_job(), run_config=bad, files={"a.yaml": bad})
    config, files = a_job(config_schema=SCHEMA), a_job(file_schemas={"a.yaml": SCHEMA})
    check(world, config, files={"a.yaml": bad})
    check(world, files, run_config=bad, files={"b.yaml": bad})
    check(world, files, files={"a.yaml": {"size": 3}})
    for job, values, field in (
        (config, {"run_config": bad}, "run_config.size"),
        (files, {"files": {"a.yaml": bad}}, "files.a.yaml.size"),
    ):
        with pytest.raises(Invalid, match="'big' is not of type 'integer'") as refused:
            check(world, job, **values)
        assert refused.value.details["field"] == field


def test_values_that_nobody_gives_are_held_to_nothing(world: World) -> None:
    least = {"type": "object", "minProperties": 1}
    job = a_job(config_schema=least, file_schemas={"a.yaml": least})
    check(world, job)
    check(world, job, run_config={}, files={"a.yaml": {}})
