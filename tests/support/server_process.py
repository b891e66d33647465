"""A server of its own process on one port, killed and started again by tests."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shipway.client import Client
from shipway.domain.errors import ShipwayError
from tests.support.embedded import until

START_S = 60.0


@dataclass
class ServerProcess:
    """One server with its data, whichever process serves it just now."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def base_url(self) -> str:
        """How clients reach it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        """The owner's key."""
        return (self.folder / "key").read_text().strip()

    @property
    def log(self) -> Path:
        """What it said."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start it and wait until it answers."""
        argv = [
            sys.executable, "-m", "shipway.server", "--database", f"sqlite:///{self.folder}/s.db",
            "--blobs", f"{self.folder}/blobs", "--port", str(self.port),
            "--key-file", f"{self.folder}/key",
        ]  # fmt: skip
        with self.log.open("ab") as file:
            self._process = subprocess.Popen(argv, stdout=file, stderr=file, env=dict(os.environ))
        until(self._answers, within_s=START_S, what="the server answers")

    def peak_memory(self) -> int:
        """Return the most bytes of memory that it had."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def end(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        with contextlib.suppress(ShipwayError, OSError):
            return Client(self.base_url, "", env={}).health()["status"] == "ok"
        return False


@contextlib.contextmanager
def server_process(folder: Path) -> Iterator[ServerProcess]:
    """Yield a server that answers; it is ended with the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = ServerProcess(folder=folder, port=port)
    made.start()
    try:
        yield made
    finally:
        made.end()
