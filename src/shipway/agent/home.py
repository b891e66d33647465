"""The agent's own folder: its id, its lock, its key, and the run-side package for programs."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shipway.agent.container_env import SITE, START
from shipway.domain.errors import Conflict
from shipway.domain.ids import AgentId, Random, new_agent_id

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the former on Linux
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where an agent keeps everything."""

    path: Path

    @property
    def attempts(self) -> Path:
        """The folder of all attempts' folders."""
        return self.path / "attempts"

    @property
    def environments(self) -> Path:
        """The builder's cache."""
        return self.path / "envs"

    @property
    def sources(self) -> Path:
        """The sources' caches, a folder for each kind."""
        return self.path / "sources"

    @property
    def journal(self) -> Path:
        """What is owed across restarts."""
        return self.path / "journal"

    @property
    def key_file(self) -> Path:
        """The key, for those that renew leases while the agent is away."""
        return self.path / "key"

    def runner(self, resource: str) -> Path:
        """Return a runner's own folder."""
        return self.path / ("supervisor" if resource == "local-process" else f"runner-{resource}")

    def lock(self) -> int:
        """Keep a second agent out; the lock goes with this process."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise Conflict(
                f"another agent uses {self.path}: stop it, or give this one a home of its own"
            ) from None
        return fd

    def agent_id(self, random: Random) -> AgentId:
        """Return the id that this home's agent keeps."""
        path = self.path / "agent.json"
        if path.exists():
            return AgentId(json.loads(path.read_text())["id"])
        agent_id = new_agent_id(random)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"id": agent_id}))
        fresh.rename(path)
        return agent_id

    def keep_key(self, key: str) -> Path:
        """Write the key where its owner alone can read it."""
        path = self.key_file
        if not path.exists() or path.read_text() != key:
            fresh = path.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w") as file:
                file.write(key)
            fresh.rename(path)
        return path

    def lay_runside(self, source: Path) -> Path:
        """Copy the run-side package to where programs find nothing but it."""
        folder = self.path / "runside"
        package = {path.name: path.read_bytes() for path in sorted(source.glob("*.py"))}
        _lay(folder / "shipway", package)
        _lay(self.path / START, {"sitecustomize.py": SITE.encode()})
        return folder


def _lay(folder: Path, wanted: Mapping[str, bytes]) -> None:
    """Have exactly these modules in a folder; what is there already is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # whoever a container runs as reads it, whatever the agent's umask
    for name, data in wanted.items():
        target = folder / name
        if not target.exists() or target.read_bytes() != data:
            fresh = target.with_suffix(".new")
            fresh.write_bytes(data)
            fresh.rename(target)
        target.chmod(0o644)
    for path in folder.glob("*.py"):
        if path.name not in wanted:
            path.unlink()


def boot_ms() -> int:
    """Return ms on the clock that neither jumps nor stops while the machine sleeps."""
    return time.clock_gettime_ns(_BOOT_CLOCK) // 1_000_000


def now_ms() -> int:
    """Return ms UTC."""
    return time.time_ns() // 1_000_000


def boot_id() -> str:
    """Return what changes when the machine is started anew."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:  # not Linux: the moment of the start, to five minutes
        return f"about-{int(time.time() - time.monotonic()) // 300}"
