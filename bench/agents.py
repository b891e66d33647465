"""P1: a code job through our agent, beside the real `wandb launch-agent` on the same server."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Result, at_most, within
from shipway import launch_add
from tests.support.wandb_client import VERSION, client_python

OURS, THEIRS = "ours", "theirs"  # queues, each with one agent
PHASE_S = 10.0  # of its agent's loop: a launch comes at any time of it
WAIT_MS = 5_000  # between two looks of wandb's own wait
START_S = 60.0
END_S = 120.0
PROGRAM = """
import time
begin = time.time_ns()
import os
import sys
import wandb
run = wandb.init()
for step in range(3):
    run.log({"step": step})
run.finish()
with open(sys.argv[1] + ".part", "w") as said:
    said.write(f"{begin} {time.time_ns()}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """One launch, in ms."""

    first: float  # from the call of `launch_add` to the program's first instruction
    end: float  # from its last instruction to the return of `wait_until_finished`
    whole: float  # from the call to the return


def p1(*, times: int) -> list[Result]:
    """Launch one job to both agents in turn, idle, at any time of their loops."""
    ours: list[Took] = []
    theirs: list[Took] = []
    chance = random.Random(1)  # noqa: S311 - only when to launch
    with tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder, _site(Path(folder)):
        for number in range(times + 1):
            for queue, took in ((OURS, ours), (THEIRS, theirs)):
                time.sleep(chance.uniform(0, PHASE_S))
                one = _launch(queue, Path(folder, f"{queue}-{number}"))
                if number:  # the first round makes the environment, and is not counted
                    took.append(one)

    def row(what: str, name: str, most: float) -> Result:
        mine, other = ([getattr(one, name) for one in side] for side in (ours, theirs))
        said = f"{what}, beside wandb {VERSION}'s launch-agent"
        return at_most("P1", said, most, ours=mine, theirs=other)

    ends = [[one.end for one in side] for side in (ours, theirs)]
    return [
        row("launch_add of a code job to its first instruction", "first", 1 / 500),
        within(
            "P1", "a code job's last instruction to the return of wait_until_finished", WAIT_MS,
            values=ends[0], theirs=ends[1], notes="wandb's item ends with the run, before it",
        ),
        row("launch_add of a code job to the return of wait_until_finished", "whole", 1),
    ]  # fmt: skip


def _launch(queue: str, said: Path) -> Took:
    begin = time.time_ns()
    item = launch_add(
        job="admin/demo/train:latest", queue_name=queue, config={"overrides": {"args": [str(said)]}}
    )
    run = item.wait_until_finished(timeout=END_S)
    returned = time.time_ns()
    assert run.state == "finished", (queue, run.state, item.error)
    end = time.monotonic() + START_S
    while not said.exists():  # the run has ended, the program may still be about to
        assert time.monotonic() < end, f"the program of {queue} did not end"
        time.sleep(0.01)
    first, last = map(int, said.read_text().split())
    return Took(
        first=(first - begin) / 1e6, end=(returned - last) / 1e6, whole=(returned - begin) / 1e6
    )


@contextlib.contextmanager
def _site(root: Path) -> Iterator[None]:
    """Run a server with one agent of each kind, and a job that both can run."""
    home = root / "home"
    env = {**os.environ, "SHIPWAY_HOME": str(home)}
    shipway = [sys.executable, "-m", "shipway"]
    up = subprocess.Popen([*shipway, "up", "--no-agent"], env=env, stdout=subprocess.DEVNULL)
    agents: list[subprocess.Popen[bytes]] = []
    before = os.environ.get("SHIPWAY_HOME")
    try:
        server = _server(home)
        os.environ["SHIPWAY_HOME"] = str(home)  # where launch_add finds the server
        for queue in (OURS, THEIRS):
            argv = ["queue", "create", queue, "--resource", "local-process"]
            subprocess.run([*shipway, *argv], env=env, check=True, stdout=subprocess.DEVNULL)
        python = client_python()
        client = _client_env(root, server, python)
        wandb = [str(python), "-m", "wandb"]
        code = _code(root)
        create = ["job", "create", "-p", "demo", "-n", "train", "-E", "python train.py", "code"]
        subprocess.run([*wandb, *create, str(code)], env=client, check=True, capture_output=True)
        peer = ["launch-agent", "-e", "admin", "-q", THEIRS]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        agents.append(subprocess.Popen([*shipway, "agent", "-q", OURS], env=env, **quiet))
        agents.append(subprocess.Popen([*wandb, *peer], env=client, cwd=root / "wandb", **quiet))
        yield
    finally:
        for process in (*agents, up):
            process.terminate()
            process.wait(timeout=60)
        subprocess.run([*shipway, "down", "--stop"], env=env, check=False, capture_output=True)
        os.environ.pop("SHIPWAY_HOME")
        if before is not None:
            os.environ["SHIPWAY_HOME"] = before


def _server(home: Path) -> dict[str, Any]:
    end = time.monotonic() + START_S
    found = home / "server.json"
    while not found.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"no server came up within {START_S:.0f} s")
        time.sleep(0.05)
    server: dict[str, Any] = json.loads(found.read_text())
    return server


def _client_env(root: Path, server: dict[str, Any], python: Path) -> dict[str, str]:
    folder = root / "wandb"
    folder.mkdir()
    return {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "WANDB_BASE_URL": server["base_url"],
        "WANDB_API_KEY": server["api_key"],
        "WANDB_ERROR_REPORTING": "false",
    }


def _code(root: Path) -> Path:
    folder = root / "code"
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM)
    (folder / "requirements.txt").write_text(f"wandb=={VERSION}\n")
    return folder
