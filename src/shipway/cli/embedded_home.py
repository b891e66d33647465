"""Knows the files of an embedded home: its lock, pid, port, key, and `server.json`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.domain.errors import Conflict, Invalid
from shipway.sdk.discovery import is_process

# all that an embedded home may hold; `--purge` removes these and nothing else
KNOWN = (
    "server.json",
    "key",
    "port",
    "up.lock",
    "up.pid",
    "start.lock",
    "drained",
    "data",
    "agent",
    "agents",
    "logs",
    "cache",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who runs `shipway up` on a home."""

    pid: int
    started_at: int  # ms UTC, no earlier than the process itself


@dataclass(frozen=True, slots=True)
class EmbeddedHome:
    """The data directory of one embedded server and agent."""

    root: Path

    @property
    def server_json(self) -> Path:
        """What the SDK reads; there only while the server is ready."""
        return self.root / "server.json"

    @property
    def key(self) -> Path:
        """The owner's key, kept for ever."""
        return self.root / "key"

    @property
    def port_file(self) -> Path:
        """The port, kept for next time."""
        return self.root / "port"

    @property
    def data(self) -> Path:
        """The server's database and blobs."""
        return self.root / "data"

    @property
    def database(self) -> Path:
        """The server's database."""
        return self.data / "shipway.db"

    @property
    def blobs(self) -> Path:
        """The server's blobs."""
        return self.data / "blobs"

    @property
    def agent(self) -> Path:
        """The agent's home."""
        return self.root / "agent"

    @property
    def agent_homes(self) -> list[Path]:
        """The homes of all agents of this machine, the embedded one first."""
        return [self.agent, *sorted((self.root / "agents").glob("*"))]

    @property
    def agent_config(self) -> Path:
        """The embedded agent's config file, if somebody wrote one."""
        return self.root / "agent.toml"

    @property
    def logs(self) -> Path:
        """What each process says."""
        return self.root / "logs"

    def make(self) -> None:
        """Make the folders, for their owner alone."""
        for folder in (self.root, self.data, self.data / "blobs", self.agent, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.root.stat().st_uid != os.getuid():
            raise Invalid(
                f"{self.root} belongs to somebody else: set SHIPWAY_HOME to a directory of yours",
                field="SHIPWAY_HOME",
                value=str(self.root),
            )

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only `up` of this home; raise `Conflict` naming the other one."""
        fd = os.open(self.root / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = self.holder()
                raise Conflict(
                    f"shipway is up on {self.root} already"
                    f"{f' (process {holder.pid})' if holder else ''}: see shipway status"
                ) from None
            self._write("up.pid", json.dumps({"pid": os.getpid(), "started_at": _now()}))
            yield
            (self.root / "up.pid").unlink(missing_ok=True)
        finally:
            os.close(fd)

    def is_held(self) -> bool:
        """Tell whether an `up` runs on this home now."""
        try:
            fd = os.open(self.root / "up.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def holder(self) -> Holder | None:
        """Return who runs `up` here, if that process still lives."""
        try:
            values = json.loads((self.root / "up.pid").read_bytes())
            found = Holder(pid=int(values["pid"]), started_at=int(values["started_at"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if is_process(found.pid, started_before=found.started_at) else None

    def publish(self, values: Mapping[str, Any]) -> None:
        """Write `server.json`, whole or not at all, for its owner alone."""
        self._write("server.json", json.dumps(values, indent=2) + "\n")

    def withdraw(self) -> None:
        """Remove `server.json`."""
        self.server_json.unlink(missing_ok=True)

    def port(self) -> int:
        """Return the port of last time, or 0."""
        try:
            return int(self.port_file.read_text())
        except (OSError, ValueError):
            return 0

    def keep_port(self, port: int) -> None:
        """Keep a port for next time."""
        self._write("port", f"{port}\n")

    def keep_drained(self, agents: Sequence[str]) -> None:
        """Keep which agents `down` let take nothing new: the next `up` lets them work again."""
        kept = json.dumps(sorted({*self.drained(), *agents}))
        self._write("drained", kept)

    def drained(self) -> list[str]:
        """Return the agents that `down` let take nothing new."""
        try:
            return [str(agent) for agent in json.loads((self.root / "drained").read_bytes())]
        except (OSError, ValueError, TypeError):
            return []

    def forget_drained(self) -> None:
        """Forget them: they work again."""
        (self.root / "drained").unlink(missing_ok=True)

    def purge(self) -> None:
        """Remove everything that shipway put here; the folder too when nothing else is in it."""
        for name in KNOWN:
            path = self.root / name
            if path.is_dir() and not path.is_symlink():
                _make_writable(path)
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else's files stay, and so does the folder
            self.root.rmdir()

    def _write(self, name: str, text: str) -> None:
        draft = self.root / f".{name}.{os.getpid()}"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.root / name)


def _make_writable(folder: Path) -> None:
    # sealed trees and environments are read-only; their folders must be writable to be emptied
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            Path(path).chmod(0o700)


def _now() -> int:
    return time.time_ns() // 1_000_000
