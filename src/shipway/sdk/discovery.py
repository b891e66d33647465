"""Finds the embedded server that is running, through `server.json`."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.client import Client
from shipway.domain.errors import ShipwayError

FILE_NAME = "server.json"
HEALTH_TIMEOUT_S = 5.0
_START_SLACK_MS = 5_000  # the wall clock may have been set between the two readings
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What `server.json` says of the embedded server."""

    base_url: str
    api_key: str
    entity: str
    pid: int
    host: str
    boot_id: str
    started_at: int  # ms UTC
    version: str
    protocol: int


def find_embedded(
    home: Path, *, health: Callable[[Embedded], str | None] | None = None
) -> Embedded | None:
    """Return the embedded server of a home if it is there and answers, else None."""
    server = read_server(home / FILE_NAME)
    if server is None or server.host != socket.gethostname():
        return None
    if not is_process(server.pid, started_before=server.started_at):
        return None
    boot_id = (health or ask_boot_id)(server)
    return server if boot_id == server.boot_id else None


def read_server(path: Path) -> Embedded | None:
    """Read a `server.json`; None when there is none, or one that is not whole."""
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        return Embedded(
            base_url=str(values["base_url"]).rstrip("/"),
            api_key=str(values["api_key"]),
            entity=str(values["entity"]),
            pid=int(values["pid"]),
            host=str(values["host"]),
            boot_id=str(values["boot_id"]),
            started_at=int(values["started_at"]),
            version=str(values["version"]),
            protocol=int(values["protocol"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ask_boot_id(server: Embedded) -> str | None:
    """Return the boot id of whatever answers at the server's address."""
    client = Client(server.base_url, server.api_key, patience_s=0, env={})
    try:
        return str(client.health(timeout_s=HEALTH_TIMEOUT_S).get("boot_id"))
    except ShipwayError:
        return None
    finally:
        client.close()


def is_process(pid: int, *, started_before: int, proc: Path = _PROC) -> bool:
    """Tell whether a process lives that is old enough to be the one that is meant.

    Where there is no `/proc`, only whether a process of that number lives.
    """
    try:
        fields = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        boot = next(
            int(line.split()[1])
            for line in (proc / "stat").read_bytes().splitlines()
            if line.startswith(b"btime ")
        )
    except FileNotFoundError:
        return not (proc / "self").exists() and _is_alive(pid)
    except (OSError, StopIteration, ValueError):
        return _is_alive(pid)
    if fields[0] in (b"Z", b"X"):
        return False
    started_ms = boot * 1_000 + int(fields[19]) * 1_000 // os.sysconf("SC_CLK_TCK")
    return started_ms <= started_before + _START_SLACK_MS


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # signal 0 would end it there: `/healthz` decides
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
