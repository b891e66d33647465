"""GraphQL, streams and signed addresses over plain HTTP: bad input, statuses, secrets."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipway.server.settings import Limits
from tests.support.embedded import until
from tests.support.rest_server import START_S, Caller, Reply, Running, running

ALIVE = {"exitcode": None, "limits": {}, "stopped": False}
UPSERT = """
mutation Upsert($input: UpsertBucketInput!) {
  upsertBucket(input: $input) {
    bucket { id name displayName historyLineCount project { name } } inserted
  }
}
"""
FILES = """
mutation Files($input: CreateRunFilesInput!) {
  createRunFiles(input: $input) { runID uploadHeaders files { name uploadUrl } }
}
"""
READ = """
query Read($name: String!) { project(name: "demo", entityName: "ann") { run(name: $name) {
  state summaryMetrics history files { edges { node { name directUrl sizeBytes md5 } } } } } }
"""

LINES = """
query Lines($first: Int, $last: Int, $after: String) {
  project(name: "demo", entityName: "ann") { run(name: "talks") {
    logLines(first: $first, last: $last, after: $after) {
      edges { node { number level line } } pageInfo { endCursor hasNextPage } } } } }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Give a server of ann's."""
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


def ask(caller: Caller, query: str, **variables: Any) -> Reply:
    """Send one operation."""
    return caller.post("/graphql", {"query": query, "variables": variables})


def make(server: Running, name: str, **more: Any) -> dict[str, Any]:
    """Make a run of ann's."""
    values = {"name": name, "modelName": "demo", "entityName": "ann", "host": "h", **more}
    reply = ask(server.admin, UPSERT, input=values)
    assert reply.status == 200, reply.text
    made: dict[str, Any] = reply.json["data"]["upsertBucket"]["bucket"]
    return made


def stream(caller: Caller, name: str, body: Any) -> Reply:
    """Send lines of a run."""
    return caller.post(f"/files/ann/demo/{name}/file_stream", body)


def history(offset: int, *steps: int) -> dict[str, Any]:
    """Make lines of the history."""
    lines = [json.dumps({"_step": step, "x": step}) for step in steps]
    return {"files": {"wandb-history.jsonl": {"offset": offset, "content": lines}}}


def steps(server: Running, name: str) -> list[int]:
    """Return the steps that a run has."""
    run = ask(server.admin, READ, name=name).json["data"]["project"]["run"]
    return [json.loads(row)["_step"] for row in run["history"]]


def test_holes_and_old_offsets_corrupt_nothing(server: Running) -> None:
    make(server, "holes")
    for offset, sent in ((0, [0, 1]), (1, [1, 2]), (5, [5, 6]), (0, [9]), (3, [3, 4, 50, 60, 7])):
        assert stream(server.admin, "holes", history(offset, *sent)).status == 200
    assert sorted(steps(server, "holes")) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert make(server, "holes")["historyLineCount"] == 8


def test_a_line_of_ten_megabytes_and_bare_nan_are_kept(server: Running) -> None:
    make(server, "large")
    lines = ['{"_step":0,"text":"' + "x" * 10_000_000 + '"}', '{"_step":1,"a":NaN,"b":-Infinity}']
    body = {"files": {"wandb-history.jsonl": {"offset": 0, "content": lines}}}
    assert stream(server.admin, "large", body).status == 200
    rows = server.admin.get("/api/v1/runs/ann/demo/large/history").json["items"]
    assert [len(rows[0]["text"]), rows[1]["b"]] == [10_000_000, float("-inf")]


def test_the_console_is_read_by_pages_and_from_its_end(server: Running) -> None:
    make(server, "talks")
    lines = [f"2026-11-24T10:00:00.000000 line {number}" for number in range(5)]
    lines[3] = f"ERROR {lines[3]}"
    stream(server.admin, "talks", {"files": {"output.log": {"offset": 0, "content": lines}}})

    def page(**asked: Any) -> tuple[list[tuple[int, str, str]], dict[str, Any]]:
        run = ask(server.admin, LINES, **asked).json["data"]["project"]["run"]["logLines"]
        nodes = [edge["node"] for edge in run["edges"]]
        return [(node["number"], node["level"], node["line"]) for node in nodes], run["pageInfo"]

    first, info = page(first=3)
    assert first == [(number, "", f"line {number}") for number in range(3)]
    assert info["hasNextPage"]
    assert page(first=3, after=info["endCursor"]) == (
        [(3, "error", "line 3"), (4, "", "line 4")], {"endCursor": "4", "hasNextPage": False},
    )  # fmt: skip
    assert page(last=2)[0] == [(3, "error", "line 3"), (4, "", "line 4")]
    assert page(last=0) == ([], {"endCursor": None, "hasNextPage": False})
    assert "after" in ask(server.admin, LINES, after="x").text


def test_an_end_is_taken_twice_and_a_heartbeat_wakes_the_run(server: Running) -> None:
    make(server, "ends")
    for _ in range(2):
        assert stream(server.admin, "ends", {"complete": True, "exitcode": 2}).status == 200
    run = server.admin.get("/api/v1/runs/ann/demo/ends").json
    assert (run["state"], run["exit_code"]) == ("failed", 2)
    assert stream(server.admin, "ends", {}).json == ALIVE
    assert server.admin.get("/api/v1/runs/ann/demo/ends").json["state"] == "running"
    server.admin.post("/api/v1/runs/ann/demo/ends/stop")
    assert stream(server.admin, "ends", {}).json == {**ALIVE, "stopped": True}


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("never-made", {}, 404),
        ("bad", b"{", 400),
        ("bad", [], 400),
        ("bad", {"files": {"output.log": {"offset": -1, "content": ["x"]}}}, 400),
    ],
)
def test_what_can_never_pass_ends_the_stream(
    server: Running, name: str, body: Any, status: int
) -> None:
    make(server, "bad")
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = f"/files/ann/demo/{name}/file_stream"
    assert server.admin.send("POST", path, raw).status == status


def test_overload_is_a_503_with_retry_after(tmp_path: Path) -> None:
    """A 4xx would end the client's stream for good."""
    release = threading.Event()
    with running(tmp_path, limits=Limits(writes=1)) as full:
        full.app.edge.store.write(lambda _: release.wait(START_S))
        until(lambda: full.app.edge._writing, within_s=START_S, what="a tick waits")
        reply = stream(full.admin, "any", {})
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        reply = ask(full.admin, UPSERT, input={"name": "r", "modelName": "demo"})
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "writes wait" in reply.json["errors"][0]["message"]
        release.set()


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "not JSON"),
        ([], 400, "JSON object"),
        ({"query": 3}, 400, "query"),
        ({"query": "{ viewer { id } }", "variables": []}, 400, "variables"),
        ({"query": "{ nothing }"}, 400, "nothing"),
        ({"query": "{" * 50}, 400, "deeper"),
        ({"query": UPSERT, "variables": {"input": {"name": "x", "config": 3}}}, 400, "config"),
        ({"query": UPSERT, "variables": {"input": {"name": "a/b"}}}, 400, "'a/b'"),
        ({"query": UPSERT, "variables": {"input": {"name": "x", "entityName": "no"}}}, 404, "'no'"),
        ({"query": UPSERT, "variables": {"input": {"name": "x", "config": "[]"}}}, 400, "config"),
        ({"query": UPSERT, "variables": {"input": {"tags": 3}}}, 400, "tags"),
    ],
)
def test_what_is_refused_says_why_where_the_client_looks(
    server: Running, body: Any, status: int, reason: str
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = server.admin.send("POST", "/graphql", raw)
    assert reply.status == status, reply.text
    assert reason in reply.json["errors"][0]["message"]


def test_a_key_comes_as_basic_and_a_wrong_one_is_a_401(server: Running) -> None:
    def basic(key: str | None) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"api:{key}".encode()).decode()}

    nobody = server.caller(None)
    query = {"query": "{ viewer { username entity flags } }"}
    reply = nobody.post("/graphql", query, basic(server.admin.key))
    assert reply.json == {"data": {"viewer": {"username": "ann", "entity": "ann", "flags": "{}"}}}
    for headers in ({}, basic("k" * 40)):
        reply = nobody.post("/graphql", query, headers)
        assert reply.status == 401
        assert reply.json["errors"][0]["message"]


def test_telemetry_of_clients_is_declined_without_a_key(server: Running) -> None:
    """Earns: all but a 404 lets newer clients send some, and fail in the user's log."""
    for path in ("/sdk/otel/v1/metrics", "/sdk/otel/v1/logs"):
        assert server.caller(None).post(path).status == 404


def test_a_file_goes_and_comes_by_addresses_that_need_no_key(
    server: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    make(server, "files")
    named = {"entityName": "ann", "projectName": "demo", "runName": "files", "files": ["a/b.txt"]}
    (granted,) = ask(server.admin, FILES, input=named).json["data"]["createRunFiles"]["files"]
    base = f"http://127.0.0.1:{server.port}"
    assert granted["uploadUrl"].startswith(base + "/files/signed/")
    path = granted["uploadUrl"].removeprefix(base)
    nobody = server.caller(None)
    assert nobody.send("PUT", path, b"data").status == 200
    run = ask(server.admin, READ, name="files").json["data"]["project"]["run"]
    (edge,) = run["files"]["edges"]
    assert (edge["node"]["name"], edge["node"]["sizeBytes"]) == ("a/b.txt", 4)
    reply = nobody.get(edge["node"]["directUrl"].removeprefix(base))
    assert (reply.status, reply.data) == (200, b"data")
    assert "attachment" in reply.headers["content-disposition"]
    assert nobody.send("PUT", path[:-1], b"data").status == 401
    assert nobody.send("GET", path).status == 403
    logged = capfd.readouterr()
    assert path.rpartition("/")[2][:40] not in logged.out + logged.err


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "", "a\nb"])
def test_a_file_s_name_stays_within_its_run(server: Running, path: str) -> None:
    make(server, "names")
    named = {"entityName": "ann", "projectName": "demo", "runName": "names", "files": [path]}
    reply = ask(server.admin, FILES, input=named)
    assert (reply.status, reply.json["data"]["createRunFiles"]) == (400, None)


def test_others_get_the_answer_of_a_missing_run(server: Running) -> None:
    made = make(server, "private")
    bob = server.user("bob", "member")
    assert stream(bob, "private", {}).status == 404
    named = {"entityName": "ann", "projectName": "demo", "runName": "private", "files": ["x"]}
    assert ask(bob, FILES, input=named).status == 404
    assert ask(bob, READ, name="private").json == {"data": {"project": None}}
    stop = "mutation($id: ID!) { stopRun(input: {id: $id}) { success } }"
    assert ask(bob, stop, id=made["id"]).status == 404
    mine = ask(bob, UPSERT, input={"id": made["id"], "notes": "mine now"})
    assert mine.status == 404
    viewer = server.user("vic", "viewer")
    assert ask(viewer, UPSERT, input={"name": "x", "modelName": "demo"}).status == 403
