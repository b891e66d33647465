"""Starts a server without agents, and reads what it uses."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.client import Client

STOP_S = 60.0
SOURCE = {"kind": "git", "url": "https://git.example.com/a/b.git", "commit": "a" * 40}
DRAFT = {"source": SOURCE, "entry_point": ["true"]}  # an ordinary launch
MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server process on a folder of its own."""

    folder: Path
    base_url: str
    key: str
    pid: int

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.base_url.rpartition(":")[2])

    @property
    def client(self) -> Client:
        """A client of its owner's."""
        return Client(self.base_url, self.key, env={})

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "server.log"

    def cpu_s(self) -> float:
        """Return the seconds of CPU that all its threads have used; none of them ends early."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def memory_mb(self) -> float:
        """Return what it has in memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024 / MB

    def open_files(self) -> int:
        """Return how many file descriptors it has open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def wal_mb(self) -> float:
        """Return the size of the database's log of changes."""
        wal = database_of(self.folder).with_name("shipway.db-wal")
        return wal.stat().st_size / MB if wal.exists() else 0.0


def database_of(folder: Path) -> Path:
    """Return where the database of a server's folder lies."""
    return folder / "shipway.db"


@contextlib.contextmanager
def serving(
    folder: Path, *, database: str | None = None, altered: Sequence[str] = ()
) -> Iterator[Server]:
    """Run a server until the block ends; `altered` sets constants: `module:NAME=JSON`."""
    folder.mkdir(parents=True, exist_ok=True)
    program = ["bench.altered", *altered, "--"] if altered else ["shipway.server"]
    arguments: list[Any] = ["--database", database or f"sqlite:///{database_of(folder)}"]
    arguments += ["--blobs", folder / "blobs", "--key-file", folder / "key", "--migrate"]
    argv = [sys.executable, "-m", *program, *arguments]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "server.log").read_text()[-2_000:]
        yield Server(
            folder=folder,
            base_url=json.loads(line)["base_url"],
            key=(folder / "key").read_text().strip(),
            pid=process.pid,
        )
    finally:
        process.terminate()
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
