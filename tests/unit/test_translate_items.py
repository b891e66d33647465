"""What wandb's launch agents are told to run, and what they say, in our words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.agent import CLIENT_FACT, Agent, AgentState, RunAs
from shipway.domain.client_agent import SCHEDULER_URI, suits_clients
from shipway.domain.docker_options import own_spelling
from shipway.domain.errors import Invalid
from shipway.domain.ids import AgentId, RunId, UserName
from shipway.domain.item import Stage
from shipway.domain.launch_spec import LaunchSpec
from shipway.server.graphql.translate_items import (
    read_agent_config,
    run_spec_of,
    says_of,
    status_of,
)
from shipway.service.client_agents import ClientGrant
from shipway.testing.store_samples import a_queue, an_item

ALONE = ["env", "-u", "WANDB_SERVICE"]
CODE = {"kind": "capsule", "digest": "0" * 64}


def an_agent(**changes: Any) -> Agent:
    """Make an agent of wandb's newest client."""
    made = Agent(
        id=AgentId("agent-1"), user=UserName("ann"), hostname="h", version="wandb@0.31.0",
        state=AgentState.ACTIVE, queue_ids=(), queues=(), resources=(), run_as=RunAs.SHARED,
        slots=1, used_slots=0, facts={CLIENT_FACT: "wandb"}, created_at=0, seen_at=0,
    )  # fmt: skip
    return replace(made, **changes)


def a_grant(*, attempt: int = 1, own: tuple[str, ...] | None = None, **changes: Any) -> ClientGrant:
    """Make a lease of a job's launch."""
    spec = LaunchSpec(
        queue="q", project_queue="model-registry", queue_entity="ann", source=CODE,
        job="ann/demo/train:v0", entity="ann", project="Demo", run_id=RunId("r1"), author="bob",
        resource="local-process", entry_point=("python", "train.py"), args=("--word", "a b"),
        run_config={"lr": 1},
    )  # fmt: skip
    item = an_item(a_queue(), attempt=attempt)
    return ClientGrant(
        name="i.1", item=item, spec=replace(spec, **changes), job_key="sw_k", entry_point=own
    )


def test_a_job_is_run_as_it_was_launched() -> None:
    said = run_spec_of(a_grant(), an_agent())
    assert said == {
        "job": "ann/demo/train:v0",
        "entity": "ann",
        "project": "Demo",
        "run_id": "r1",
        "author": "bob",
        "resource": "local-process",
        "resource_args": {},
        "docker": {},
        "git": {},
        "overrides": {
            "args": ["--word", "a b"],
            "run_config": {"lr": 1},
            "artifacts": {},
            "files": {},
            "entry_point": [*ALONE, "python", "train.py"],
        },
        "_wandb_api_key": "sw_k",
    }
    assert run_spec_of(a_grant(attempt=3), an_agent())["_resume_count"] == 2


@pytest.mark.parametrize(
    ("version", "word"), [("wandb@0.20.1", "'a b'"), ("wandb@0.28.1", "'a b'"), ("x", "a b")]
)
def test_older_agents_get_words_that_their_shell_leaves_whole(version: str, word: str) -> None:
    agent = an_agent(version=version)
    assert run_spec_of(a_grant(), agent)["overrides"]["args"] == ["--word", word]
    remote = a_grant(resource="kubernetes")
    assert run_spec_of(remote, agent)["overrides"]["args"] == ["--word", "a b"]


@pytest.mark.parametrize(
    ("entry_point", "command"),
    [
        (("other.py", "-x"), ["python", "other.py", "-x"]),
        (("deep/a.ipynb",), ["python", "deep/a.py"]),
        (("bash", "run.sh"), ["bash", "run.sh"]),
    ],
)
def test_a_script_is_a_program_of_python_s(
    entry_point: tuple[str, ...], command: list[str]
) -> None:
    said = run_spec_of(a_grant(entry_point=entry_point), an_agent())
    assert said["overrides"]["entry_point"] == [*ALONE, *command]


def test_an_agent_that_locks_entry_points_is_told_of_none_but_another_one() -> None:
    locked = an_agent(facts={CLIENT_FACT: "wandb", "locks_entry_point": True})
    assert "entry_point" not in run_spec_of(a_grant(), locked)["overrides"]
    other = run_spec_of(a_grant(own=("other.py",)), locked)
    assert other["overrides"]["entry_point"] == ["python", "other.py"]


def test_an_image_is_named_and_a_job_of_one_is_a_job() -> None:
    image = {"source": {"kind": "image", "image": "box:2"}, "entry_point": ()}
    said = run_spec_of(a_grant(job=None, resource="local-container", **image), an_agent())
    assert said["docker"] == {"docker_image": "box:2"}
    assert "job" not in said
    job = run_spec_of(a_grant(resource="local-container", **image), an_agent())
    assert (job["docker"], job["job"]) == ({}, "ann/demo/train:v0")


def test_a_container_s_arguments_are_docker_s_options_again() -> None:
    args = {
        "env": {"A": "x y"}, "memory": "2g", "shm_size": "1g", "pids_limit": 9, "init": True,
        "read_only": False, "gpus": ["0", "1"], "labels": {"a": "b"}, "devices": ["/dev/fuse"],
        "mounts": [{"source": "/d", "target": "/d", "read_only": True}], "grace_s": 5,
        "ulimits": {"nofile": {"soft": 1, "hard": 2}, "core": 0}, "tmpfs": {"/t": "1m"},
        "builder": {"cuda": {"base_image": "cuda:12"}},
    }  # fmt: skip
    grant = a_grant(resource="local-container", resource_args={"local-container": args})
    said = run_spec_of(grant, an_agent())["resource_args"]["local-container"]
    assert said == {
        "env": ["A=x y"], "memory": "2g", "shm-size": "1g", "pids-limit": 9, "init": True,
        "gpus": '"device=0,1"', "label": ["a=b"], "device": ["/dev/fuse"], "volume": ["/d:/d:ro"],
        "ulimit": ["nofile=1:2", "core=0"], "tmpfs": ["/t:size=1m"],
        "builder": {"cuda": {"base_image": "cuda:12"}},
    }  # fmt: skip
    args.pop("grace_s"), args.pop("read_only")
    assert own_spelling({"local-container": said}) == {
        "local-container": {**args, "tmpfs": {"/t": "1m"}}
    }
    old = run_spec_of(grant, an_agent(version="wandb@0.20.1"))["resource_args"]["local-container"]
    assert (old["env"], old["memory"], old["pids-limit"]) == (["'A=x y'"], "2g", 9)
    other = {"ray": {"env": {"A": "1"}}}
    assert run_spec_of(a_grant(resource_args=other), an_agent())["resource_args"] == other


def test_what_an_agent_says_of_itself() -> None:
    assert read_agent_config(None) == (1, False)
    assert read_agent_config('{"max_jobs": -1, "secure_mode": true}') == (-1, True)
    for bad in ("[]", "{", '{"max_jobs": "x"}', '{"max_jobs": 1e999}'):
        with pytest.raises(Invalid, match=r"agentConfig|max_jobs"):
            read_agent_config(bad)
    assert status_of(an_agent()) == "POLLING"
    assert status_of(an_agent(used_slots=1)) == "RUNNING"
    assert status_of(an_agent(state=AgentState.GONE)) == "KILLED"


def test_stages_that_are_none_of_ours_are_where_programs_run() -> None:
    assert says_of({"message": "m", "stage": "Kubernetes"}).stage is Stage.RUN
    assert says_of({}).stage is Stage.AGENT
    assert says_of({"stage": "build", "filePaths": ["a"]}).files == ["a"]


def test_a_scheduler_is_told_to_its_agent_as_it_was_pushed() -> None:
    words = ("wandb", "scheduler", "s1")
    spec = a_grant(job=None, uri=SCHEDULER_URI, entry_point=words)
    said = run_spec_of(spec, an_agent())
    assert suits_clients(spec.spec)
    assert not suits_clients(replace(spec.spec, uri=None))
    assert said["uri"] == SCHEDULER_URI
    assert said["overrides"]["entry_point"] == list(words)
