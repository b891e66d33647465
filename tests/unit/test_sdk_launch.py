"""What `launch_add` sends, and what it refuses before anything is sent."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shipway
from shipway.domain.errors import Code, LaunchError
from shipway.sdk.launch import launch, launch_add
from tests.support.scripted_server import Answer, Asked, ScriptedServer, ok, scripted_server

DOCUMENTED = (
    "uri, job, config, template_variables, project, entity, queue_name, resource, entry_point, "
    "name, version, docker_image, project_queue, resource_args, run_id, build, repository, "
    "sweep_id, author, priority"
)
OURS = {"parameters", "queue", "idempotency_key", "dry_run", "include", "refresh"}
ITEM = {
    "id": "i1", "queue": "default", "project_queue": "model-registry", "entity": "ada",
    "project": "demo", "run_id": "r1", "priority": "medium", "state": "pending", "attempt": 0,
}  # fmt: skip


def answer(asked: Asked) -> Answer:
    """Answer as a server does that has no blobs and takes every item."""
    if asked.path.endswith("/blobs/missing"):
        return ok({"missing": asked.json["digests"]})
    if asked.path.endswith("/items"):
        return ok(ITEM, 201)
    return ok({"stored": 1})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    with scripted_server(answer) as made:
        for name in ("ENTITY", "PROJECT", "QUEUE", "AUTOSTART"):
            monkeypatch.delenv(f"SHIPWAY_{name}", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("SHIPWAY_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("SHIPWAY_BASE_URL", made.base_url)
        monkeypatch.setenv("SHIPWAY_API_KEY", "sw_k")
        yield made


def draft_in(server: ScriptedServer) -> dict[str, Any]:
    # A new capsule's draft is sent twice: before its files, so that it can be refused, and after.
    (body,) = {asked.body for asked in server.asked if asked.path.endswith("/items")}
    found: dict[str, Any] = json.loads(body)
    return found


def test_a_launch_that_is_refused_sends_no_files(server: ScriptedServer, tmp_path: Path) -> None:
    refusal = {"error": {"code": "not_found", "message": "there is no queue 'gpu'"}}

    def refuse(asked: Asked) -> Answer:
        is_item = asked.path.endswith("/items")
        return ok(refusal, 404) if is_item else answer(asked)

    server.script[:] = [refuse]
    (tmp_path / "main.py").write_text("print(1)\n")
    with pytest.raises(LaunchError, match="no queue 'gpu'"):
        launch_add(tmp_path, queue="gpu")
    assert [asked.path.rpartition("/")[2] for asked in server.asked] == ["missing", "items"]


@pytest.mark.parametrize("function", [launch_add, launch])
def test_the_signature_is_the_documented_one(function: Any) -> None:
    found = inspect.signature(function).parameters
    by_place = [name for name, p in found.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    by_name = {name for name, p in found.items() if p.kind is p.KEYWORD_ONLY}
    assert ", ".join(by_place) == DOCUMENTED
    assert by_name == OURS
    assert all(p.default is not p.empty for p in found.values())


def test_the_package_gives_the_public_names() -> None:
    assert set(shipway.__all__) <= set(dir(shipway))
    for name in set(shipway.__all__) - {"init"}:
        assert getattr(shipway, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lunch'"):
        _ = shipway.lunch  # type: ignore[attr-defined]  # that is the point


def test_every_parameter_may_be_given_by_place(server: ScriptedServer) -> None:
    queued = launch_add(
        None, None, {"lr": 1}, None, "demo", "ada", "gpu", "local-container", ["run.sh"], "title",
        None, "img:1", "team-queues", {"local-container": {}}, "run1",
        False,  # noqa: FBT003 - by place
        None, "s1", "Ada", 1,
        parameters={"alpha": 0.5}, refresh=True,
    )  # fmt: skip
    assert draft_in(server) == {
        "docker_image": "img:1", "run_config": {"lr": 1}, "project": "demo", "entity": "ada",
        "queue": "gpu", "resource": "local-container", "entry_point": ["run.sh"], "name": "title",
        "project_queue": "team-queues", "resource_args": {"local-container": {}}, "run_id": "run1",
        "sweep_id": "s1", "author": "Ada", "priority": 1, "parameters": {"alpha": 0.5},
        "refresh": True,
    }  # fmt: skip
    assert (queued.id, queued.queue_name, queued.run_id) == ("i1", "default", "r1")


def test_a_call_has_a_key_of_its_own_unless_it_is_given(server: ScriptedServer) -> None:
    launch_add(docker_image="a")
    launch_add(docker_image="a")
    launch_add(docker_image="a", idempotency_key="mine")
    keys = [asked.headers["idempotency-key"] for asked in server.asked]
    assert len(set(keys)) == 3
    assert keys[-1] == "mine"


def test_a_directory_is_packed_sent_and_pinned(server: ScriptedServer, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "main.py").write_text("print(1)\n")
    launch_add(code, parameters={"alpha": 0.5, "l1_ratio": 0.01})
    sent = draft_in(server)
    assert sent["source"]["kind"] == "capsule"
    assert sent["source"]["files"] == 1
    assert sent["uri"] == str(code)
    assert sent["parameters"] == {"alpha": 0.5, "l1_ratio": 0.01}
    assert [asked.path for asked in server.asked][-1] == "/api/v1/items"


def test_an_entry_point_that_is_not_there_is_refused(
    server: ScriptedServer, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "main.py").write_text("")
    with pytest.raises(LaunchError, match=r"train\.py") as caught:
        launch_add(str(code), entry_point=["train.py"])
    assert caught.value.code is Code.INVALID
    assert caught.value.details["field"] == "entry_point"
    assert server.asked == []


def test_a_run_of_this_server_is_launched_again(server: ScriptedServer) -> None:
    launch_add(f"{server.base_url}/ada/demo/runs/r0", project="other")
    sent = draft_in(server)
    assert sent["run"] == "ada/demo/r0"
    assert sent["project"] == "other"
    assert "source" not in sent


def test_the_environment_fills_in_entity_project_and_queue(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIPWAY_PROJECT", "env-project")
    monkeypatch.setenv("SHIPWAY_ENTITY", "env-entity")
    monkeypatch.setenv("SHIPWAY_QUEUE", "env-queue")
    launch_add(docker_image="a", entity="given")
    sent = draft_in(server)
    assert (sent["entity"], sent["project"], sent["queue"]) == (
        "given", "env-project", "env-queue",
    )  # fmt: skip


def test_a_jobs_own_project_ranks_over_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIPWAY_PROJECT", "env-project")
    launch_add(job="team/vision/train:latest")
    assert "project" not in draft_in(server)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, Code.INVALID),
        ({"uri": ".", "docker_image": "x"}, Code.INVALID),
        ({"uri": "-x"}, Code.INVALID),
        ({"uri": 3}, Code.INVALID),
        ({"uri": "/no/such/directory"}, Code.INVALID),
        ({"job": "train"}, Code.INVALID),
        ({"docker_image": "x", "priority": "urgent"}, Code.INVALID),
        ({"docker_image": "x", "priority": True}, Code.INVALID),
        ({"docker_image": "x", "config": {"overrides": {"args": [1]}}}, Code.INVALID),
        ({"docker_image": "x", "config": {"data": "x" * 10_000_000}}, Code.TOO_LARGE),
        ({"docker_image": "x", "queue": "a", "queue_name": "b"}, Code.INVALID),
        ({"docker_image": "x", "include": ["a"]}, Code.INVALID),
        ({"docker_image": "x", "idempotency_key": ""}, Code.INVALID),
        ({"docker_image": "x", "idempotency_key": "ä"}, Code.INVALID),
        ({"docker_image": "x", "queue_name": ["a", "b"]}, Code.NOT_AVAILABLE),
        ({"docker_image": "x", "queue": ["a", "b"]}, Code.NOT_AVAILABLE),
        ({"docker_image": "x", "template_variables": ["a"]}, Code.INVALID),
        ({"docker_image": "x", "build": True}, Code.INVALID),
        ({"docker_image": "x", "repository": "r:t"}, Code.INVALID),
        ({"docker_image": "x", "dry_run": True}, Code.NOT_AVAILABLE),
    ],
)
def test_bad_input_is_a_launch_error_and_nothing_is_sent(
    server: ScriptedServer, arguments: dict[str, Any], code: Code
) -> None:
    with pytest.raises(LaunchError) as caught:
        launch_add(**arguments)
    assert caught.value.code is code
    assert server.asked == []


def test_the_servers_refusal_keeps_code_and_details(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = ok(
        {"error": {"code": "not_found", "message": "no queue 'q'", "details": {"queue": "q"}}}, 404
    )
    with scripted_server(refusal) as server:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("SHIPWAY_BASE_URL", server.base_url)
        monkeypatch.setenv("SHIPWAY_API_KEY", "sw_k")
        with pytest.raises(LaunchError, match="no queue 'q'") as caught:
            launch_add(docker_image="x", queue="q")
    assert caught.value.code is Code.NOT_FOUND
    assert caught.value.details == {"queue": "q"}
