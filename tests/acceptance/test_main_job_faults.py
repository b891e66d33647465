"""The main job while its agent and its server are killed, and what becomes of it at a stop."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipway.domain.attempt import LogStream, decode_frames
from tests.support.embedded import Embedded, embedded, until
from tests.support.rest_server import Caller

LINES = 350
COUNTING = """\
import json, os, sys, time

with open(os.environ["STARTS"], "a") as starts:
    print(os.getpid(), file=starts)
for number in range(1, int(os.environ["LINES"]) + 1):
    print(number, flush=number % 7 == 0)
    if number % 10 == 0:
        print(number, file=sys.stderr)
        with open(os.environ["SHIPWAY_RECORDS"], "a") as records:
            line = {"kind": "history", "step": number, "at": 1, "values": {"n": number}}
            records.write(json.dumps(line) + chr(10))
    time.sleep(0.02)
"""
DEAF = """\
import os, signal, time

def note(*_):
    with open(os.environ["NOTES"], "a") as notes:
        print(time.time(), file=notes)

signal.signal(signal.SIGTERM, note)
with open(os.environ["NOTES"], "a") as notes:
    print(os.getpid(), file=notes)
while True:
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def shipway() -> Iterator[Embedded]:
    with embedded() as made:
        made.configure_agent(queues=["default"], max_jobs=2, git_protocols=["https", "http"])
        made.up()
        yield made


def caller(shipway: Embedded) -> Caller:
    server = shipway.server()
    return Caller(port=int(server["base_url"].rpartition(":")[2]), key=server["api_key"])


def launch(shipway: Embedded, name: str, program: str, **env: object) -> str:
    """Launch a program of one file and return its item."""
    source = shipway.root / name
    source.mkdir()
    (source / "main.py").write_text(program)
    args = {"local-process": {"env": {key: str(value) for key, value in env.items()}}}
    added = shipway.run("launch", "-u", str(source), "-R", json.dumps(args), "--json")
    return str(json.loads(added)["id"])


def item(shipway: Embedded, item_id: str) -> dict[str, Any]:
    found: dict[str, Any] = caller(shipway).get(f"/api/v1/items/{item_id}").json
    return found


def state(shipway: Embedded, item_id: str) -> str:
    try:
        return str(item(shipway, item_id)["state"])
    except (OSError, ValueError):  # the server is just being started again
        return ""


def log(shipway: Embedded, item_id: str) -> bytes:
    """Read the whole framed log of a program."""
    data = b""
    while True:
        path = f"/api/v1/items/{item_id}/logs?name=program&offset={len(data)}"
        reply = caller(shipway).get(path)
        assert reply.status == 200, reply.text
        data += reply.data
        if not reply.data:
            assert reply.headers["shipway-log-complete"] == "1"
            return data


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_program_goes_on_while_agent_and_server_are_killed(shipway: Embedded) -> None:
    """Earns its time: one start, each byte and each step once, through four kills."""
    starts = shipway.root / "starts"
    item_id = launch(shipway, "counting", COUNTING, STARTS=starts, LINES=LINES)
    until(starts.exists, within_s=30, what="it runs")
    for victim in ("agent", "server", "agent", "server"):
        time.sleep(1)
        until(lambda victim=victim: shipway.kill(victim), within_s=30, what=f"{victim} is there")
    until(lambda: state(shipway, item_id) == "finished", within_s=60, what="it finishes")
    assert len(starts.read_text().split()) == 1
    assert item(shipway, item_id)["attempt"] == 1
    frames = list(decode_frames(log(shipway, item_id)))
    for stream, step in ((LogStream.STDOUT, 1), (LogStream.STDERR, 10)):
        printed = b"".join(frame.data for frame in frames if frame.stream is stream)
        assert printed == b"".join(b"%d\n" % n for n in range(step, LINES + 1, step))
    found = item(shipway, item_id)
    run = f"/api/v1/runs/{found['entity']}/{found['project']}/{found['run_id']}/history?limit=1000"
    rows = caller(shipway).get(run).json["items"]
    assert [row["_step"] for row in rows] == list(range(10, LINES + 1, 10))


def test_a_killed_agent_goes_on_with_what_it_was_preparing(shipway: Embedded) -> None:
    """Nothing but the journal knows of an item whose program was not started."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.git"
        source = {"kind": "git", "url": url, "commit": "a" * 40}
        added = caller(shipway).post("/api/v1/items", {"source": source})
        assert added.status == 201, added.text
        item_id = added.json["id"]
        try:
            silent.settimeout(30)
            first, _ = silent.accept()
            assert shipway.kill("agent")
            again, _ = silent.accept()
            until(lambda: "resume" in events(shipway, item_id), within_s=10, what="it is resumed")
            assert events(shipway, item_id) == ["enqueue", "lease", "resume"]
            assert item(shipway, item_id)["attempt"] == 1
        finally:
            caller(shipway).post(f"/api/v1/items/{item_id}/stop")
    for line in (first, again):
        line.close()
    until(lambda: state(shipway, item_id) == "stopped", within_s=30, what="it is stopped")


def events(shipway: Embedded, item_id: str) -> list[str]:
    found = caller(shipway).get(f"/api/v1/items/{item_id}/events").json["items"]
    return [str(event["event"]) for event in found]


def test_a_stop_is_a_sigterm_within_5_s_and_a_sigkill_after_the_grace(shipway: Embedded) -> None:
    notes = shipway.root / "notes"
    item_id = launch(shipway, "deaf", DEAF, NOTES=notes)
    until(lambda: notes.exists() and notes.read_text(), within_s=30, what="it runs")
    pid = int(notes.read_text())
    acked = caller(shipway).post(f"/api/v1/items/{item_id}/stop", {"grace_s": 1})
    asked_at = time.time()
    assert acked.status == 200
    until(lambda: len(notes.read_text().split()) > 1, within_s=5, what="it hears SIGTERM")
    heard_at = float(notes.read_text().split()[1])
    assert heard_at - asked_at < 5
    until(lambda: not is_alive(pid), within_s=1 + 5, what="it is gone after its grace")
    assert time.time() - heard_at > 0.9  # and not before
    until(lambda: state(shipway, item_id) == "stopped", within_s=10, what="it is stopped")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
