"""Starts a server and an agent on a home of their own, with a git source of twenty files."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.client import Client
from shipway.testing.git_server import GitServer

SLOTS = 8
START_S = 30.0
DRAIN_S = 300.0
FILES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What a benchmark talks to."""

    home: Path
    client: Client
    source: dict[str, Any]
    scratch: Path

    def draft(self, *argv: str) -> dict[str, Any]:
        """Return an ordinary launch of the git source with this command."""
        return {"source": self.source, "entry_point": list(argv)}


@contextlib.contextmanager
def stack() -> Iterator[Stack]:
    """Yield a running stack; everything it started is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder,
        GitServer(Path(folder, "git")).running() as git_server,
    ):
        root = Path(folder)
        home = root / "home"
        env = {**os.environ, "SHIPWAY_HOME": str(home)}
        commit = _commit(root / "git" / "work")
        url = f"{git_server.url}/work/.git"
        source = {"kind": "git", "url": url, "commit": commit, "ref": "main"}
        config = root / "agent.json"
        config.write_text(json.dumps({"git_protocols": ["https", "ssh", "http"]}))
        argv = [sys.executable, "-m", "shipway"]
        up = subprocess.Popen([*argv, "up", "--no-agent"], env=env, stdout=subprocess.DEVNULL)
        agent = None
        try:
            client = _client(home)
            argv += ["agent", "-q", "default", "-j", str(SLOTS), "-c", str(config)]
            agent = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL)
            scratch = root / "scratch"
            scratch.mkdir()
            yield Stack(home=home, client=client, source=source, scratch=scratch)
        finally:
            for process in (agent, up):
                if process is not None:
                    process.terminate()
                    process.wait(timeout=30)
            down = [sys.executable, "-m", "shipway", "down", "--stop"]
            subprocess.run(down, env=env, check=False, capture_output=True)


def _client(home: Path) -> Client:
    end = time.monotonic() + START_S
    found = home / "server.json"
    while not found.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"no server came up within {START_S:.0f} s")
        time.sleep(0.05)
    server = json.loads(found.read_text())
    return Client(server["base_url"], server["api_key"])


def _commit(work: Path) -> str:
    """Make a repository of twenty files and return its one commit."""
    work.mkdir(parents=True)
    for number in range(FILES):
        (work / f"module_{number:02}.py").write_text(f'"""Module {number}."""\n' * 20)
    git = ["git", "-C", str(work), "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for argv in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Files"]):
        subprocess.run([*git, *argv], check=True)
    return subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
