"""What a client was told is true, whatever became of the server meanwhile."""

from __future__ import annotations

import itertools
import json
import random
import re
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
DRAFT = {**SOURCE, "run_config": {"note": "x" * 300_000}}  # a commit that takes its time
BODY = json.dumps(DRAFT).encode()


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

    def run(self, caller: Caller, server: subprocess.Popen[str], kill_at: int) -> None:
        """Add until the server is gone, which it is at the ack with this number."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", caller.port)) as line:
            while True:
                key = f"key-{next(self.numbers)}"
                self.sent.add(key)
                line.sendall(request(caller, key))
                reply = line.recv(1 << 20)
                if len(self.acked) + 1 >= kill_at and reply.startswith(b"HTTP/1.1 201"):
                    server.kill()
                while reply and b"\r\n\r\n" not in reply or len(reply) < size_of(reply):
                    more = line.recv(1 << 20)
                    if not more:
                        return
                    reply += more
                if not reply:
                    return
                assert reply.startswith(b"HTTP/1.1 201"), reply[:300]
                body = json.loads(reply.partition(b"\r\n\r\n")[2])
                with self.lock:
                    self.acked[key] = body["id"]


def request(caller: Caller, key: str) -> bytes:
    head = (
        "POST /api/v1/items HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {caller.key}\r\nIdempotency-Key: {key}\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n"
    )
    return head.encode() + BODY


def size_of(reply: bytes) -> int:
    head, _, _ = reply.partition(b"\r\n\r\n")
    (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
    return len(head) + 4 + int(length)


def test_acked_adds_survive_kill_9_and_are_found_by_their_keys(tmp_path: Path) -> None:
    """Earns its time: the kill falls on the ack, when a commit that came later is on its way."""
    load, chance = Load(), random.Random()
    for _ in range(KILLS):
        with server_process(tmp_path) as (process, caller):
            kill_at = len(load.acked) + chance.randrange(5, 60)
            clients = [
                threading.Thread(target=load.run, args=(caller, process, kill_at))
                for _ in range(CLIENTS)
            ]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
    with server_process(tmp_path) as (_, caller):
        items = [{**DRAFT, "idempotency_key": key} for key in sorted(load.sent)]
        again: dict[str, str] = {}
        for at in range(0, len(items), 10):
            made = caller.post("/api/v1/items/batch", {"items": items[at : at + 10]}).json
            for item, answer in zip(items[at : at + 10], made["items"], strict=True):
                again[str(item["idempotency_key"])] = answer["id"]
        assert {key: again[key] for key in load.acked} == load.acked
        counts = caller.get("/api/v1/queues/default").json["counts"]
        assert sum(counts.values()) == counts["pending"] == len(load.sent)


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
