"""Containers from launch_add to the finished run, on docker and on podman."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.embedded import Embedded, embedded, until
from tests.support.engines import BASE, ENGINES, TestEngine, an_engine

PROGRAM = """\
import json, os, shipway
run = shipway.init()
for step in range(3):
    run.log({"loss": 1.0 / (step + 1)})
with open("/tmp/note.txt", "w") as file:
    file.write("kept")
run.save("/tmp/note.txt")
run.summary["alpha"] = run.config["alpha"]
run.summary["home"] = os.environ.get("HOME")
agents = ("SECRET_OF_THE_AGENT", "DOCKER_HOST")
run.summary["agents"] = [name for name in os.environ if name in agents]
print("seen from inside")
"""
FOLLOW = """\
import json, sys
from shipway import LaunchError, launch_add
asked = json.loads(sys.argv[1])
item = launch_add(**asked)
try:
    run = item.wait_until_finished(timeout=120)
except LaunchError as error:
    print(json.dumps({"error": str(error), "stage": error.stage, "tail": error.log_tail}))
else:
    print(json.dumps({
        "state": run.state, "exit_code": run.exit_code, "config": dict(run.config),
        "summary": dict(run.summary), "files": [f.path for f in run.files()],
        "losses": [row["loss"] for row in run.history() if "loss" in row],
        "log": [str(line) for line in item.logs()],
    }))
"""


@pytest.fixture(scope="module", params=ENGINES)
def lent(request: pytest.FixtureRequest) -> Iterator[TestEngine]:
    with an_engine(request.param) as engine:
        yield engine


@pytest.fixture(scope="module")
def shipway(lent: TestEngine) -> Iterator[Embedded]:
    with embedded(**lent.env, SECRET_OF_THE_AGENT="1") as made:
        made.configure_agent(max_jobs=4)
        made.up()
        yield made
        made.run("down", "--stop")
        assert lent.containers() == []


def launched(shipway: Embedded, **asked: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", FOLLOW, json.dumps(asked)],
        env=shipway.env, capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_an_image_runs_tracked_and_sees_nothing_of_the_agent(shipway: Embedded) -> None:
    entry = ["python3", "-c", PROGRAM]
    found = launched(
        shipway,
        docker_image=BASE,
        entry_point=entry,
        config={"alpha": 0.5},
        resource_args={"local-container": {"env": {"HOME": "/elsewhere"}}},
    )
    assert (found["state"], found["exit_code"]) == ("finished", 0), found["log"]
    assert found["config"] == {"alpha": 0.5}
    assert found["summary"] == {
        "alpha": 0.5,
        "home": "/elsewhere",
        "agents": [],
        "loss": pytest.approx(1 / 3),
    }
    assert found["losses"] == [1.0, 0.5, pytest.approx(1 / 3)]
    assert found["files"] == ["tmp/note.txt"]
    assert "seen from inside" in found["log"]


def test_whoever_it_runs_as_its_run_is_tracked(shipway: Embedded) -> None:
    program = "import os, shipway; shipway.init().summary['uid'] = os.getuid()"
    found = launched(
        shipway,
        docker_image=BASE,
        entry_point=["python3", "-c", program],
        resource_args={"local-container": {"user": "65534", "read_only": True}},
    )
    assert found["summary"] == {"uid": 65534}, found["log"]


def test_args_and_entry_points_override_the_image_s(shipway: Embedded) -> None:
    words = launched(
        shipway, docker_image=BASE, config={"overrides": {"args": ["python3", "-c", "print(7)"]}}
    )
    assert words["log"] == ["7"]
    both = launched(
        shipway, docker_image=BASE, entry_point=["echo", "a b"], parameters={"alpha": 0.5}
    )
    assert both["log"] == ["a b --alpha 0.5"]


def test_code_runs_in_a_base_image_without_a_build(shipway: Embedded) -> None:
    source = shipway.root / "code"
    (source / "lib").mkdir(parents=True)
    (source / "lib" / "__init__.py").write_text("VALUE = 41\n")
    (source / "main.py").write_text(
        "import os, lib, shipway\nrun = shipway.init()\nrun.summary['value'] = lib.VALUE + 1\n"
        "marks = ('/.dockerenv', '/run/.containerenv')\n"
        "print(os.getcwd(), any(map(os.path.exists, marks)))\n"
    )
    found = launched(
        shipway,
        uri=str(source),
        resource="local-container",
        resource_args={"local-container": {"base_image": BASE}},
    )
    assert found.get("state") == "finished", found
    assert found["summary"] == {"value": 42}
    assert found["log"] == ["/workspace True"]


def test_an_image_that_is_nowhere_fails_with_the_engine_s_reason(shipway: Embedded) -> None:
    found = launched(
        shipway,
        docker_image="localhost/nowhere:1",
        resource_args={"local-container": {"pull": "never"}},
    )
    assert found["stage"] == "source"
    assert "has no image localhost/nowhere:1" in found["error"]


def test_the_agent_s_death_changes_nothing(shipway: Embedded, lent: TestEngine) -> None:
    script = "echo one; sleep 4; echo two; exit 3"
    item = json.loads(shipway.run("launch", "-d", BASE, "-E", f"sh -c '{script}'", "--json"))["id"]
    until(lambda: "one" in shipway.run("item", "logs", item), within_s=60, what="its first line")
    assert shipway.kill("agent")
    until(lambda: _item(shipway, item)["state"] == "failed", within_s=90, what="the item's end")
    assert _item(shipway, item)["attempt"] == 1
    assert shipway.run("item", "logs", item) == "one\ntwo\n"


def test_a_cancel_ends_the_container(shipway: Embedded, lent: TestEngine) -> None:
    item = json.loads(
        shipway.run("launch", "-d", BASE, "-E", "sh -c 'echo up; sleep 1000'", "--json")
    )["id"]
    until(lambda: "up" in shipway.run("item", "logs", item), within_s=60, what="its first line")
    shipway.run("item", "cancel", item, "--grace", "1")
    until(lambda: _item(shipway, item)["state"] == "stopped", within_s=60, what="the item's end")
    until(lambda: lent.containers() == [], within_s=30, what="the container's removal")


def _item(shipway: Embedded, item: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shipway.run("item", "show", item, "--json"))
    return found
