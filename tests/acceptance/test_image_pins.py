"""What a launch of an image sends: its digest, asked of a real registry at submit."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipway.cli.main import run
from shipway.domain.draft import Draft
from shipway.domain.errors import Code, LaunchError
from shipway.sdk.launch import launch_add
from tests.support.engines import a_registry
from tests.support.pushed_image import push_image
from tests.support.scripted_server import Answer, Asked, ScriptedServer, ok, scripted_server

ITEM = {
    "id": "i1", "queue": "default", "project_queue": "model-registry", "entity": "ada",
    "project": "demo", "run_id": "r1", "priority": "medium", "state": "pending", "attempt": 0,
    "url": "http://x/i1",
}  # fmt: skip


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with a_registry(tmp_path_factory.mktemp("registry") / "r") as address:
        yield address


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/jobs"):
            return ok({**asked.json, "address": "ada/demo/box:v0"}, 201)
        return ok(ITEM, 201)

    with scripted_server(answer) as made:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("SHIPWAY_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("SHIPWAY_BASE_URL", made.base_url)
        monkeypatch.setenv("SHIPWAY_API_KEY", "sw_k")
        monkeypatch.chdir(tmp_path)
        yield made


def sent(server: ScriptedServer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.asked[-1].body)
    return found


def test_an_image_is_pinned_by_digest_with_its_platforms(
    registry: str, server: ScriptedServer
) -> None:
    digest = push_image(registry, "team/train", "1", "linux/amd64", "linux/arm64/v8")
    queued = launch_add(docker_image=f"{registry}/team/train:1")
    assert queued.notes == ()
    draft = sent(server)
    assert draft == {
        "source": {
            "kind": "image", "image": f"{registry}/team/train:1", "digest": digest,
            "platforms": ["linux/amd64", "linux/arm64"],
        }
    }  # fmt: skip
    assert Draft.from_json(draft).source == draft["source"]
    push_image(registry, "team/train", "1", "linux/s390x")
    launch_add(docker_image=f"{registry}/team/train@{digest}")
    assert sent(server)["source"]["digest"] == digest


def test_an_image_that_is_not_there_is_refused(registry: str, server: ScriptedServer) -> None:
    push_image(registry, "team/train", "1", "linux/amd64")
    for name in ("team/train:2", "team/else:1", "team/train@sha256:" + "0" * 64):
        words = f"'{registry}/{name}' is not there: the registry {registry} has no such image"
        with pytest.raises(LaunchError, match=words) as caught:
            launch_add(docker_image=f"{registry}/{name}")
        assert caught.value.code is Code.INVALID
        assert caught.value.details["field"] == "docker_image"
    assert server.asked == []


def test_a_platform_that_the_image_has_not_is_refused(
    registry: str, server: ScriptedServer
) -> None:
    push_image(registry, "arm", "1", "linux/arm64")
    asked = {"local-container": {"platform": "linux/amd64"}}
    with pytest.raises(LaunchError, match=f"'linux/amd64', but {registry}/arm:1 has: linux/arm64"):
        launch_add(docker_image=f"{registry}/arm:1", resource_args=asked)
    assert server.asked == []
    launch_add(
        docker_image=f"{registry}/arm:1",
        resource_args={"local-container": {"platform": "linux/aarch64"}},
    )
    assert sent(server)["source"]["platforms"] == ["linux/arm64"]


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("train:1", "names no registry.* write docker.io/library/train:1 where Docker Hub's"),
        ("team/train", "write docker.io/team/train:latest where"),
        ("localhost/train:1", "is an engine's own image"),
        ("127.0.0.1:1/train:1", r"registry 127\.0\.0\.1:1 does not answer: .*refused"),
    ],
)
def test_what_cannot_be_asked_for_is_queued_as_it_is(
    server: ScriptedServer, image: str, why: str
) -> None:
    began = time.monotonic()
    queued = launch_add(docker_image=image)
    assert time.monotonic() - began < 5
    assert sent(server) == {"docker_image": image}
    (note,) = queued.notes
    assert note.startswith("digest not resolved: ")
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(note)


def test_a_digest_in_the_name_needs_no_answer(server: ScriptedServer) -> None:
    digest = "sha256:" + "a" * 64
    queued = launch_add(docker_image=f"127.0.0.1:1/train@{digest}")
    assert sent(server)["source"]["digest"] == digest
    assert queued.notes == ()


def test_nobody_is_asked_where_that_is_set(
    registry: str, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIPWAY_PIN_IMAGES", "0")
    queued = launch_add(docker_image=f"{registry}/not/there")
    assert sent(server) == {"docker_image": f"{registry}/not/there"}
    assert queued.notes == ()


def test_the_command_line_pins_and_says_why_not(
    registry: str, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = push_image(registry, "team/train", "1", "linux/amd64")
    image = f"{registry}/team/train:1"
    assert run(["job", "create", "image", image, "--name", "box"]) == 0
    assert sent(server)["source"] == {
        "kind": "image", "image": image, "digest": digest, "platforms": ["linux/amd64"],
    }  # fmt: skip
    assert run(["job", "create", "image", "train:1", "--name", "box"]) == 0
    assert run(["launch", "-d", "train:1"]) == 0
    assert capsys.readouterr().err.count("shipway: digest not resolved: train:1 names no") == 2
    assert run(["job", "create", "image", f"{image}2", "--name", "box"]) != 0
    assert "has no such image" in capsys.readouterr().err
