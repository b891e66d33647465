"""An agent on a short disk takes no new work, says so, and goes on once there is room."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipway.client import Client
from tests.support.embedded import Embedded, embedded, until

SIZE = 64 << 20  # bytes of the agent's own disk


@pytest.fixture
def shipway() -> Iterator[Embedded]:
    with embedded() as made:
        made.configure_agent(queues=["default"])
        disk = made.home / "agent"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("needs the right to mount a small disk")
        try:
            yield made
        finally:
            made.down()
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - (1 << 20))
    return ballast


def explained(shipway: Embedded, item: str) -> str:
    found: str = json.loads(shipway.run("item", "explain", item, "--json"))["sentence"]
    return found


def test_an_agent_on_a_short_disk_waits_for_room(shipway: Embedded) -> None:
    """Earns its mount: a disk of its own that is really full."""
    disk = shipway.home / "agent"
    ballast = fill(disk)
    shipway.up()
    server = shipway.server()
    client = Client(server["base_url"], server["api_key"])
    source = shipway.root / "source"
    source.mkdir()
    (source / "main.sh").write_text("echo ran\n")
    launched = shipway.run("launch", "-u", str(source), "-E", "main.sh", "--json")
    item = json.loads(launched)["id"]
    until(lambda: "too little free disk" in explained(shipway, item), within_s=20, what="explain")
    doctor = shipway.run("doctor", check=False)
    assert "no new work is taken where the disk is short" in doctor
    assert client.items.get(item)["attempt"] == 0
    ballast.unlink()
    assert client.items.wait(item, until="ended", timeout_s=25)["state"] == "finished"
    assert "no new work" not in shipway.run("doctor", check=False)
