"""Launched sweeps of the unmodified wandb client: their scheduler and their runs on our queue."""

from __future__ import annotations

import json
import subprocess
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.support.embedded import Embedded, embedded, until
from tests.support.wandb_agent import launch_agent
from tests.support.wandb_client import VERSION, WandbClient, client_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

END_S = 400.0
TRAIN = """
import shipway
run = shipway.init()
run.log({"loss": (run.config["x"] - 2) ** 2 + run.config["y"]})
"""
EITHER = """
import time, wandb
with wandb.init() as run:
    time.sleep(3)  # long enough for an agent that looks every ten seconds
    run.log({"loss": (run.config["x"] - 2) ** 2 + run.config["y"]})
"""
SWEEP = {
    "method": "grid", "name": "launched", "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"values": [1, 2, 3]}, "y": {"values": [0, 1, 2]}},
    "scheduler": {"num_workers": 3},
}  # fmt: skip


class Launcher:
    """A user's folder, and the client's own command line against an embedded shipway."""

    def __init__(self, shipway: Embedded, version: str) -> None:
        told = shipway.server()
        self._told = told
        self.entity = str(told["entity"])
        self.client = WandbClient(
            python=client_python(version), folder=shipway.root / "user",
            base_url=told["base_url"], key=told["api_key"],
        )  # fmt: skip
        self.folder = self.client.folder
        self.folder.mkdir()

    def wandb(self, *args: str, check: bool = True) -> str:
        """Run a command of the client to its end."""
        argv = [str(self.client.python.with_name("wandb")), *args]
        done = subprocess.run(
            argv, env=self.client.env(), cwd=self.folder, capture_output=True, text=True,
            timeout=END_S, check=False,
        )  # fmt: skip
        text = done.stdout + done.stderr
        assert not check or done.returncode == 0, text
        return text

    def write(self, path: str, text: str) -> None:
        """Write a file of the user's."""
        file = self.folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def launch(self, config: dict[str, Any], *args: str, check: bool = True) -> str:
        """Launch a sweep; return what the client said."""
        self.write("sweep.json", json.dumps(config))
        where = ["-e", self.entity, "-p", "demo", "-q", "default"]
        return self.wandb("launch-sweep", *where, *args, "sweep.json", check=check)

    def ask(self, path: str) -> Any:
        """Return what REST says."""
        headers = {"Authorization": f"Bearer {self._told['api_key']}"}
        request = Request(self._told["base_url"] + path, headers=headers)  # noqa: S310 - our own server
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            return json.load(answer)

    def sweeps(self) -> list[dict[str, Any]]:
        """Return the sweeps of the project."""
        found = self.ask(f"/api/v1/sweeps?entity={self.entity}&project=demo")["items"]
        return list(found)


def test_a_sweep_is_launched_with_its_scheduler_on_the_same_queue() -> None:
    """Earns: `wandb launch-sweep` needs nothing but an agent of ours: scheduler and nine runs."""
    client_python(VERSION)  # skips where there is none
    with embedded() as shipway:
        shipway.configure_agent(max_jobs=4)
        shipway.up()
        user = Launcher(shipway, VERSION)
        user.write("code/train.py", TRAIN)
        user.write("code/requirements.txt", "")
        create = ["job", "create", "-p", "demo", "-n", "train", "-E", "python train.py", "code"]
        user.wandb(*create, "code")
        config = {**SWEEP, "job": f"{user.entity}/demo/train:latest"}
        said = user.launch(config, "-q", "nothing", check=False)
        assert "nothing" in said
        assert user.sweeps() == [], "an unknown queue leaves nothing"
        assert "Scheduler added to launch queue (default)" in user.launch(config)
        (sweep,) = user.sweeps()
        assert sweep["state"] in {"pending", "running"}
        until(
            lambda: user.sweeps()[0]["state"] == "finished", within_s=END_S,
            what="the sweep is finished",
        )  # fmt: skip
        scheduler = user.ask(f"/api/v1/items/{sweep['scheduler_item']}")
        runs = user.ask(f"/api/v1/sweeps/{user.entity}/demo/{sweep['id']}/runs")["items"]
        log = shipway.run("item", "logs", str(scheduler["id"]), "--json")
        tried = sorted((run["config"]["x"], run["config"]["y"]) for run in runs)
        assert tried == [(x, y) for x in (1, 2, 3) for y in (0, 1, 2)], log
        assert {run["state"] for run in runs} == {"finished"}, log
        assert all(run["item_id"] for run in runs)
        assert {run["sweep_id"] for run in runs} == {sweep["id"]}
        until(
            lambda: user.ask(f"/api/v1/items/{scheduler['id']}")["state"] == "finished",
            within_s=END_S, what="the scheduler has ended",
        )  # fmt: skip
        assert user.sweeps()[0]["state"] == "finished", "it leaves the sweep as it is"


def test_agents_of_both_kinds_run_a_launched_sweep() -> None:
    """Earns: wandb's agent runs the scheduler, ours joins it; each combination runs once."""
    client_python(VERSION)  # skips where there is none
    with embedded() as shipway:
        shipway.run("up", "--detach", "--no-agent")
        user = Launcher(shipway, VERSION)
        user.write("code/train.py", EITHER)
        user.write("code/requirements.txt", f"wandb=={VERSION}\n")
        create = ["job", "create", "-p", "demo", "-n", "train", "-E", "python train.py", "code"]
        user.wandb(*create, "code")
        (user.folder / "tmp").mkdir()
        with launch_agent(user.client, "-e", user.entity, "-q", "default", "-j", "1") as agent:
            user.launch({**SWEEP, "job": f"{user.entity}/demo/train:latest"})
            (sweep,) = user.sweeps()
            scheduler = sweep["scheduler_item"]
            until(
                lambda: user.ask(f"/api/v1/items/{scheduler}")["state"] == "running",
                within_s=END_S, what="wandb's agent runs the scheduler",
            )  # fmt: skip
            shipway.run("down")
            shipway.configure_agent(max_jobs=1)
            shipway.up()
            until(
                lambda: user.ask(f"/api/v1/items/{scheduler}")["state"] == "finished",
                within_s=END_S, what="the scheduler has ended",
            )  # fmt: skip
            said = agent.said()
        runs = user.ask(f"/api/v1/sweeps/{user.entity}/demo/{sweep['id']}/runs")["items"]
        tried = sorted((run["config"]["x"], run["config"]["y"]) for run in runs)
        assert tried == [(x, y) for x in (1, 2, 3) for y in (0, 1, 2)], said
        assert {run["state"] for run in runs} == {"finished"}, said
        took = {
            event["actor"]
            for run in runs
            for event in user.ask(f"/api/v1/items/{run['item_id']}/events")["items"]
            if event["event"] == "lease"
        }
        assert len(took) == 2, said
        assert user.sweeps()[0]["state"] == "finished"
