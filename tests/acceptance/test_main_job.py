"""The main job from end to end: a git repository, a real model on real data, a finished run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipway.testing.git_server import GitServer
from tests.support.embedded import Embedded, embedded, git

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_elasticnet"
DOCUMENTED = """\
import json, sys
from shipway import launch_add

item = launch_add(uri=sys.argv[1], parameters={"alpha": 0.5, "l1_ratio": 0.01})
run = item.wait_until_finished(timeout=300)
print(json.dumps([run.state, dict(run.config), dict(run.summary), run.exit_code,
                  [str(line) for line in item.logs()]]))
"""
CLEAN_ROOM = """\
import json, os, sys
import shipway
from cleanroom import VALUE

run = shipway.init()
run.log({"value": VALUE})
run.summary["seen"] = {
    "environment": sorted(os.environ), "path": sys.path, "prefix": sys.prefix,
    "python": sys.implementation.name, "shipway": shipway.__file__,
    "agent_packages": [name for name in ("click", "fastapi", "msgspec", "uvicorn") if find(name)],
}


def main():
    print("hello from the console script")
"""


@pytest.fixture
def shipway() -> Iterator[Embedded]:
    with embedded(SHIPWAY_GIT_PROTOCOLS="https,ssh,http") as made:
        made.configure_agent(queues=["default"], max_jobs=2, git_protocols=["https", "ssh", "http"])
        made.up()
        yield made


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_documented_example_trains_and_keeps_its_score(shipway: Embedded) -> None:
    """Earns: the headline use, on a remote git repository with scikit-learn and real data."""
    repository = shipway.root / "served" / "elasticnet"
    shutil.copytree(EXAMPLE, repository)
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Train")
    with GitServer(shipway.root / "served").running() as server:
        done = subprocess.run(
            [sys.executable, "-c", DOCUMENTED, f"{server.url}/elasticnet/.git"],
            env=shipway.env, capture_output=True, text=True, check=False, timeout=350,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    state, config, summary, exit_code, log = json.loads(done.stdout.splitlines()[-1])
    assert (state, exit_code) == ("finished", 0)
    assert (config["alpha"], config["l1_ratio"]) == (0.5, 0.01)
    assert 0 < summary["r2"] < 1
    assert any("0.5" in line for line in log)


def test_a_directory_runs_without_any_environment(shipway: Embedded) -> None:
    source = shipway.root / "plain"
    source.mkdir()
    (source / "main.py").write_text("import sys\nprint('out')\nprint('err', file=sys.stderr)\n")
    shipway.run("launch", "-u", str(source), "--follow")
    items = json.loads(shipway.run("item", "ls", "--json"))["items"]
    assert [item["state"] for item in items] == ["finished"]


def test_a_program_that_fails_tells_its_code(shipway: Embedded) -> None:
    source = shipway.root / "failing"
    source.mkdir()
    (source / "main.py").write_text("raise SystemExit(7)\n")
    done = subprocess.run(
        [sys.executable, "-m", "shipway", "launch", "-u", str(source), "--follow"],
        env={**os.environ, **shipway.env}, check=False, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
