"""What a client was told is true, whatever became of the server meanwhile."""

from __future__ import annotations

import itertools
import json
import math
import random
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.rest_server import SOURCE, Caller, running

KILLS = 4
CLIENTS = 6
DRAFT = {**SOURCE, "run_config": {"note": "x" * 900_000}}  # a commit that takes its time
DISK = 24_000_000  # bytes of a file that may be written; the next write fails
DRAFT_TEXT = json.dumps(DRAFT).encode()


@contextmanager
def server_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Caller]]:
    """Run a server on a folder's data; killed with SIGKILL at the end of the block."""
    key = folder / "key"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "shipway.server", "--key-file", str(key)),
            *("--database", f"sqlite:///{folder / 'shipway.db'}"),
            *("--blobs", str(folder / "blobs")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = json.loads(process.stdout.readline())
        port = int(line["base_url"].rpartition(":")[2])
        yield process, Caller(port=port, key=key.read_text().strip())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Load:
    """Clients that add items, each with a key of its own; the ack that it waits for kills."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.sent: set[str] = set()
        self.acked: dict[str, str] = {}  # idempotency key to item
        self.lock = threading.Lock()

    def put_on(
        self, server: subprocess.Popen[str], caller: Caller, kill_at: float = math.inf
    ) -> None:
        """Add in several threads until the server is gone; the ack of that number kills it."""
        clients = [
            threading.Thread(target=self._add, args=(caller, server, kill_at))
            for _ in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    def check(self, caller: Caller) -> None:
        """Send everything again: what was acked is the same item, and nothing is there twice."""
        items = [{**DRAFT, "idempotency_key": key} for key in sorted(self.sent)]
        again: dict[str, str] = {}
        for at in range(0, len(items), 5):
            made = caller.post("/api/v1/items/batch", {"items": items[at : at + 5]}).json
            for item, answer in zip(items[at : at + 5], made["items"], strict=True):
                again[str(item["idempotency_key"])] = answer["id"]
        assert {key: again[key] for key in self.acked} == self.acked
        counts = caller.get("/api/v1/queues/default").json["counts"]
        assert sum(counts.values()) == counts["pending"] == len(self.sent)

    def _add(self, caller: Caller, server: subprocess.Popen[str], kill_at: float) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", caller.port)) as line:
            while True:
                key = f"key-{next(self.numbers)}"
                self.sent.add(key)
                line.sendall(an_add(caller, key))
                reply = line.recv(1 << 16)
                if len(self.acked) + 1 >= kill_at:
                    server.kill()
                while reply and not reply.endswith(b"}"):
                    more = line.recv(1 << 16)
                    reply = reply + more if more else b""
                if not reply:
                    return
                (answer,) = json.loads(reply.partition(b"\r\n\r\n")[2]).get("items", [{}])
                if "id" in answer:  # else it is not known what became of it
                    with self.lock:
                        self.acked[key] = answer["id"]


def an_add(caller: Caller, key: str) -> bytes:
    body = b'{"items":[{"idempotency_key":"%s",%s]}' % (key.encode(), DRAFT_TEXT[1:])
    head = (
        "POST /api/v1/items/batch HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {caller.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def test_acked_adds_survive_kill_9_and_are_found_by_their_keys(tmp_path: Path) -> None:
    """Earns its time: the kill falls on an ack, when the next commit is on its way."""
    load, chance = Load(), random.Random()
    for _ in range(KILLS):
        with server_process(tmp_path) as (process, caller):
            load.put_on(process, caller, kill_at=len(load.acked) + chance.randrange(5, 60))
    with server_process(tmp_path) as (_, caller):
        load.check(caller)


def test_no_add_is_acked_by_a_server_whose_commit_then_fails(tmp_path: Path) -> None:
    """Earns its time: a commit that surely never comes, where a kill may fall beside it."""
    load = Load()
    with server_process(tmp_path) as (process, caller):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (DISK, resource.RLIM_INFINITY))
        load.put_on(process, caller)
        assert process.wait(30) != 0
    assert load.acked
    with server_process(tmp_path) as (_, caller):
        load.check(caller)


def test_an_add_whose_answer_was_lost_is_the_same_item_when_repeated(tmp_path: Path) -> None:
    """Repeats overlap the request that they repeat, as those of an impatient client do."""
    with running(tmp_path) as server:
        for number in range(10):
            key = {"Idempotency-Key": f"lost-{number}"}
            body = json.dumps(SOURCE)
            head = "".join(f"{name}: {value}\r\n" for name, value in key.items())
            with socket.create_connection(("127.0.0.1", server.port)) as line:
                line.sendall(
                    f"POST /api/v1/items HTTP/1.1\r\nHost: x\r\n{head}"
                    f"Authorization: Bearer {server.admin.key}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
            replies: list[Any] = []
            start = threading.Barrier(CLIENTS)

            def repeat(
                key: dict[str, str] = key,
                start: threading.Barrier = start,
                replies: list[Any] = replies,
            ) -> None:
                start.wait()
                replies.append(server.admin.send("POST", "/api/v1/items", SOURCE, key))

            clients = [threading.Thread(target=repeat) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            assert {reply.status for reply in replies} == {201}, [reply.text for reply in replies]
            assert len({reply.json["id"] for reply in replies}) == 1
        other = server.admin.send("POST", "/api/v1/items", {**SOURCE, "name": "other"}, key)
        assert (other.status, other.code) == (409, "key_reused")
        counts = server.admin.get("/api/v1/queues/default").json["counts"]
        assert sum(counts.values()) == counts["pending"] == 10
