"""No request that the OpenAPI document describes, well or badly made, brings the server down."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from shipway.domain.attempt import LogStream, encode_frame
from shipway.service.ports import Store
from shipway.store.open import open_store
from shipway.store.sqlite import Durability
from shipway.testing.postgres import find_binaries, running_postgres
from tests.support.rest_fuzz import Known, Verdicts, fuzz, listening
from tests.support.rest_server import SOURCE, Running, running

EACH = 4  # requests to every route in `make test`
LONG_EACH = 430  # and in `make test-long`, on each database: 50,000 in all
COMMIT = "a" * 40
DRAFT = {
    **SOURCE,
    "queue": "default",
    "entity": "ann",
    "project": "demo",
    "name": "a name",
    "author": "ann",
    "priority": 1,
    "resource": "local-process",
    "resource_args": {"local-process": {"grace_s": 1, "run_limit_s": 9, "env": {"A": "b"}}},
    "entry_point": ["python", "main.py"],
    "args": ["--n", "1"],
    "run_config": {"lr": 0.1, "layers": [1, {"x": None}]},
    "python": "3.11",
}
FRAME = encode_frame(LogStream.STDOUT, 1, b"one\ntwo\n")
FAILURE = {"stage": "run", "failure_class": "exit", "reason": "code 1", "exit_code": 1}
JOB = {"name": "train", "kind": "git", "source": SOURCE["source"], "entry_point": ["main.py"]}
QUEUE = {"name": "other", "resource": "local-process", "on_lost": "retry:2"}
SIZE, CHUNK = len(FRAME), zlib.compress(FRAME)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/shipway.db"
        yield open_store(url, migrate=True, durability=Durability.OFF)
        return
    if find_binaries() is None:
        pytest.skip("no PostgreSQL server is installed")
    with running_postgres() as url:
        yield open_store(url, migrate=True, durability=Durability.OFF)


def test_no_request_is_too_odd(tmp_path: Path, store: Store) -> None:
    """Earns its time: every route, its body right, nearly right and wrong, on both databases."""
    check(tmp_path, store, EACH)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_no_request_of_50_000_is_too_odd(tmp_path: Path, store: Store) -> None:
    check(tmp_path, store, LONG_EACH)


def check(folder: Path, store: Store, each: int) -> None:
    number = random.SystemRandom().getrandbits(32)
    with running(folder, store=store) as server:
        known = furnish(server)
        verdicts = Verdicts()
        with listening(verdicts):
            fuzz(server, known, verdicts, each=each, number=number)
        assert not verdicts.faults, f"seed {number}, {verdicts.statuses}\n{verdicts}"
        assert sum(verdicts.statuses.values()) >= each * 50
        assert {200, 201, 400, 401, 403, 404} <= set(verdicts.statuses)


def furnish(server: Running) -> Known:
    """Give the server some of everything, and tell its names."""
    admin = server.admin
    agent = server.agent(slots=50)
    for number in range(6):
        admin.add(**{**DRAFT, "name": f"item {number}"})
    leases = server.lease(agent, limit=4)["leases"]
    for lease in leases[:3]:
        server.report(agent, lease, "start")
        sent = f"/api/v1/items/{lease['item']}/log/program?attempt=1&offset=0"
        token = {"Shipway-Token": lease["token"]}
        assert admin.send("POST", sent, CHUNK, token).status == 200
    server.report(agent, leases[0], "finish", log_sizes={"program": SIZE})
    server.report(agent, leases[1], "fail", failure=FAILURE)
    blob = b"a blob"
    digest = hashlib.sha256(blob).hexdigest()
    assert admin.send("PUT", f"/api/v1/blobs/{digest}", blob).status == 201
    made = admin.post("/api/v1/jobs", {**JOB, "entity": "ann", "project": "demo"})
    assert made.status == 201, made.text
    assert admin.post("/api/v1/queues", QUEUE).status == 201
    keys = [admin.key] * 6
    keys += [server.user(f"user-{role}", role).key for role in ("member", "viewer", "agent")]
    items = [item["id"] for item in admin.get("/api/v1/items").json["items"]]
    held = [{"item": lease["item"], "token": lease["token"]} for lease in leases]
    return Known(
        names={
            "item_id": items,
            "item": items,
            "token": [lease["token"] for lease in leases],
            "entity": ["ann"],
            "project": ["demo", "uncategorized"],
            "run_id": [lease["item_json"]["run_id"] for lease in leases],
            "name": ["program", "program", "records", "default", "other", "user-viewer", "train"],
            "address": ["train:latest", "train:v0"],
            "queue": ["default", "other"],
            "agent": [agent],
            "agent_id": [agent],
            "digest": [digest],
            "key_id": ["0" * 12],
            "path": ["output.txt", "a/b"],
            "state": ["pending", "running", "failed"],
        },
        bodies=bodies(agent, held, digest),
        keys=[*keys, None],
        leases=[(lease["item"], lease["token"]) for lease in leases],
        offsets=[0, SIZE, SIZE, 2 * SIZE],
    )  # fmt: skip


def bodies(agent: str, held: Sequence[Mapping[str, str]], digest: str) -> dict[str, Sequence[Any]]:
    """Return good bodies by route."""
    report = {**held[2], "event": "finish", "exit_code": 0, "log_sizes": {"program": SIZE}, "at": 1}
    return {
        "POST /api/v1/items": [DRAFT],
        "POST /api/v1/items/batch": [{"items": [{**DRAFT, "idempotency_key": "k"}, DRAFT]}],
        "POST /api/v1/items/{item_id}/stop": [{"grace_s": 1}],
        "POST /api/v1/items/{item_id}/priority": [{"priority": 2}, {"priority": "low"}],
        "POST /api/v1/items/{item_id}/pin": [{"token": held[3]["token"], "lock": digest}],
        "POST /api/v1/items/{item_id}/log/{name}": [CHUNK, zlib.compress(b'{"kind": 1}\n')],
        "POST /api/v1/leases": [
            {"agent": agent, "limit": 2, "wait_s": 0.01, "used_slots": 1, "held": held,
             "starts": {"limit": 1, "sources": [SOURCE["source"]]},
             "reports": [{**report, "failure": FAILURE, "event": "fail"}]},
            {"agent": agent, "limit": 1, "wait_s": 0.01},
        ],
        "POST /api/v1/leases/renew": [{"agent": agent, "leases": held}],
        "POST /api/v1/leases/report": [{"agent": agent, "reports": [report]}],
        "POST /api/v1/blobs/missing": [{"digests": [digest, "f" * 64]}],
        "POST /api/v1/blobs/fetch": [{"digests": [digest]}],
        "POST /api/v1/queues": [{**QUEUE, "name": "third", "config": {}, "priorities": True,
                                 "lost_after_s": 60, "max_attempts": 3, "project": "demo"}],
        "PATCH /api/v1/queues/{name}": [{"on_lost": "fail", "lost_after_s": 60, "config": {
            "resource_args": {"local-process": {"grace_s": 1}}}}],
        "POST /api/v1/jobs": [{**JOB, "aliases": ["best"], "run_config": {"a": 1}}],
        "PATCH /api/v1/runs/{entity}/{project}/{run_id}": [
            {"config": {"a": 1}, "summary": {"b": {"c": [1]}}}
        ],
        "PATCH /api/v1/sweeps/{entity}/{project}/{sweep_id}": [{"state": "paused"}],
        "POST /api/v1/runs/{entity}/{project}/{run_id}/history": [
            {"rows": [{"_step": 1, "loss": 0.5}, {"loss": float("nan")}]}
        ],
        "POST /api/v1/agents": [{"id": "agent-2", "queues": ["default"], "slots": 1,
                                 "resources": ["local-process"], "facts": {"a": 1}}],
        "POST /api/v1/agents/{agent_id}/goodbye": [{"process": "p"}],
        "POST /api/v1/users": [{"name": "bob", "role": "member"}],
        "POST /api/v1/keys": [{"user": "user-viewer", "label": "laptop", "role": "viewer"}],
    }  # fmt: skip
