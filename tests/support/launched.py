"""Programs of one file on an embedded shipway: launched, looked for in /proc, their logs read."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.domain.attempt import Frame, decode_frames
from shipway.domain.spool import MARK_VARIABLE
from shipway.runners.local_machine import environment_of, process_start, processes
from tests.support.embedded import Embedded, until
from tests.support.rest_server import Caller, Reply

ENDED = frozenset({"finished", "failed", "stopped"})
PIECE = 4 << 20


@dataclass(frozen=True, slots=True)
class Launched:
    """One item, and the shipway that has it."""

    shipway: Embedded
    id: str

    def json(self) -> dict[str, Any]:
        """Return the item."""
        return dict(caller(self.shipway).get(f"/api/v1/items/{self.id}").json)

    def state(self) -> str:
        """Return its state, '' while no server answers."""
        try:
            return str(self.json()["state"])
        except (OSError, ValueError, KeyError):  # the server is just being started again
            return ""

    def ended(self, within_s: float = 60) -> dict[str, Any]:
        """Wait for its end."""
        until(lambda: self.state() in ENDED, within_s=within_s, what=f"item {self.id} ends")
        return self.json()

    def running(self) -> list[int]:
        """Wait until its first attempt's program runs; return its processes."""
        found: list[int] = until(lambda: self.alive(1), within_s=60, what=f"{self.id} runs")
        return found

    def alive(self, attempt: int) -> list[int]:
        """Return the processes that carry an attempt's mark."""
        return marked(f"{self.id}.{attempt}")

    def read(self, attempt: int, offset: int = 0) -> Reply:
        """Read a piece of an attempt's framed log."""
        query = f"name=program&attempt={attempt}&offset={offset}&limit={PIECE}"
        reply = caller(self.shipway).get(f"/api/v1/items/{self.id}/logs?{query}")
        assert reply.status == 200, reply.text
        return reply

    def is_whole(self, attempt: int = 1) -> bool:
        """Tell whether the server says that it has an attempt's whole log."""
        size = int(self.read(attempt).headers["shipway-log-size"])
        return self.read(attempt, size).headers["shipway-log-complete"] == "1"

    def frames(self, attempt: int = 1) -> Iterator[Frame]:
        """Yield the frames of an attempt's log."""
        at, rest = 0, b""
        while data := self.read(attempt, at).data:
            at, rest = at + len(data), rest + data
            size = 0
            for frame in decode_frames(rest):
                size += 13 + len(frame.data)
                yield frame
            rest = rest[size:]
        assert rest == b""

    def stop(self, grace_s: float) -> None:
        """Ask for its end."""
        body = {"grace_s": grace_s}
        reply = caller(self.shipway).post(f"/api/v1/items/{self.id}/stop", body)
        assert reply.status == 200, reply.text


def caller(shipway: Embedded) -> Caller:
    """Return a way to the server, which may have another port than before."""
    server = shipway.server()
    return Caller(port=int(server["base_url"].rpartition(":")[2]), key=server["api_key"])


def launch(
    shipway: Embedded, program: Path | str, *args: str, queue: str = "default", **env: str
) -> Launched:
    """Launch a program of one file."""
    made = len(list(shipway.root.glob("source-*")))
    source = shipway.root / f"source-{made}"
    source.mkdir()
    text = program if isinstance(program, str) else program.read_text()
    (source / "main.py").write_text(text)
    draft = {"env": env, "grace_s": 1}
    config = shipway.root / f"config-{made}.json"
    config.write_text(json.dumps({"overrides": {"args": args}}))
    argv = ["-u", str(source), "-q", queue, "-c", str(config)]
    argv += ["-R", json.dumps({"local-process": draft})]
    return Launched(shipway, json.loads(shipway.run("launch", *argv, "--json"))["id"])


def marked(mark: str) -> list[int]:
    """Return the living processes of an attempt, by its mark in their environment."""
    line = f"{MARK_VARIABLE}={mark}".encode()
    return [
        pid
        for pid in processes()
        if process_start(pid) is not None and line in environment_of(pid).split(b"\0")
    ]


def supervisors(shipway: Embedded) -> list[int]:
    """Return guardian, slots and renewer of a home, the guardian first."""
    home = f"SHIPWAY_HOME={shipway.home}".encode()
    found = []
    for pid in processes():
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"shipway.supervise" in command and home in environment_of(pid).split(b"\0"):
                found.append(pid)
    return sorted(found, key=lambda pid: process_start(pid) or 0)


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Freeze processes for a block; they go on afterwards, where they are still there."""
    starts = {pid: process_start(pid) for pid in pids}
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid, start in starts.items():
            if process_start(pid) == start:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def pass_time(seconds: float) -> None:
    """Let time pass that is itself what is tested: of a freeze, of a lease."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(left)
