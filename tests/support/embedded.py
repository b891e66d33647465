"""A whole embedded shipway on a home of its own, killed and started again by tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHIPWAY = [sys.executable, "-m", "shipway"]
UP_S = 60.0


@dataclass
class Embedded:
    """One home with its processes; `env` is what a user's shell would have."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Where everything lies."""
        return self.root / "home"

    def run(self, *argv: str, check: bool = True, timeout: float = 120) -> str:
        """Run the command line and return what it printed."""
        done = subprocess.run(
            [*SHIPWAY, *argv], env=self.env, capture_output=True, text=True, timeout=timeout,
            check=False, cwd=self.root,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{argv} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def configure_agent(self, **values: Any) -> None:
        """Write the embedded agent's config file."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
        (self.home / "agent.toml").write_text("".join(lines))

    def up(self) -> None:
        """Start it in the background and wait until it is ready."""
        self.run("up", "--detach", timeout=UP_S)

    def server(self) -> dict[str, Any]:
        """Return what `server.json` says."""
        found: dict[str, Any] = json.loads((self.home / "server.json").read_text())
        return found

    def pids(self) -> dict[str, int]:
        """Return the pids of parent, server, agent and supervisor that are alive."""
        mark = f"SHIPWAY_HOME={self.home}".encode()
        found: dict[str, int] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                environ = (entry / "environ").read_bytes().split(b"\0")
                words = (entry / "cmdline").read_bytes().split(b"\0")
                name = _name(words)
                if name and mark in environ:
                    found.setdefault(name, int(entry.name))
        return found

    def kill(self, name: str) -> bool:
        """Kill one of the processes with SIGKILL; False when it is not there."""
        pid = self.pids().get(name)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def down(self) -> None:
        """End everything, programs too."""
        self.run("down", "--stop", check=False)


@contextlib.contextmanager
def embedded(**extra: str) -> Iterator[Embedded]:
    """Yield an embedded shipway that is not started yet; nothing is left of it afterwards."""
    root = Path(tempfile.mkdtemp(prefix="sw-"))
    keep = {name: value for name, value in os.environ.items() if not name.startswith("SHIPWAY_")}
    env = {**keep, "SHIPWAY_HOME": str(root / "home"), "PYTHONWARNINGS": "", **extra}
    made = Embedded(root=root, env=env)
    try:
        yield made
    finally:
        made.down()
        leftovers = made.pids()
        for pid in leftovers.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(root, ignore_errors=True)
        assert not leftovers, f"'shipway down --stop' left {leftovers} running"


def until(condition: Callable[[], Any], *, within_s: float, what: str) -> Any:
    """Return a condition's first true value; fail when there is none in time."""
    end = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.05)


def git(folder: Path, *argv: str) -> str:
    """Run git in a folder with a made-up author."""
    author = ["-c", "user.name=Ann", "-c", "user.email=ann@localhost"]
    done = subprocess.run(
        ["git", "-C", str(folder), *author, *argv], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def _name(words: list[bytes]) -> str | None:
    text = b" ".join(words)
    for module, name in (
        (b"shipway.supervise", "supervisor"),
        (b"shipway.server", "server"),
        (b"shipway.agent", "agent"),
        (b"shipway up", "up"),
    ):
        if module in text:
            return name
    return None
