"""Code becomes an image and runs: built by an agent or at submit, pushed, found again, failed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.embedded import Embedded, embedded, git
from tests.support.engines import BASE, ENGINES, TestEngine, a_registry, an_engine, trust

DOCKERFILE = f"FROM {BASE}\nWORKDIR /app\nCOPY . .\n"
MAIN = "import os, shipway\nrun = shipway.init()\nrun.summary['at'] = os.getcwd()\nprint('built')\n"
ADD = """\
import json, sys
from shipway import LaunchError, launch_add
asked, count = json.loads(sys.argv[1]), int(sys.argv[2])
items = [launch_add(**asked) for _ in range(count)]
found = []
for item in items:
    try:
        run = item.wait_until_finished(timeout=180)
    except LaunchError as error:
        tail = item.error.log_tail if item.error else ()
        found.append({"stage": error.stage, "error": str(error), "tail": list(tail)})
    else:
        log = [str(line) for line in item.logs()]
        found.append({"state": run.state, "summary": dict(run.summary), "log": log})
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=ENGINES)
def lent(request: pytest.FixtureRequest) -> Iterator[TestEngine]:
    with an_engine(request.param) as engine:
        yield engine


@pytest.fixture(scope="module")
def shipway(lent: TestEngine) -> Iterator[Embedded]:
    with embedded(**lent.env) as made:
        made.configure_agent(max_jobs=4)
        made.up()
        yield made
        made.run("down", "--stop")
        assert lent.containers() == []


@pytest.fixture(scope="module")
def registry(lent: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with a_registry(tmp_path_factory.mktemp("registry") / "r") as address:
        trust(lent, address)
        yield address


def a_repository(folder: Path, dockerfile: str = DOCKERFILE) -> Path:
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(MAIN)
    (folder / "Dockerfile.shipway").write_text(dockerfile)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "Train")
    return folder


def added(
    shipway: Embedded, *, count: int = 1, path: str | None = None, **asked: Any
) -> list[dict[str, Any]]:
    env = shipway.env if path is None else {**shipway.env, "PATH": path}
    done = subprocess.run(
        [sys.executable, "-c", ADD, json.dumps(asked), str(count)],
        env=env, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_an_agent_builds_pushes_and_runs_and_never_builds_again(
    shipway: Embedded, lent: TestEngine, registry: str, tmp_path: Path
) -> None:
    code = a_repository(tmp_path / "code")
    repository = f"{registry}/team/train"
    asked = {"uri": str(code), "resource": "local-container", "repository": repository}
    many = added(shipway, count=20, **asked)
    assert [one["summary"] for one in many] == [{"at": "/app"}] * 20
    images = lent.engine.run("images", "-q", repository).decode().split()
    assert len(set(images)) == 1
    logs = [_build_log(shipway, number) for number in range(20)]
    assert sum("built in" in log for log in logs) == 1
    lent.engine.run("rmi", "--force", *set(images))
    began = time.monotonic()
    (again,) = added(shipway, **asked)
    assert again["log"] == ["built"], again
    assert "built in" not in _build_log(shipway, 0)  # it was pulled
    assert time.monotonic() - began < 60


def test_an_image_is_built_at_submit_and_queued_as_a_job(
    shipway: Embedded, registry: str, tmp_path: Path
) -> None:
    code = a_repository(tmp_path / "hello")
    (found,) = added(
        shipway, uri=str(code), build=True, repository=f"{registry}/team/hello", project="demo"
    )
    assert found["log"] == ["built"], found
    job = json.loads(shipway.run("job", "describe", "admin/demo/hello-image", "--json"))
    assert job["kind"] == "image"
    assert f"{registry}/team/hello@sha256:" in job["source"]["image"]
    (same,) = added(shipway, uri=str(code), build=True, repository=f"{registry}/team/hello")
    assert same["state"] == "finished"


def test_a_submitter_without_an_engine_leaves_the_build_to_an_agent(
    shipway: Embedded, tmp_path: Path
) -> None:
    code = a_repository(tmp_path / "elsewhere")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to(str(shutil.which("git")))
    (found,) = added(shipway, uri=str(code), build=True, path=str(tmp_path / "bin"))
    assert found["summary"] == {"at": "/app"}, found
    assert "built in" in _build_log(shipway, 0)


def test_a_failing_dockerfile_shows_its_log(shipway: Embedded, tmp_path: Path) -> None:
    broken = DOCKERFILE + "RUN echo these are the words && false\n"
    code = a_repository(tmp_path / "broken", broken)
    (found,) = added(shipway, uri=str(code), resource="local-container")
    assert found["stage"] == "build"
    assert any("these are the words" in line for line in [*found["tail"], found["error"]]), found
    done = subprocess.run(
        [sys.executable, "-m", "shipway", "launch", "-u", str(code), "-r", "local-container",
         "--follow"],
        env=shipway.env, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 70
    assert "these are the words" in done.stdout + done.stderr


def _build_log(shipway: Embedded, number: int) -> str:
    """Return the build log of the item that is so many before the last."""
    rows = json.loads(shipway.run("item", "ls", "--json"))["items"]
    return shipway.run("item", "logs", rows[number]["id"], "--stream", "build")
