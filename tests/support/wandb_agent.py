"""Real `wandb launch-agent` processes, and the jobs that they are given."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shipway.runners.local_machine import environment_of, process_start, processes
from tests.support.embedded import Embedded
from tests.support.wandb_client import WandbClient, client_python

MARK = "TEST_LAUNCH_AGENT"  # in the environment of an agent and of all that it starts
WANDB_S = 120.0  # that a command of the client's may take


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchAgent:
    """One agent's process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """Let it die at once; what it started goes on."""
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        """Return what it said, its programs' output among it."""
        return self.log.read_text()

    def started(self, run_id: str | None = None) -> list[int]:
        """Return the processes that it started, or those of one run."""
        marks = {f"{MARK}={self.name}".encode()}
        if run_id is not None:
            marks.add(f"WANDB_RUN_ID={run_id}".encode())
        return [
            pid
            for pid in processes()
            if process_start(pid) is not None and marks <= set(environment_of(pid).split(b"\0"))
        ]


def a_client(shipway: Embedded, version: str) -> WandbClient:
    """Return a wandb client of an embedded shipway's user."""
    found = shipway.server()
    folder = shipway.root / "wandb"
    folder.mkdir(exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    return WandbClient(
        python=client_python(version), folder=folder, base_url=found["base_url"],
        key=found["api_key"],
    )  # fmt: skip


def make_job(client: WandbClient, program: str, *, name: str = "train") -> None:
    """Let the client make a code job of one program, in project `demo`."""
    source = client.folder / f"code-{name}"
    source.mkdir()
    (source / "train.py").write_text(program)
    (source / "requirements.txt").write_text("")
    argv = ["job", "create", "-p", "demo", "-n", name, "-E", "python train.py", "code", str(source)]
    done = subprocess.run(
        [str(client.python), "-m", "wandb", *argv], env=client.env(), cwd=client.folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WANDB_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@contextmanager
def launch_agent(
    client: WandbClient, *argv: str, name: str = "agent"
) -> Iterator[LaunchAgent]:  # fmt: skip
    """Run an agent for a block; of it, and of what it started, nothing is left afterwards."""
    log, mark = client.folder / f"{name}.log", f"{client.folder}/{name}"
    path = f"{client.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    env = client.env(PATH=path, TMPDIR=str(client.folder / "tmp"), **{MARK: mark})
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(client.python), "-m", "wandb", "launch-agent", *argv],
            env=env, cwd=client.folder, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    agent = LaunchAgent(name=mark, process=process, log=log)
    try:
        yield agent
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pid in agent.started():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
