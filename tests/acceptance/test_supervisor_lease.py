"""The renewer against a small server: what happens to a program whose agent does not renew."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shipway.domain.attempt import Cause, Phase
from shipway.domain.spool import Seat, Word
from shipway.runners.local_machine import boot_ms
from tests.support.supervised import ITEM, Stage

SLEEP = ("/bin/sleep", "100")
FIRST_ITEM = f"{ITEM}0001"
OOM_LIMIT = 192 << 20


class LeaseServer(ThreadingHTTPServer):
    """Answers renewals as its `answer` says; keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RenewalPage)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answer: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class RenewalPage(BaseHTTPRequestHandler):
    server: LeaseServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/api/v1/leases/renew"
        self.server.asked.append(body)
        self.server.keys.append(self.headers["Authorization"])
        data = json.dumps(self.server.answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[LeaseServer]:
    found = LeaseServer()
    thread = threading.Thread(target=found.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        found.shutdown()
        thread.join()
        found.server_close()


@pytest.fixture
def stage(tmp_path: Path, server: LeaseServer) -> Iterator[Stage]:
    found = Stage(tmp_path, base_url=server.url)
    found.open()
    try:
        yield found
    finally:
        found.close()


def renewed(term_ms: int) -> dict[str, Any]:
    return {"renewed": [{"item": FIRST_ITEM, "term_ms": term_ms}], "lost": [], "stops": []}


def test_frozen_program_goes_on_when_the_server_says_so(stage: Stage, server: LeaseServer) -> None:
    server.answer = renewed(60_000)
    handle = stage.creature("tree", lease_s=0.5)
    words = stage.runner._held[handle].words()
    assert words is not None
    stage.until(lambda: server.asked)
    stage.until(lambda: words[Word.STATE] == Seat.RUNNING)
    assert server.asked[0] == {
        "agent": "agent-test",
        "leases": [{"item": FIRST_ITEM, "token": "token-1"}],
    }
    assert server.keys[0] == "Bearer sw_test"
    assert words[Word.DEADLINE] > boot_ms() + 50_000


def test_frozen_program_ends_at_once_when_the_server_says_lost(
    stage: Stage, server: LeaseServer
) -> None:
    server.answer = {"renewed": [], "lost": [FIRST_ITEM], "stops": []}
    handle = stage.creature("ignore_term", lease_s=0.5, grace_s=30.0)
    ending = stage.ended(handle, limit_s=5)
    assert ending.cause is Cause.LEASE
    assert stage.survivors() == []


def test_leases_are_renewed_while_the_agent_is_away(stage: Stage, server: LeaseServer) -> None:
    """The agent is gone for 13 s, by its beat; its program outlives the lease it had."""
    server.answer = renewed(60_000)
    handle = stage.start(*SLEEP, lease_s=4)
    words = stage.runner._held[handle].words()
    assert words is not None
    stage.until(lambda: words[Word.STATE] == Seat.RUNNING)
    go_away(stage)
    stage.until(lambda: server.asked, limit_s=3.5)
    stage.until(lambda: words[Word.DEADLINE] > boot_ms() + 50_000)
    (status,) = stage.open()
    assert status.phase is Phase.RUNNING


def test_stop_reaches_a_program_whose_agent_is_away(stage: Stage, server: LeaseServer) -> None:
    server.answer = renewed(60_000) | {
        "stops": [{"item": FIRST_ITEM, "token": "token-1", "grace_s": 5}]
    }
    handle = stage.start(*SLEEP)
    stage.until(lambda: stage.runner._held[handle].phase is Phase.RUNNING)
    go_away(stage)
    record = stage.root / "supervisor"
    stage.until(lambda: any(b'"stop"' in path.read_bytes() for path in record.glob("g*/journal.*")))
    (status,) = stage.open()
    assert status.ending is not None
    assert status.ending.cause is Cause.STOP


def go_away(stage: Stage) -> None:
    """Leave the runner as a killed agent would, long ago."""
    stage.runner._is_open = False
    stage.runner._thread.join()
    stage.runner._socket.close()
    stage.runner._beat[0] = boot_ms() - 13_000


def test_renewer_takes_a_new_address(stage: Stage, server: LeaseServer) -> None:
    """A server that came back on another port: the next agent says so to the old supervisor."""
    handle = stage.start(*SLEEP, lease_s=30)
    stage.until(lambda: stage.runner._held[handle].phase is Phase.RUNNING)
    go_away(stage)
    server.answer = renewed(60_000)
    other = LeaseServer()
    other.answer = renewed(60_000)
    thread = threading.Thread(target=other.serve_forever, args=(0.01,))
    thread.start()
    try:
        stage.base_url = other.url
        stage.open()
        go_away(stage)
        stage.until(lambda: other.asked)
        stage.open()
    finally:
        other.shutdown()
        thread.join()
        other.server_close()


def test_out_of_memory_is_told_by_the_groups_counter(tmp_path: Path) -> None:
    """A version 1 memory group around the supervisor, as a container's limit would be."""
    group = Path(f"/sys/fs/cgroup/memory/shipway-test-{os.getpid()}")
    try:
        group.mkdir()
    except OSError:
        pytest.skip("this machine lets us make no version 1 memory group")
    home = own_memory_group()
    stage = Stage(tmp_path, slots=1)
    try:
        (group / "memory.limit_in_bytes").write_text(str(OOM_LIMIT))
        (group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            stage.open()
        finally:
            (home / "cgroup.procs").write_text(str(os.getpid()))
        stage.until(lambda: len(stage.supervisors()) == 3)
        handle = stage.start("/usr/bin/tail", "/dev/zero")
        ending = stage.ended(handle)
        assert (ending.cause, ending.signal) == (Cause.OOM, 9)
    finally:
        stage.close()
        stage.until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def own_memory_group() -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if "memory" in names.split(","):
            return Path(f"/sys/fs/cgroup/memory{path}")
    pytest.skip("this machine has no version 1 memory group")
