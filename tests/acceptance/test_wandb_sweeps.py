"""Sweeps of the unmodified wandb client: made, worked off by its agents, stopped, read back."""

from __future__ import annotations

import contextlib
import json
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.rest_server import Running, running
from tests.support.wandb_client import VERSIONS, WandbClient, client_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

END_S = 150.0
TRAIN = """
    import argparse, sys, time
    import wandb
    given = argparse.ArgumentParser()
    for name in ("x", "y", "sleep"):
        given.add_argument("--" + name, type=float, default=0.0)
    given = given.parse_args()
    run = wandb.init()
    time.sleep(given.sleep)
    run.log({"loss": (given.x - 3) ** 2 + given.y})
    run.finish()
"""
NINE = {
    "program": "train.py", "method": "grid", "name": "nine",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"values": [1, 2, 3]}, "y": {"min": 0, "max": 2}},
}  # fmt: skip


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Name each client once."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Give a server of ann's."""
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


def client(version: str, server: Running, folder: Path) -> WandbClient:
    """Return ann's client."""
    assert server.admin.key is not None
    return WandbClient(
        python=client_python(version),
        folder=folder,
        base_url=f"http://127.0.0.1:{server.port}",
        key=server.admin.key,
    )


class Shell:
    """A user's folder with a program in it, and the client's own command line."""

    def __init__(self, ann: WandbClient) -> None:
        self.ann = ann
        self.folder = ann.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "train.py").write_text(textwrap.dedent(TRAIN))

    def wandb(self, *args: str, check: bool = True) -> str:
        """Run a command of the client to its end."""
        argv = [str(self.ann.python.with_name("wandb")), *args]
        done = subprocess.run(
            argv, env=self._env(), cwd=self.folder, capture_output=True, text=True,
            timeout=END_S, check=False,
        )  # fmt: skip
        text = done.stdout + done.stderr
        assert not check or done.returncode == 0, text
        return text

    def sweep(self, config: dict[str, Any], *args: str) -> str:
        """Make a sweep and return its id."""
        (self.folder / "sweep.yaml").write_text(json.dumps(config))
        said = self.wandb("sweep", "-p", "demo", *args, "sweep.yaml")
        line = next(line for line in said.splitlines() if "wandb agent" in line)
        return line.rpartition("/")[2].strip().removesuffix("\x1b[0m")

    @contextlib.contextmanager
    def agent(self, sweep: str, *args: str) -> Iterator[subprocess.Popen[str]]:
        """Start an agent of the client; it is ended with the block if it still runs."""
        argv = [str(self.ann.python.with_name("wandb")), "agent", *args, f"ann/demo/{sweep}"]
        with (self.folder / "agents.log").open("a") as log:
            process = subprocess.Popen(
                argv, env=self._env(), cwd=self.folder, text=True, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def log(self) -> str:
        """Return what the agents said."""
        return (self.folder / "agents.log").read_text()

    def _env(self) -> dict[str, str]:
        path = str(self.ann.python.parent)  # agents start `/usr/bin/env python`
        own = self.ann.env(WANDB_AGENT_DISABLE_FLAPPING="true")
        return {**own, "PATH": f"{path}:{own.get('PATH', '')}"}


def runs_of(server: Running, sweep: str) -> list[dict[str, Any]]:
    """Return a sweep's runs as REST shows them."""
    found = server.admin.get(f"/api/v1/sweeps/ann/demo/{sweep}/runs").json["items"]
    return list(found)


def test_two_agents_try_each_combination_of_a_grid_once(
    version: str, server: Running, tmp_path: Path
) -> None:
    """Earns: `wandb sweep` and `wandb agent` do what they do elsewhere, exact and counted."""
    shell = Shell(client(version, server, tmp_path / "ann"))
    sweep = shell.sweep(NINE)
    with shell.agent(sweep) as one, shell.agent(sweep) as two:
        codes = (one.wait(END_S), two.wait(END_S))
    assert codes == (0, 0), shell.log()
    runs = runs_of(server, sweep)
    tried = sorted((run["config"]["x"], run["config"]["y"]) for run in runs)
    assert tried == [(x, y) for x in (1, 2, 3) for y in (0, 1, 2)]
    assert {run["state"] for run in runs} == {"finished"}, shell.log()
    done = shell.ann.run(f"""
        api = wandb.Api()
        sweep = api.sweep("ann/demo/{sweep}")
        best = sweep.best_run()
        found = list(api.project("demo", "ann").sweeps())
        say(
            state=sweep.state, count=len(sweep.runs), expected=sweep.expected_run_count,
            best=[best.config["x"], best.config["y"]], of=best.sweep_name, name=sweep.name,
            method=sweep.config["method"], found=[one.id for one in found],
        )
    """)
    assert done.last == {
        "state": "FINISHED", "count": 9, "expected": 9, "best": [3, 0], "of": sweep,
        "name": "nine", "method": "grid", "found": done.last["found"],
    }  # fmt: skip
    assert sweep in done.last["found"]
