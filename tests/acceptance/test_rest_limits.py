"""What a server does with bad input, slow senders, wrong keys and lost hints."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from shipway.domain.disk import Room
from shipway.server.settings import Limits
from tests.support.rest_server import SOURCE, Running, running

LIMITS = Limits(head_s=0.4, body_s=0.4, body_rate=1 << 30, connections=40)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("limits"), limits=LIMITS) as found:
        yield found


BAD_INPUT: list[tuple[str, str, Any, int, str, str]] = [
    # method, path, body, status, code, a word of the message
    ("POST", "/items", {}, 400, "invalid", "exactly one of"),
    ("POST", "/items", {**SOURCE, "docker_image": "busybox"}, 400, "invalid", "exactly one of"),
    ("POST", "/items", {**SOURCE, "priority": 9}, 400, "invalid", "priority"),
    ("POST", "/items", {**SOURCE, "priority": True}, 400, "invalid", "priority"),
    ("POST", "/items", {**SOURCE, "args": ["a", 1]}, 400, "invalid", "args"),
    ("POST", "/items", {**SOURCE, "queue": "nowhere"}, 404, "not_found", "nowhere"),
    ("POST", "/items", {**SOURCE, "resource": "moon"}, 400, "invalid", "moon"),
    ("POST", "/items", {"job": "ann/p/none:latest"}, 404, "not_found", "none"),
    ("POST", "/items", {"run": "ann/p/none"}, 404, "not_found", "none"),
    ("POST", "/items", {"source": {"kind": "git", "url": "-x", "commit": "a" * 40}}, 400,
     "invalid", "source.url"),
    ("POST", "/items", {**SOURCE, "resource_args": {"local-process": {"gpuz": 1}}}, 400,
     "invalid", "gpuz"),
    ("POST", "/items", [], 400, "invalid", "object"),
    ("POST", "/items", b"{", 400, "invalid", "not JSON"),
    ("POST", "/items", b'{"a": NaN}', 400, "invalid", "not JSON"),
    ("POST", "/items/batch", {"items": [SOURCE] * 1001}, 400, "invalid", "1000"),
    ("POST", "/items/batch", {"things": []}, 400, "invalid", "things"),
    ("GET", "/items?state=asleep", None, 400, "invalid", "state"),
    ("GET", "/items?limit=100000", None, 400, "invalid", "limit"),
    ("GET", "/items?cursor=%00", None, 400, "invalid", "cursor"),
    ("GET", "/items/none", None, 404, "not_found", "none"),
    ("GET", "/items/none/wait?timeout_s=999", None, 400, "invalid", "timeout_s"),
    ("GET", "/items/none/logs?offset=-1", None, 400, "invalid", "offset"),
    ("GET", f"/items/none/logs?offset={1 << 63}", None, 400, "invalid", "offset"),
    ("GET", f"/items/none/logs?attempt={1 << 63}", None, 400, "invalid", "attempt"),
    ("GET", f"/items/none/events?after={1 << 63}", None, 400, "invalid", "after"),
    ("GET", f"/runs/ann/p/none/history?after={1 << 63}", None, 400, "invalid", "after"),
    ("POST", f"/items/none/log/program?attempt=1&offset={1 << 63}", zlib.compress(b"x"), 400,
     "invalid", "offset"),
    ("POST", "/agents", {"id": "huge", "queues": ["default"], "resources": [], "slots": 1 << 63},
     400, "invalid", "slots"),
    ("POST", "/queues", {"name": "../x", "resource": "any"}, 400, "invalid", "name"),
    ("POST", "/queues", {"name": "q", "resource": "moon"}, 400, "invalid", "moon"),
    ("POST", "/queues", {"name": "q", "resource": "any", "colour": 1}, 400, "invalid", "colour"),
    ("POST", "/queues", {"name": "q", "resource": "any", "on_lost": "x"}, 400, "invalid", "retry"),
    ("POST", "/leases", {"agent": "none"}, 404, "not_found", "register"),
    ("POST", "/leases", {"agent": "none", "wait_s": 999}, 400, "invalid", "wait_s"),
    ("POST", "/leases", {"agent": "none", "limit": "x"}, 400, "invalid", "limit"),
    ("POST", "/users", {"name": "u", "role": "king"}, 400, "invalid", "king"),
    ("PUT", "/blobs/xyz", b"data", 400, "invalid", "SHA-256"),
    ("POST", "/blobs/pack", b"short", 400, "invalid", "pack"),
    ("POST", "/blobs/missing", {"digests": ["x"]}, 400, "invalid", "SHA-256"),
    ("GET", "/runs/ann/p/none", None, 404, "not_found", "none"),
    ("POST", "/items/none/log/program?attempt=1&offset=0", b"not zlib", 400, "invalid", "zlib"),
    ("POST", "/items/none/log/program?attempt=x&offset=0", zlib.compress(b"x"), 400, "invalid",
     "attempt"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "code", "word"), BAD_INPUT)
def test_bad_input_is_named(  # noqa: PLR0917 - a row of the table
    server: Running, method: str, path: str, body: Any, status: int, code: str, word: str
) -> None:
    before = server.admin.get("/api/v1/items?limit=1000").json["items"]
    token = {"Shipway-Token": "none"}
    reply = server.admin.send(method, "/api/v1" + path, body, token)
    assert (reply.status, reply.code) == (status, code), reply.text
    assert word in reply.json["error"]["message"]
    assert server.admin.get("/api/v1/items?limit=1000").json["items"] == before


@pytest.mark.parametrize("last", ["٣", "²", str(1 << 63), "9" * 5_000, "-1", "x", "1.²..3"])
@pytest.mark.parametrize("path", ["events", "logs"])
def test_a_last_event_id_that_is_no_number_is_named(server: Running, path: str, last: str) -> None:
    item = server.admin.add()["id"]
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last.encode().decode("latin-1")}
    reply = server.admin.get(f"/api/v1/items/{item}/{path}", headers)
    assert (reply.status, reply.code) == (400, "invalid"), reply.text
    assert "Last-Event-ID" in reply.json["error"]["message"]


def test_json_is_at_most_64_levels_deep(server: Running) -> None:
    def nested(levels: int, leaf: str = "1") -> bytes:
        return b'{"run_config":' + b'{"a":' * (levels - 1) + leaf.encode() + b"}" * levels

    for text in (nested(65), nested(5000), b"[" * 100_000, nested(65, '"]]]]}}}}\\""')):
        reply = server.admin.send("POST", "/api/v1/items", text)
        assert (reply.status, reply.code) == (400, "invalid")
        assert "deeper than 64" in reply.text
    deep = b"[" * 200  # a file, not a request
    name = hashlib.sha256(deep).hexdigest()
    assert server.admin.send("PUT", f"/api/v1/blobs/{name}", deep).status == 201
    wide = {**SOURCE, "run_config": {"a": [{"b": "[{[{" * 50}] * 200}}
    assert server.admin.post("/api/v1/items", wide).status == 201


def test_a_body_over_its_limit_is_refused(server: Running) -> None:
    config = {**SOURCE, "run_config": {"a": "x" * (10 << 20)}}
    reply = server.admin.post("/api/v1/items", config)
    assert (reply.status, reply.code) == (413, "too_large")
    with _line(server) as line:  # nobody says how long it is
        line.sendall(_head(server, "POST", "/api/v1/items", "Transfer-Encoding: chunked"))
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        try:
            for _ in range(64):
                line.sendall(chunk)
        except OSError:
            pass
        assert _answer(line).startswith(b"HTTP/1.1 413")


def test_a_compressed_body_is_inflated_within_the_limit(server: Running) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    good = gzip.compress(json.dumps(SOURCE).encode())
    assert server.admin.send("POST", "/api/v1/items", good, headers).status == 201
    bomb = gzip.compress(b" " * (64 << 20))
    reply = server.admin.send("POST", "/api/v1/items", bomb, headers)
    assert (reply.status, reply.code) == (413, "too_large")
    for encoding, body in (("br", b"x"), ("gzip", b"x")):
        reply = server.admin.send("POST", "/api/v1/items", body, {"Content-Encoding": encoding})
        assert (reply.status, reply.code) == (400, "invalid")


def test_a_log_chunk_that_inflates_too_far_is_refused(server: Running) -> None:
    bomb = zlib.compress(b"x" * (2 << 20))
    path = "/api/v1/items/none/log/program?attempt=1&offset=0"
    reply = server.admin.send("POST", path, bomb, {"Shipway-Token": "x"})
    assert (reply.status, reply.code) == (413, "too_large")


def test_a_slow_head_is_cut(server: Running) -> None:
    with _line(server) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        assert _answer(line).startswith(b"HTTP/1.1 408")


def test_a_slow_body_is_cut(server: Running) -> None:
    with _line(server) as line:
        line.sendall(_head(server, "POST", "/api/v1/items", "Content-Length: 100") + b"{")
        found = _answer(line)
        assert found.startswith(b"HTTP/1.1 408")
        assert b"too_slow" in found


def test_a_head_over_its_limit_is_refused(server: Running) -> None:
    with _line(server) as line:
        line.sendall(_head(server, "GET", "/healthz", "X: " + "y" * (40 << 10)))
        assert _answer(line).startswith(b"HTTP/1.1 413")
    with _line(server) as line:
        line.sendall(_head(server, "GET", "/" + "y" * (40 << 10)))
        assert _answer(line).startswith(b"HTTP/1.1 413")


def test_more_connections_than_allowed_are_refused(server: Running) -> None:
    lines = [_line(server) for _ in range(LIMITS.connections + 1)]
    try:
        found = _answer(lines[-1])
        assert found.startswith(b"HTTP/1.1 503")
        assert b"retry-after" in found
    finally:
        for line in lines:
            line.close()


def test_wrong_keys_are_throttled_and_valid_ones_are_not(tmp_path: Any) -> None:
    with running(tmp_path) as server:
        wrong = server.caller("sw_0123456789-" + "x" * 40)
        found = [wrong.get("/api/v1/me").status for _ in range(12)]
        assert found == [401] * 10 + [429] * 2
        refused = wrong.get("/api/v1/me")
        assert refused.headers["retry-after"]
        assert server.admin.get("/api/v1/me").status == 200
        assert server.caller(None).get("/api/v1/me").status == 401


def test_a_lost_hint_delays_a_lease_by_two_seconds_at_most(tmp_path: Any) -> None:
    with running(tmp_path, is_deaf=True) as server:
        agent = server.agent()
        answers: list[Any] = []
        poll = threading.Thread(target=lambda: answers.append(server.lease(agent, wait_s=4)))
        poll.start()
        while len(server.app.edge.polls) < 1:
            time.sleep(0.005)
        item = server.admin.add()
        began = time.monotonic()
        poll.join()
        assert time.monotonic() - began < 2
        assert [lease["item"] for lease in answers[0]["leases"]] == [item["id"]]


def test_a_server_that_ends_answers_its_long_polls(tmp_path: Any) -> None:
    answers: list[Any] = []
    with running(tmp_path) as server:
        agent = server.agent()
        item = server.admin.add(docker_image="busybox", source=None)
        polls = [
            threading.Thread(target=lambda: answers.append(server.lease(agent, wait_s=20))),
            threading.Thread(
                target=lambda: answers.append(
                    server.admin.get(f"/api/v1/items/{item['id']}/wait").json
                )
            ),
        ]
        for poll in polls:
            poll.start()
        while not (len(server.app.edge.polls) and len(server.app.edge.item_waits)):
            time.sleep(0.005)
        began = time.monotonic()
    for poll in polls:
        poll.join()
    assert len(answers) == 2
    assert time.monotonic() - began < 8


def _line(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def _head(server: Running, method: str, path: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {server.admin.key}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def _answer(line: socket.socket) -> bytes:
    found = b""
    try:
        while piece := line.recv(65536):
            found += piece
            if b"\r\n\r\n" in found and len(found) > 400:
                break
    except OSError:
        pass
    return found


def test_a_short_disk_takes_no_new_items_and_still_takes_the_rest(server: Running) -> None:
    space = server.app.edge.service.space
    before = server.admin.add()["id"]
    data = b"log of what runs"
    space.note(Room(free=10**9, total=10**12))
    try:
        refused = server.admin.post("/api/v1/items", SOURCE)
        assert (refused.status, refused.code) == (507, "storage_full")
        assert "no new work is taken" in refused.text
        assert server.admin.get("/api/v1/me").json["is_short_of_disk"] is True
        path = f"/api/v1/blobs/{hashlib.sha256(data).hexdigest()}"
        assert server.admin.send("PUT", path, data).status == 201
        assert server.admin.post(f"/api/v1/items/{before}/stop").status == 200
    finally:
        space.note(Room(free=10**12, total=10**12))
    assert server.admin.add()["state"] == "pending"
