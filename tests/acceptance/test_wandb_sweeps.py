"""Sweeps of the unmodified wandb client: made, worked off by its agents, stopped, read back."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.support.embedded import until
from tests.support.server_process import ServerProcess, server_process
from tests.support.wandb_client import VERSION, VERSIONS, WandbClient, client_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

END_S = 150.0
TRAIN = """
    import argparse, sys, time
    import wandb
    given = argparse.ArgumentParser()
    for name in ("x", "y"):
        given.add_argument("--" + name, type=float, default=0.0)
    given = given.parse_args()
    run = wandb.init(settings=wandb.Settings(x_file_stream_transmit_interval=1))
    loss = (given.x - 3) ** 2 + given.y
    for _ in range(2):
        run.log({"loss": loss})
    while not 0 <= loss <= 30:  # until it is stopped
        time.sleep(0.1)
    run.finish()
"""
NINE = {
    "program": "train.py", "method": "grid", "name": "nine",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"values": [1, 2, 3]}, "y": {"min": 0, "max": 2}},
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Give a server that can be killed."""
    with server_process(tmp_path_factory.mktemp("server")) as made:
        yield made


def client(version: str, server: ServerProcess, folder: Path) -> WandbClient:
    """Return the owner's client."""
    return WandbClient(
        python=client_python(version), folder=folder, base_url=server.base_url, key=server.key
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
        argv = [str(self.ann.python.with_name("wandb")), "agent", "-p", "demo", *args, sweep]
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


def runs_of(server: ServerProcess, sweep: str) -> list[dict[str, Any]]:
    """Return a sweep's runs as REST shows them."""
    return list(ask(server, f"/api/v1/sweeps/{me(server)}/demo/{sweep}/runs")["items"])


def me(server: ServerProcess) -> str:
    """Return the owner's entity."""
    return str(ask(server, "/api/v1/me")["entity"])


def ask(server: ServerProcess, path: str) -> Any:
    """Return what REST says."""
    return json.loads(text_of(server, path))


def text_of(server: ServerProcess, path: str) -> str:
    """Return what lies at an address."""
    headers = {"Authorization": f"Bearer {server.key}"}
    request = Request(server.base_url + path, headers=headers)  # noqa: S310 - our own server
    with urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
        return str(answer.read().decode())


@pytest.mark.parametrize(("version", "side"), [(VERSIONS[0], 3), (VERSIONS[-1], 2)])
def test_two_agents_try_each_combination_of_a_grid_once(
    version: str, side: int, server: ServerProcess, tmp_path: Path
) -> None:
    """Earns: the client's own commands do what they do elsewhere, through a killed server."""
    shell = Shell(client(version, server, tmp_path / "owner"))
    places = list(range(side))
    grid = {"x": {"values": [place + 1 for place in places]}, "y": {"min": 0, "max": side - 1}}
    sweep = shell.sweep({**NINE, "parameters": grid})
    count = side * side
    with shell.agent(sweep) as one, shell.agent(sweep) as two:
        until(lambda: len(runs_of(server, sweep)) > side, within_s=END_S, what="runs are made")
        server.kill()
        server.start()
        codes = (one.wait(END_S), two.wait(END_S))
    assert codes == (0, 0), shell.log()
    runs = runs_of(server, sweep)
    tried = sorted((run["config"]["x"], run["config"]["y"]) for run in runs)
    assert tried == [(x + 1, y) for x in places for y in places]
    assert {run["state"] for run in runs} == {"finished"}, shell.log()
    assert [run["history_size"] for run in runs] == [2] * count, "each ran once"
    done = shell.ann.run(f"""
        api = wandb.Api()
        sweep = api.sweep("{me(server)}/demo/{sweep}")
        best = sweep.best_run()
        found = list(api.project("demo", "{me(server)}").sweeps())
        say(
            state=sweep.state, count=len(sweep.runs), expected=sweep.expected_run_count,
            best=[best.config["x"], best.config["y"]], of=best.sweep_name, name=sweep.name,
            method=sweep.config["method"], found=[one.id for one in found],
        )
    """)
    assert done.last == {
        "state": "FINISHED", "count": count, "expected": count, "best": [side, 0], "of": sweep,
        "name": "nine", "method": "grid", "found": done.last["found"],
    }  # fmt: skip
    assert sweep in done.last["found"]
    page = text_of(server, f"/{me(server)}/demo/sweeps/{sweep}")  # the address that is printed
    assert f"{count} of {count}, 0 open" in page
    assert "loss, minimize; best: " in page


def test_a_hopeless_run_ends_early_and_the_owner_ends_the_rest(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Earns: Hyperband, pause, resume and cancel reach programs that run."""
    shell = Shell(client(VERSION, server, tmp_path / "owner"))
    sweep = shell.sweep({
        **NINE, "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 2},
        "parameters": {"x": {"value": 3}, "y": {"values": [0, 1, 2000, -1]}},
    })  # fmt: skip

    def states() -> list[str]:
        return [run["state"] for run in runs_of(server, sweep)]

    path = f"{me(server)}/demo/{sweep}"
    with shell.agent(sweep) as agent:
        until(lambda: "stopped" in states(), within_s=END_S, what="the hopeless run is stopped")
        assert states()[:3] == ["finished", "finished", "stopped"]
        assert "Pausing sweep" in shell.wandb("sweep", "--pause", path)
        assert ask(server, f"/api/v1/sweeps/{path}")["state"] == "paused"
        shell.wandb("sweep", "--resume", path)
        until(lambda: len(states()) == 4, within_s=END_S, what="the sweep goes on")
        shell.wandb("sweep", "--cancel", path)
        assert agent.wait(END_S) == 0, shell.log()
    assert ask(server, f"/api/v1/sweeps/{path}")["state"] == "canceled"
    assert states() == ["finished", "finished", "stopped", "stopped"], shell.log()


def test_a_function_is_swept_by_chance_up_to_the_cap(server: ServerProcess, tmp_path: Path) -> None:
    """Earns: `wandb.sweep` and `wandb.agent` with a function, and nested parameters."""
    ann = client(VERSIONS[-1], server, tmp_path / "owner")
    done = ann.run("""
        seen = []

        def train():
            with wandb.init(config={"own": 1}) as run:
                seen.append([run.id, run.config["deep"]["lr"], run.config["kind"]])
                run.log({"loss": run.config["deep"]["lr"]})

        sweep = wandb.sweep(
            {
                "method": "random", "run_cap": 2, "metric": {"name": "loss"},
                "parameters": {
                    "deep": {"parameters": {"lr": {"distribution": "log_uniform_values",
                                                   "min": 1e-6, "max": 1e-1}}},
                    "kind": {"value": "a"},
                },
            },
            project="demo",
        )
        wandb.agent(sweep, function=train, project="demo")
        say(sweep=sweep, seen=seen)
    """)
    runs = runs_of(server, done.last["sweep"])
    found = [[run["id"], run["config"]["deep"]["lr"], run["config"]["kind"]] for run in runs]
    assert found == done.last["seen"], done.text
    assert len({lr for _, lr, _ in found}) == 2
    assert [run["config"]["own"] for run in runs] == [1, 1]


def test_bayes_learns_from_the_runs_of_the_client(server: ServerProcess, tmp_path: Path) -> None:
    """Earns: what runs report comes to the search, and its suggestions get better."""
    ann = client(VERSION, server, tmp_path / "owner")
    done = ann.run("""
        from wandb.apis import InternalApi

        config = {
            "method": "bayes", "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {"x": {"min": -50.0, "max": 50.0}},
        }
        sweep = wandb.sweep(config, project="demo")
        os.environ["WANDB_SWEEP_ID"] = sweep
        api, losses = InternalApi(), []
        agent = api.register_agent("box", sweep_id=sweep, project_name="demo")["id"]
        for _ in range(26):
            (command,) = api.agent_heartbeat(agent, {}, {})
            x = command["args"]["x"]["value"]
            losses.append((x - 20) ** 2)
            run = wandb.init(
                project="demo", id=command["run_id"], config={"x": x},
                settings=wandb.Settings(x_disable_stats=True, x_disable_meta=True),
            )
            run.log({"loss": losses[-1]})
            run.finish()
        api.stop_sweep(sweep, project="demo")
        (command,) = api.agent_heartbeat(agent, {}, {})
        say(sweep=sweep, losses=losses, last=command["type"])
    """)
    losses = done.last["losses"]
    assert median(losses[-10:]) < 500, losses  # by chance 640; the search is below 340
    assert done.last["last"] == "exit"
    assert ask(server, f"/api/v1/sweeps/{me(server)}/demo/{done.last['sweep']}")["run_count"] == 26


def test_what_cannot_be_searched_is_refused_before_anything_is_stored(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Earns: the client shows our reason, which names the field, at once."""
    shell = Shell(client(VERSION, server, tmp_path / "owner"))
    (shell.folder / "bad.yaml").write_text(
        "method: grid\nprogram: train.py\nparameters: {x: {min: 0.0, max: 1.0}}\n"
    )
    said = shell.wandb("sweep", "-p", "refused", "bad.yaml", check=False)
    assert "parameters.x has endless values" in said
    (shell.folder / "odd.yaml").write_text(
        "method: random\nprgram: train.py\nparameters: {x: {min: 0.0, max: 1.0}}\n"
    )
    said = shell.wandb("sweep", "-p", "refused", "odd.yaml")
    assert "'prgram' is no key of a sweep's config" in said
    (made,) = ask(server, f"/api/v1/sweeps?entity={me(server)}&project=refused")["items"]
    env = {**os.environ, "SHIPWAY_BASE_URL": server.base_url, "SHIPWAY_API_KEY": server.key}

    def shipway(*args: str) -> str:
        argv = [sys.executable, "-m", "shipway", "sweep", *args]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
        return done.stdout

    path = f"refused/{made['id']}"
    for command, state in (("pause", "paused"), ("resume", "running"), ("cancel", "canceled")):
        assert json.loads(shipway(command, path, "--json"))["state"] == state
    assert "canceled" in shipway("ls", "-p", "refused")
    assert "random" in shipway("show", path)
