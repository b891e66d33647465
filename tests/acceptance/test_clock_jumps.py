"""I20: the wall clock of server or agent jumps by a day; no lease ends early or late for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from shipway.cli.supervisor import end_supervisors
from tests.support.embedded import SHIPWAY, Embedded, embedded, until
from tests.support.launched import launch
from tests.support.rest_server import Caller

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
JUMPS = {"quiet": 0, "ahead": 86_400, "behind": -86_400}  # seconds
SOON_S = 60
EXPIRED_S = 30 + 10  # the term before the start, and the pause before it is leased again
APART_S = 1.0
SHORT_S = 30  # `lost_after`
LINES = 900
PROGRAM = f"""\
import time
for n in range({LINES}):
    time.sleep(0.05)
    print(n, flush=True)
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(240),
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not there"),
]


class Clock:
    """What a process tree takes for the time of day, by a file; clocks that only run stay true."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)
        self.env = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        """Be so far off from now on."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self._file)


@contextmanager
def clocked(folder: Path, clock: Clock) -> Iterator[Caller]:
    """A server with a clock of its own, and a way to it as its admin."""
    folder.mkdir()
    argv = [
        *(sys.executable, "-m", "shipway.server", "--key-file", str(folder / "key")),
        *("--database", f"sqlite:///{folder / 'shipway.db'}", "--blobs", str(folder / "blobs")),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, env={**os.environ, **clock.env}, stdout=subprocess.PIPE, stderr=log, cwd=folder
        )
    try:
        assert process.stdout
        where = json.loads(process.stdout.readline())["base_url"]
        key = (folder / "key").read_text().strip()
        yield Caller(port=int(where.rpartition(":")[2]), key=key)
    finally:
        process.kill()
        process.communicate()


def is_off(server: Caller, seconds: int) -> bool:
    date = parsedate_to_datetime(server.get("/api/v1/me").headers["date"])
    return abs(date.timestamp() - time.time() - seconds) < SOON_S


def test_a_lease_ends_when_it_would_have_whatever_the_servers_clock_does(tmp_path: Path) -> None:
    with ExitStack() as stack:
        clocks = {name: Clock(tmp_path / f"{name}.clock") for name in JUMPS}
        servers = {
            name: stack.enter_context(clocked(tmp_path / name, clock))
            for name, clock in clocks.items()
        }
        items: dict[str, str] = {}
        leased: dict[str, float] = {}
        for name, server in servers.items():
            me = {"id": "agent-1", "queues": ["default"], "resources": ["local-process"]}
            assert server.post("/api/v1/agents", {**me, "slots": 4}).status == 201
            items[name] = server.add()["id"]
            reply = server.post("/api/v1/leases", {"agent": "agent-1", "limit": 1})
            leased[name] = time.monotonic()
            assert [lease["item"] for lease in reply.json["leases"]] == [items[name]]
        for name, clock in clocks.items():
            clock.jump(JUMPS[name])
            until(lambda name=name: is_off(servers[name], JUMPS[name]), within_s=10, what="a jump")
        ended: dict[str, float] = {}

        def is_over() -> bool:
            for name in servers.keys() - ended.keys():
                item = servers[name].get(f"/api/v1/items/{items[name]}").json
                if item["state"] == "pending":
                    ended[name] = time.monotonic() - leased[name]
            return len(ended) == len(servers)

        until(is_over, within_s=EXPIRED_S + 20, what="every lease has ended")
    assert all(abs(took - ended["quiet"]) <= APART_S for took in ended.values()), ended
    assert ended["quiet"] >= EXPIRED_S - 1, ended


def test_an_agents_clock_neither_ends_nor_doubles_its_program(tmp_path: Path) -> None:
    """Longer than a lease, so it was renewed after the jump; and the log has every line once."""
    with ExitStack() as stack:
        shipway = stack.enter_context(embedded())
        shipway.run("up", "--detach", "--no-agent")
        clocks, launched = {}, {}
        for name in JUMPS:
            argv = ["--resource", "local-process", "--lost-after", str(SHORT_S)]
            shipway.run("queue", "create", name, *argv)
            clocks[name] = Clock(tmp_path / name)
            stack.enter_context(agent(shipway, name, clocks[name]))
            launched[name] = launch(shipway, PROGRAM, queue=name)
        for name, item in launched.items():
            item.running()
            clocks[name].jump(JUMPS[name])
        for name, item in launched.items():
            ended = item.ended(within_s=150)
            assert (name, ended["state"], ended["attempt"]) == (name, "finished", 1)
            said = b"".join(frame.data for frame in item.frames())
            assert said == b"".join(b"%d\n" % n for n in range(LINES)), name


@contextmanager
def agent(shipway: Embedded, queue: str, clock: Clock) -> Iterator[None]:
    """An agent with a clock and a home of its own."""
    home = shipway.root / f"agent-{queue}"
    server = shipway.server()
    own = {
        "SHIPWAY_HOME": str(home),
        "SHIPWAY_BASE_URL": server["base_url"],
        "SHIPWAY_API_KEY": server["api_key"],
    }
    with (shipway.root / f"{queue}.log").open("wb") as log:
        process = subprocess.Popen(
            [*SHIPWAY, "agent", "-q", queue], env={**shipway.env, **own, **clock.env},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        end_supervisors(home / "agent")
