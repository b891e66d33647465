"""The REST interface against a real server: items, leases, logs, runs, and who may do what."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from shipway.domain.actor import Role
from shipway.domain.attempt import LogStream, encode_frame
from shipway.server.rest.routes import ROUTES
from tests.support.rest_server import SOURCE, Caller, Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("rest")) as found:
        yield found


@pytest.fixture(scope="module")
def by_role(server: Running) -> dict[str, Caller]:
    callers = {role: server.user(f"the-{role}", role) for role in ("member", "viewer", "agent")}
    return {**callers, "admin": server.admin, "job": server.caller(_job_key(server))}


def _job_key(server: Running) -> str:
    agent = server.agent("agent-of-jobs")
    server.admin.add(name="for a job key")
    key: str = server.lease(agent)["leases"][0]["job_key"]
    return key


def _address(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "none", path)


def test_an_item_is_added_once_whatever_is_repeated(server: Running) -> None:
    key = {"Idempotency-Key": "once"}
    first = server.admin.post("/api/v1/items", SOURCE, key)
    again = server.admin.post("/api/v1/items", SOURCE, key)
    other = server.admin.post("/api/v1/items", {**SOURCE, "name": "other"}, key)
    assert first.status == again.status == 201
    assert first.json["id"] == again.json["id"]
    assert (other.status, other.code) == (409, "key_reused")


def test_a_batch_answers_each_item_for_itself(server: Running) -> None:
    items = [
        {**SOURCE, "idempotency_key": "b1"},
        {"nonsense": 1},
        {**SOURCE, "queue": "no-such-queue"},
        {**SOURCE, "priority": "low"},
        {**SOURCE, "idempotency_key": "b1"},
    ]
    reply = server.admin.post("/api/v1/items/batch", {"items": items})
    made = reply.json["items"]
    assert reply.status == 200
    assert [entry.get("error", {}).get("code") for entry in made] == [
        None, "invalid", "not_found", None, None,
    ]  # fmt: skip
    assert made[0]["id"] == made[4]["id"]


def test_a_whole_life_from_add_to_log(server: Running) -> None:
    agent = server.agent("agent-life", queues=["life"]) if _queue(server, "life") else ""
    item = server.admin.add(queue="life", name="my <b>run</b>")
    lease = server.lease(agent)["leases"][0]
    assert lease["item"] == item["id"]
    assert lease["item_json"]["spec"]["entry_point"] == ["main.py"]
    assert server.report(agent, lease, "start")["ok"]
    frames = encode_frame(LogStream.STDOUT, 1_800_000_000_000, b"one\ntwo\n")
    path = f"/api/v1/items/{item['id']}/log/program?attempt=1&offset=0"
    token = {"Shipway-Token": lease["token"]}
    assert server.admin.send("POST", path, zlib.compress(frames), token).json == {
        "size": len(frames)
    }
    twice = server.admin.send("POST", path, zlib.compress(frames), token)
    assert (twice.status, twice.code) == (409, "offset")
    assert twice.json["error"]["details"]["size"] == len(frames)
    stale = server.admin.send("POST", path, zlib.compress(frames), {"Shipway-Token": "old"})
    assert (stale.status, stale.code) == (409, "lease_lost")
    sizes = {"program": len(frames)}
    done = server.report(agent, lease, "finish", exit_code=0, log_sizes=sizes)
    assert done["state"] == "finished"
    assert server.report(agent, lease, "finish", exit_code=0)["ok"]  # its answer was lost
    log = server.admin.get(f"/api/v1/items/{item['id']}/logs")
    assert log.data == frames
    assert log.headers["shipway-log-ended"] == log.headers["shipway-log-complete"] == "1"
    ended = server.admin.get(f"/api/v1/items/{item['id']}/wait")
    assert ended.json["state"] == "finished"
    run = server.admin.get(f"/api/v1/runs/ann/uncategorized/{item['run_id']}")
    assert run.json["state"] == "finished"


def test_records_become_config_summary_and_history_with_nan(server: Running) -> None:
    agent = server.agent("agent-records", queues=["records"]) if _queue(server, "records") else ""
    item = server.admin.add(queue="records")
    lease = server.lease(agent)["leases"][0]
    server.report(agent, lease, "start")
    lines = (
        b'{"kind":"config","values":{"lr":0.1}}\n'
        b'{"kind":"history","step":0,"at":5,"values":{"loss":NaN}}\n'
        b'{"kind":"history","step":1,"at":6,"values":{"loss":Infinity}}\n'
        b'{"kind":"summary","values":{"loss":-Infinity}}\n'
    )
    path = f"/api/v1/items/{item['id']}/log/records?attempt=1&offset=0"
    token = {"Shipway-Token": lease["token"]}
    assert server.admin.send("POST", path, zlib.compress(lines), token).status == 200
    run = f"/api/v1/runs/ann/uncategorized/{item['run_id']}"
    shown = server.admin.get(run)
    assert shown.json["config"] == {"lr": 0.1}
    assert shown.json["summary"] == {"loss": float("-inf")}
    rows = server.admin.get(run + "/history")
    assert b"NaN" in rows.data
    assert [row["_step"] for row in rows.json["items"]] == [0, 1]
    job = server.caller(lease["job_key"])
    more = job.send("POST", run + "/history", b'{"rows":[{"_step":2,"loss":NaN}]}')
    assert more.json == {"history_size": 3}
    assert job.send("PATCH", run, {"summary": {"done": True}}).json["summary"]["done"] is True


def test_a_log_can_be_followed_as_lines_and_resumed(server: Running) -> None:
    agent = server.agent("agent-follow", queues=["follow"]) if _queue(server, "follow") else ""
    item = server.admin.add(queue="follow")
    lease = server.lease(agent)["leases"][0]
    server.report(agent, lease, "start")
    pieces = [
        (LogStream.STDOUT, b"first\nsec"),
        (LogStream.STDERR, b"warn\n"),
        (LogStream.STDOUT, b"ond\n 10%\r 50%\r100%\nlast"),
    ]
    data = b"".join(encode_frame(stream, 1_800_000_000_000, text) for stream, text in pieces)
    path = f"/api/v1/items/{item['id']}/log/program?attempt=1&offset=0"
    token = {"Shipway-Token": lease["token"]}
    server.admin.send("POST", path, zlib.compress(data), token)
    server.report(agent, lease, "finish", exit_code=0, log_sizes={"program": len(data)})
    whole = _lines(server, item["id"], None)
    assert [text for _, text in whole] == ["first", "warn", "second", "100%", "last"]
    for index, (mark, _) in enumerate(whole):
        assert [text for _, text in _lines(server, item["id"], mark)] == [
            text for _, text in whole[index + 1 :]
        ]


def test_blobs_travel_one_by_one_and_in_packs(server: Running) -> None:
    small, large = b"small", b"large" * 1000
    names = [hashlib.sha256(data).hexdigest() for data in (small, large)]
    assert server.admin.send("PUT", f"/api/v1/blobs/{names[1]}", large).status == 201
    asked = server.admin.post("/api/v1/blobs/missing", {"digests": names})
    assert asked.json == {"missing": [names[0]]}
    pack = struct.pack(">32sI", bytes.fromhex(names[0]), len(small)) + small
    assert server.admin.send("POST", "/api/v1/blobs/pack", pack).json == {"stored": 1}
    got = server.admin.post("/api/v1/blobs/fetch", {"digests": names}).data
    assert got[36 : 36 + len(small)] == small
    assert server.admin.get(f"/api/v1/blobs/{names[1]}").data == large
    wrong = server.admin.send("PUT", f"/api/v1/blobs/{names[0]}", b"other bytes")
    assert (wrong.status, wrong.code) == (400, "invalid")


@pytest.mark.parametrize("what", ["key", "user"])
def test_an_open_poll_gets_nothing_for_a_revoked_key(server: Running, what: str) -> None:
    person = server.user(f"late-{what}", "member")
    body = {
        "id": f"late-{what}", "queues": ["default"], "resources": ["local-process"],
        "run_as": "shared",
    }  # fmt: skip
    assert person.post("/api/v1/agents", body).status == 201
    answers: list[Any] = []
    ask = {"agent": f"late-{what}", "limit": 1, "wait_s": 20}
    poll = threading.Thread(target=lambda: answers.append(person.post("/api/v1/leases", ask)))
    poll.start()
    try:
        time.sleep(0.8)  # longer than its key is trusted
        if what == "key":
            key = str(person.key).partition("-")[0].removeprefix("sw_")
            assert server.admin.send("DELETE", f"/api/v1/keys/{key}").status == 200
        else:
            assert server.admin.post(f"/api/v1/users/late-{what}/disable").status == 200
        item = server.admin.add(entity=f"late-{what}")
    finally:
        poll.join(25)
    assert answers[0].status == 401, answers[0].text
    state = server.admin.get(f"/api/v1/items/{item['id']}").json["state"]
    assert state == "pending"


def test_what_an_admin_submits_to_others_is_readable_where_it_runs(
    server: Running, by_role: dict[str, Caller]
) -> None:
    theirs, other = server.user("cy", "member"), by_role["member"]
    digest = hashlib.sha256(b"a manifest").hexdigest()
    at = f"/api/v1/blobs/{digest}"
    source = {"kind": "capsule", "digest": digest, "tree": "a" * 40}
    draft = {"source": source, "entity": "cy"}
    assert server.admin.send("PUT", at, b"a manifest").status == 201
    refused = server.admin.post("/api/v1/items", draft)
    assert (refused.status, refused.code) == (400, "invalid"), refused.text
    assert refused.json["error"]["details"]["field"] == "source.digest"
    assert theirs.get(at).status == 404
    lacking = server.admin.post("/api/v1/blobs/missing?entity=cy", {"digests": [digest]})
    assert lacking.json == {"missing": [digest]}
    assert server.admin.send("PUT", at + "?entity=cy", b"a manifest").status == 201
    assert server.admin.post("/api/v1/items", draft).status == 201
    assert theirs.get(at).data == b"a manifest"
    assert other.get(at).status == 404
    pack = bytes.fromhex(digest) + struct.pack(">I", 10) + b"a manifest"
    for method, path, body in (
        ("PUT", at + "?entity=cy", b"a manifest"),
        ("POST", "/api/v1/blobs/pack?entity=cy", pack),
        ("POST", "/api/v1/blobs/missing?entity=cy", {"digests": [digest]}),
    ):
        assert other.send(method, path, body).status == 404, (method, path)


def test_a_wait_ends_with_the_item(server: Running) -> None:
    agent = server.agent("agent-wait", queues=["wait"]) if _queue(server, "wait") else ""
    item = server.admin.add(queue="wait")
    lease = server.lease(agent)["leases"][0]
    server.report(agent, lease, "start")
    told: list[float] = []

    def wait() -> None:
        reply = server.admin.get(f"/api/v1/items/{item['id']}/wait?until=ended&timeout_s=20")
        told.append(time.monotonic())
        assert reply.json["state"] == "finished"

    waiter = threading.Thread(target=wait)
    waiter.start()
    _until(lambda: len(server.app.edge.item_waits) == 1)
    server.report(agent, lease, "finish", exit_code=0)
    reported = time.monotonic()
    waiter.join()
    assert told[0] - reported < 0.25  # a busy machine; the bench measures it beside its goal


def test_an_item_is_leased_by_the_commit_that_adds_it(server: Running) -> None:
    agent = server.agent("agent-same", queues=["same"]) if _queue(server, "same") else ""
    starts = {"limit": 1, "sources": [SOURCE["source"]]}
    answers: list[Any] = []
    poll = threading.Thread(
        target=lambda: answers.append(server.lease(agent, wait_s=20, starts=starts))
    )
    poll.start()
    _until(lambda: len(server.app.edge.polls) == 1)
    commits = server.app.edge.metrics.commits
    item = server.admin.add(queue="same")
    poll.join()
    assert server.app.edge.metrics.commits == commits + 1
    assert [(one["item"], one["started"]) for one in answers[0]["leases"]] == [(item["id"], True)]
    events = server.admin.get(f"/api/v1/items/{item['id']}/events").json["items"]
    assert [event["event"] for event in events] == ["enqueue", "lease", "start"]


def test_a_waiting_agent_is_woken_by_an_item_and_by_a_stop(server: Running) -> None:
    agent = server.agent("agent-poll", queues=["poll"]) if _queue(server, "poll") else ""
    answers: list[Any] = []
    poll = threading.Thread(target=lambda: answers.append(server.lease(agent, wait_s=20)))
    poll.start()
    _until(lambda: len(server.app.edge.polls) == 1)
    began = time.monotonic()
    item = server.admin.add(queue="poll")
    poll.join()
    assert [lease["item"] for lease in answers[0]["leases"]] == [item["id"]]
    poll = threading.Thread(target=lambda: answers.append(server.lease(agent, limit=0, wait_s=20)))
    poll.start()
    _until(lambda: len(server.app.edge.polls) == 1)
    server.admin.post(f"/api/v1/items/{item['id']}/stop", {"grace_s": 1})
    poll.join()
    assert [stop["item"] for stop in answers[1]["stops"]] == [item["id"]]
    assert time.monotonic() - began < 15


def test_a_draining_agent_stands_in_nobodys_way(server: Running) -> None:
    _queue(server, "drain")
    idle, ready = (server.agent(f"agent-drain-{n}", queues=["drain"]) for n in range(2))
    server.admin.post(f"/api/v1/agents/{idle}/drain")
    answers: list[Any] = []
    polls = [
        threading.Thread(target=lambda: server.lease(idle, wait_s=3)),
        threading.Thread(target=lambda: answers.append(server.lease(ready, wait_s=20))),
    ]
    for number, poll in enumerate(polls, start=1):
        poll.start()
        _until(lambda number=number: len(server.app.edge.polls) == number)
    item = server.admin.add(queue="drain")
    for poll in polls:
        poll.join()
    assert [lease["item"] for lease in answers[0]["leases"]] == [item["id"]]


def test_nothing_is_leased_to_an_agent_that_went_away(server: Running) -> None:
    agent = server.agent("agent-away", queues=["away"]) if _queue(server, "away") else ""
    body = json.dumps({"agent": agent, "limit": 1, "wait_s": 20}).encode()
    head = (
        f"POST /api/v1/leases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.admin.key}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(head.encode() + body)
        _until(lambda: len(server.app.edge.polls) == 1)
    _until(lambda: len(server.app.edge.polls) == 0)
    item = server.admin.add(queue="away")
    assert server.admin.get(f"/api/v1/items/{item['id']}").json["state"] == "pending"


def test_every_route_is_closed_to_the_roles_it_does_not_name(
    server: Running, by_role: dict[str, Caller]
) -> None:
    for route in ROUTES:
        if not route.roles:
            continue
        address = _address(route.path)
        nobody = server.caller(None).send(route.method, address)
        assert (nobody.status, nobody.code) == (401, "unauthenticated"), route
        for role in Role:
            body = {} if route.method in {"POST", "PATCH"} else None
            reply = by_role[role].send(route.method, address, body)
            if role in route.roles:
                assert reply.status != 401, (route, role)
            else:
                assert (reply.status, reply.code) == (403, "forbidden"), (route, role)


def test_unknown_addresses_look_like_known_ones_without_a_key(server: Running) -> None:
    stranger = server.caller(None)
    for path in ("/nothing", "/api/v1/items", "/graphql", "/api/v1/items/none", "/metrics"):
        assert stranger.get(path).status == 401
    assert stranger.get("/healthz").json["status"] == "ok"
    assert server.admin.get("/nothing").code == "no_route"


def test_other_peoples_things_look_missing(server: Running, by_role: dict[str, Caller]) -> None:
    item = server.admin.add()
    missing = by_role["member"].get("/api/v1/items/none")
    hidden = by_role["member"].get(f"/api/v1/items/{item['id']}")
    assert hidden.status == missing.status == 404
    assert hidden.text.replace(item["id"], "none") == missing.text


def test_a_revoked_key_stops_working(server: Running) -> None:
    caller = server.user("leaver", "member")
    assert caller.get("/api/v1/me").json["user"] == "leaver"
    key_id = caller.get("/api/v1/keys").json["items"][0]["id"]
    assert server.admin.send("DELETE", f"/api/v1/keys/{key_id}").status == 200
    assert caller.get("/api/v1/me").status == 401


def test_a_create_repeated_with_its_key_gets_the_same_answer(server: Running) -> None:
    key = {"Idempotency-Key": "make-a-key"}
    first = server.admin.post("/api/v1/keys", {"label": "x"}, key)
    again = server.admin.post("/api/v1/keys", {"label": "x"}, key)
    other = server.admin.post("/api/v1/keys", {"label": "y"}, key)
    assert first.json["key"] == again.json["key"]
    assert (other.status, other.code) == (409, "key_reused")
    made = server.admin.post("/api/v1/queues", {"name": "twice", "resource": "any"}, key)
    assert made.status == 201
    assert (
        server.admin.post("/api/v1/queues", {"name": "twice", "resource": "any"}).code == "exists"
    )


def test_lists_are_paged_by_cursors(server: Running) -> None:
    _queue(server, "paged")
    ids = [server.admin.add(queue="paged")["id"] for _ in range(5)]
    found: list[str] = []
    path = "/api/v1/items?queue=paged&limit=2"
    while path:
        page = server.admin.get(path).json
        found += [item["id"] for item in page["items"]]
        following = page["next"]
        path = f"/api/v1/items?queue=paged&limit=2&cursor={following}" if following else ""
    assert found == ids[::-1]


def test_the_description_names_every_route_with_its_roles(server: Running) -> None:
    document = server.admin.get("/api/v1/openapi.json").json
    for route in ROUTES:
        operation = document["paths"][route.path.replace(":path}", "}")][route.method.lower()]
        assert operation["x-roles"] == sorted(route.roles)
        assert operation["summary"]
        if route.method in {"POST", "PUT", "PATCH"} and (route.is_hot or route.is_raw):
            assert operation["requestBody"]
    assert "LeasesBody" in document["components"]["schemas"]


def test_metrics_count_what_happened(server: Running) -> None:
    text = server.admin.get("/metrics").text
    assert 'shipway_items{entity="ann",queue="default",state="pending"}' in text
    assert 'shipway_http_requests_total{route="/api/v1/items",method="POST",status="201"}' in text
    assert "shipway_item_wait_seconds_count" in text


def test_events_stream_until_the_end(server: Running) -> None:
    item = server.admin.add()
    server.admin.post(f"/api/v1/items/{item['id']}/stop")
    stream = server.admin.get(
        f"/api/v1/items/{item['id']}/events", {"Accept": "text/event-stream"}
    ).text
    assert re.findall(r"^event: (\w+)", stream, re.MULTILINE) == [
        "enqueue", "stop_request", "stop", "end",
    ]  # fmt: skip


def _queue(server: Running, name: str) -> bool:
    reply = server.admin.post("/api/v1/queues", {"name": name, "resource": "any"})
    assert reply.status == 201, reply.text
    return True


def _lines(server: Running, item_id: str, mark: str | None) -> list[tuple[str, str]]:
    headers = {"Accept": "text/event-stream"}
    if mark is not None:
        headers["Last-Event-ID"] = mark
    text = server.admin.get(f"/api/v1/items/{item_id}/logs", headers).text
    found = re.findall(r"^id: (\S+)\nevent: line\ndata: (.*)$", text, re.MULTILINE)
    return [(mark, json.loads(data)["text"]) for mark, data in found]


def _until(holds: Any) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.005)
