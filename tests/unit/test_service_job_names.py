"""Artifacts under the names of jobs: what is a job, what may be run, and what it may be called."""

from __future__ import annotations

from typing import Any

import pytest

from shipway.domain.artifact import ArtifactView
from shipway.domain.errors import Conflict, Invalid, NotFound
from shipway.domain.job import Job
from tests.unit.conftest import SOURCE, Maker, World


def create(world: World, name: str) -> Job:
    said = {"kind": "git", "source": SOURCE, "name": name, "project": "demo"}
    return world.do(lambda tx: world.service.jobs.create(tx, world.ann, said))


def get(world: World, address: str) -> Job:
    return world.do(lambda tx: world.service.jobs.get(tx, world.ann, address))


def listed(world: World) -> list[str]:
    found = world.do(lambda tx: world.service.jobs.find(tx, world.ann, entity=None, project="demo"))
    return [job.name for job in found]


def edit(world: World, view: ArtifactView, **said: Any) -> None:
    seq = view.collection.seq
    world.do(lambda tx: world.service.artifact_lists.edit(tx, world.ann, seq, **said))


def test_a_data_set_is_no_job(maker: Maker) -> None:
    world, _ = maker.world, maker.log({"a": "1"})
    for address in ("ann/demo/data:latest", "ann/demo/data:v0", "ann/demo/none:v0"):
        with pytest.raises(NotFound, match=f"there is no job '{address}'") as refused:
            get(world, address)
        assert refused.value.details == {"field": "job", "value": address}
    with pytest.raises(Invalid, match="has the type 'dataset', not 'job'") as wrong:
        create(world, "data")
    assert wrong.value.details == {"field": "type", "value": "job"}


def test_a_job_of_a_client_that_says_nothing_to_run_is_not_offered(maker: Maker) -> None:
    world, _ = maker.world, create(maker.world, "train")
    maker.log({"a": "1"}, name="empty", type="job")
    assert listed(world) == ["train"]
    with pytest.raises(Conflict, match="cannot be run here: it says nothing to run"):
        get(world, "ann/demo/empty:v0")


def test_a_job_that_has_no_latest_is_not_listed(maker: Maker) -> None:
    world, _ = maker.world, create(maker.world, "train")
    view = maker.named("train:latest")
    assert view is not None
    seq = view.artifact.seq
    world.do(lambda tx: world.service.artifacts.delete_aliases(tx, world.ann, seq, ["latest"]))
    assert listed(world) == []
    assert get(world, "ann/demo/train:v0").name == "train"


def test_a_job_keeps_a_name_that_can_be_launched(maker: Maker) -> None:
    world, _ = maker.world, create(maker.world, "train")
    job, data = maker.named("train"), maker.log({"a": "1"}, name="c, d")
    assert job is not None
    for view, said in ((job, {"name": "a, b"}), (data, {"type": "job"})):
        with pytest.raises(Invalid, match="is not a name") as refused:
            edit(world, view, **said)
        assert refused.value.details["field"] == "name"
    edit(world, job, name="renamed")
    edit(world, data, name="a, c")
    assert listed(world) == ["renamed"]
