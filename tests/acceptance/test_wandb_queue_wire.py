"""Queues and pushes of the wandb protocol over plain HTTP: both forms, bad input, other tenants."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.rest_server import Caller, Reply, Running, running

MAKE = "mutation M($input: CreateRunQueueInput!) { createRunQueue(input: $input) { queueID } }"
CONFIG = """
mutation C($input: CreateDefaultResourceConfigInput!) {
  createDefaultResourceConfig(input: $input) { success defaultResourceConfigID }
}
"""
PUT = "mutation U($input: UpsertRunQueueInput!) { upsertRunQueue(input: $input) { success } }"
DROP = "mutation D($ids: [ID!]!) { deleteRunQueues(input: {queueIDs: $ids}) { success } }"
BY_NAME = """
mutation P($input: PushToRunQueueByNameInput!) {
  pushToRunQueueByName(input: $input) { runQueueItemId runSpec }
}
"""
BY_ID = (
    "mutation P($input: PushToRunQueueInput!) { pushToRunQueue(input: $input) { runQueueItemId } }"
)
DELETE = """
mutation D($queue: ID!, $item: ID!) {
  deleteFromRunQueue(input: {queueID: $queue, runQueueItemId: $item}) { success }
}
"""
QUEUES = """
query Q($entity: String!, $project: String!) {
  project(entityName: $entity, name: $project) { runQueues { id name access createdBy state } }
}
"""
QUEUE = """
query Q($entity: String!, $name: String!, $item: ID!, $config: ID!) {
  project(entityName: $entity, name: "model-registry") { runQueue(name: $name) {
    id access prioritizationMode runQueueItems(first: 2) { edges { node { id } } }
    runQueueItem(id: $item) { id state associatedRunId priority error { message } }
  } }
  entity(name: $entity) { defaultResourceConfig(id: $config) {
    config resource templateVariables { name schema } } }
}
"""
SIZES = {"n": {"schema": {"type": "integer", "maximum": 8, "default": 1}}}
CONFIG_ARGS = {"resource_args": {"local-container": {"gpus": "{{n}}"}}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Give a server of ann's, who is its admin."""
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


def ask(caller: Caller, query: str, **variables: Any) -> Reply:
    """Send one operation."""
    return caller.post("/graphql", {"query": query, "variables": variables})


def done(reply: Reply, field: str) -> Any:
    """Return what a mutation answered."""
    assert reply.status == 200, reply.text
    return reply.json["data"][field]


def make(caller: Caller, name: str, *, entity: str = "ann", **more: Any) -> str:
    """Make a queue as the client does; return its id."""
    values = {"resource": "local-container", "config": json.dumps(CONFIG_ARGS)}
    asked = {"entityName": entity, "templateVariables": json.dumps(SIZES), **values}
    config = done(ask(caller, CONFIG, input=asked), "createDefaultResourceConfig")
    named = {"entityName": entity, "projectName": "model-registry", "queueName": name}
    values = {**named, "access": "PROJECT", "prioritizationMode": "V0", **more}
    values["defaultResourceConfigID"] = config["defaultResourceConfigID"]
    return str(done(ask(caller, MAKE, input=values), "createRunQueue")["queueID"])


def a_push(spec: Any = None, **more: Any) -> dict[str, Any]:
    """Return what a push by name says."""
    said = {"entity": "ann", "project": "demo", "docker": {"docker_image": "box:1"}, "git": {},
            "resource": None, "overrides": {}}  # fmt: skip
    spec = {**said, **(spec or {})} if isinstance(spec, dict | None) else spec
    text = spec if isinstance(spec, str) else json.dumps(spec)
    named = {"entityName": "ann", "projectName": "model-registry", "queueName": "boxes"}
    return {**named, "runSpec": text, **more}


def by_id(queue: str, push: dict[str, Any]) -> dict[str, Any]:
    """Return the same push by the queue's id."""
    kept = {key: push[key] for key in ("runSpec", "templateVariableValues", "priority")
            if key in push}  # fmt: skip
    return {"queueID": queue, **kept}


def items(server: Running) -> int:
    """Count all items."""
    return len(server.admin.get("/api/v1/items?limit=100").json["items"])


def test_a_push_is_an_item_of_ours_and_a_run_to_come(server: Running) -> None:
    queue = make(server.admin, "boxes")
    overrides = {
        "run_config": {"lr": 1},
        "args": ["--x"],
        "files": {"a.yaml": {"b": 1}},
        "artifacts": {"in": {"id": 3}},
        "dockerfile": "d/Dockerfile",
    }
    spec = {
        "name": "nice",
        "author": "eve",
        "sweep_id": "s1",
        "run_id": "r1",
        "alpha": 0.5,
        "resource_args": {"local-container": {"cpus": 2}},
        "overrides": overrides,
    }
    made = done(
        ask(server.admin, BY_NAME, input=a_push(spec, templateVariableValues='{"n": 2}')),
        "pushToRunQueueByName",
    )
    answer = json.loads(made["runSpec"])
    item = server.admin.get(f"/api/v1/items/{made['runQueueItemId']}").json
    kept = item["spec"]

    args = {"local-container": {"gpus": 2, "cpus": 2}}
    chosen = {"resource": "local-container", "resource_args": args}
    assert answer == {**json.loads(a_push(spec)["runSpec"]), **chosen}
    assert kept["resource_args"] == args
    assert (item["run_id"], item["author"], item["sweep_id"], item["queue"]) == (
        "r1", "eve", "s1", "boxes",
    )  # fmt: skip
    assert kept["run_config"] == {"alpha": 0.5, "lr": 1}
    assert (kept["args"], kept["files"], kept["dockerfile"]) == (
        ["--x"], {"a.yaml": {"b": 1}}, "d/Dockerfile",
    )  # fmt: skip
    assert (kept["artifacts"], kept["template_variables"]) == ({"in": {"id": 3}}, {"n": 2})

    config = base64.b64encode(b"DefaultResourceConfig:" + base64.b64decode(queue)[9:]).decode()
    asked = {"entity": "ANN", "name": "boxes", "item": item["id"], "config": config}
    found = ask(server.admin, QUEUE, **asked).json["data"]
    node = found["project"]["runQueue"]
    assert (node["id"], node["access"], node["prioritizationMode"]) == (queue, "PROJECT", "V0")
    assert node["runQueueItem"] == {
        "id": item["id"], "state": "PENDING", "associatedRunId": None, "priority": 2, "error": None,
    }  # fmt: skip
    assert found["entity"]["defaultResourceConfig"] == {
        "config": CONFIG_ARGS, "resource": "local-container",
        "templateVariables": [
            {"name": "n", "schema": '{"type":"integer","maximum":8,"default":1}'}
        ],
    }  # fmt: skip
    again = done(ask(server.admin, BY_ID, input=by_id(queue, a_push())), "pushToRunQueue")
    assert ask(server.admin, DROP, ids=[queue]).status == 409
    for one in (item["id"], again["runQueueItemId"]):
        assert done(ask(server.admin, DELETE, queue=queue, item=one), "deleteFromRunQueue")
    gone = ask(server.admin, QUEUE, **asked).json["data"]["project"]["runQueue"]
    assert gone["runQueueItems"]["edges"] == []
    assert (gone["runQueueItem"]["state"], gone["runQueueItem"]["associatedRunId"]) == (
        "FAILED", "r1",
    )  # fmt: skip
    assert done(ask(server.admin, DROP, ids=[queue]), "deleteRunQueues") == {"success": True}


@pytest.mark.parametrize(
    ("push", "status", "why"),
    [
        (a_push(templateVariableValues='{"n": 9}'), 400, "must be a whole number of at most 8"),
        (a_push(templateVariableValues='{"m": 1}'), 400, "has no template variable 'm'"),
        (a_push(templateVariableValues="[1]"), 400, "must be a JSON object"),
        (a_push("no JSON"), 400, "runSpec must be a JSON object"),
        (a_push('"text"'), 400, "runSpec must be a JSON object"),
        (a_push({"docker": {}}), 400, "exactly one of uri, job and docker_image"),
        (a_push({"docker": {}, "job": "ann/demo/no:latest"}), 404, "there is no job 'ann/demo/no"),
        (a_push({"docker": {}, "job": "no"}), 400, "'no' is not a job's address"),
        (a_push({"docker": {}, "uri": "https://example.test/a.git"}), 400, "is not resolved"),
        (a_push({"docker": {}, "uri": "placeholder-uri-scheduler"}), 400, "scheduler"),
        (a_push({"resource": "kubernetes"}), 400, "has the resource 'local-container'"),
        (a_push({"resource_arg": {}}), 400, "did you mean 'resource_args'"),
        (a_push({"overrides": {"colour": 1}}), 400, "unknown key 'colour'"),
        (a_push({"overrides": {"args": [1]}}), 400, "overrides.args must be a list of strings"),
        (a_push({"builder": {"type": "x"}}), 400, "config.builder is not available"),
        (a_push({"registry": {"url": "x:tag"}}), 400, "names a tag or a digest"),
        (a_push({"_wandb_api_key": "k"}), 400, "is set by a server"),
        (a_push({"_resume_count": 1, "run_id": "never"}), 404, "there is no run ann/demo/never"),
        (a_push({"entity": "nobody"}), 404, "there is no entity 'nobody'"),
        (a_push({"run_id": "a/b"}), 400, "run_id 'a/b' is not a name"),
        (a_push(priority=4), 400, "priority 4 is not one of"),
    ],
)  # fmt: skip
def test_both_forms_of_a_push_refuse_alike_and_leave_nothing(
    server: Running, push: dict[str, Any], status: int, why: str
) -> None:
    (queue,) = _named(server, "boxes") or [make(server.admin, "boxes")]
    before = items(server)
    first = ask(server.admin, BY_NAME, input=push)
    second = ask(server.admin, BY_ID, input=by_id(queue, push))
    assert (first.status, second.status) == (status, status), first.text
    for reply in (first, second):
        assert why in reply.json["errors"][0]["message"]
    assert items(server) == before


def test_queues_that_are_not_there_and_ids_that_are_none(server: Running) -> None:
    admin = server.admin
    missing = ask(admin, BY_NAME, input=a_push(queueName="nothing"))
    assert (missing.status, "there is no queue 'nothing' of ann" in missing.text) == (404, True)
    odd = base64.b64encode(b"RunQueue:999").decode()
    for node, status in (("?", 400), ("UnVuUXVldWU6", 400), (odd, 404)):
        assert ask(admin, BY_ID, input=by_id(node, a_push())).status == status
        assert ask(admin, DROP, ids=[node]).status == status
    named = {"entityName": "ann", "projectName": "model-registry", "queueName": "odd"}
    for text in ("DefaultResourceConfig:[]", "DefaultResourceConfig:[1,{},{}]", "RunQueue:1",
                 "DefaultResourceConfig:true", "DefaultResourceConfig:-1"):  # fmt: skip
        config = base64.b64encode(text.encode()).decode()
        asked = {**named, "access": "PROJECT", "defaultResourceConfigID": config}
        assert ask(admin, MAKE, input=asked).status == 400, text
    links = '{"links": [{"label": "x", "url": "javascript:alert(1)"}]}'
    asked = {**named, "resourceType": "local-container", "resourceConfig": "{}"}
    for bad in (links, "[]", '{"more": 1}', '{"links": [{"url": "https://x.test"}]}'):
        assert ask(admin, PUT, input={**asked, "externalLinks": bad}).status == 400, bad
    deep = '{"resource_args": ' + '{"a": ' * 500 + "1" + "}" * 501
    for bad in (deep, '{"resource_args": {"local-container": {"a": NaN}}}'):
        assert ask(admin, PUT, input={**asked, "resourceConfig": bad}).status == 400
        config = {"entityName": "ann", "resource": "local-container", "config": bad}
        assert ask(admin, CONFIG, input=config).status == 400
        node = base64.b64encode(f'DefaultResourceConfig:["any",{bad},{{}}]'.encode()).decode()
        made = {**named, "access": "PROJECT", "defaultResourceConfigID": node}
        assert ask(admin, MAKE, input=made).status == 400
    assert ask(admin, BY_NAME, input=a_push('{"a": ' * 500 + "1" + "}" * 500)).status == 400
    assert _named(server, "odd") == []


def test_others_neither_see_nor_use_a_queue(server: Running) -> None:
    queue = make(server.admin, "private")
    bob = server.user("bob", "member")
    config = base64.b64encode(b"DefaultResourceConfig:" + base64.b64decode(queue)[9:]).decode()
    mine = {"entity": "bob", "docker": {"docker_image": "box:1"}}
    before = items(server)
    item = done(
        ask(server.admin, BY_ID, input=by_id(queue, a_push())), "pushToRunQueue"
    )["runQueueItemId"]  # fmt: skip
    assert ask(bob, QUEUES, entity="ann", project="model-registry").json == {
        "data": {"project": None}
    }
    for spec in (mine, {}):
        push = a_push(spec, queueName="private")
        assert ask(bob, BY_NAME, input=push).status == 404
        assert ask(bob, BY_ID, input=by_id(queue, push)).status == 404
    assert ask(bob, DROP, ids=[queue]).status == 404
    assert ask(bob, DELETE, queue=queue, item=item).status == 404
    found = ask(bob, QUEUE, entity="bob", name="default", item=item, config=config).json["data"]
    assert found["project"]["runQueue"]["runQueueItem"] is None
    assert found["entity"]["defaultResourceConfig"] is None
    asked = {"entityName": "ann", "projectName": "model-registry", "queueName": "private"}
    changed = {**asked, "resourceType": "local-container", "resourceConfig": "{}"}
    assert ask(bob, PUT, input=changed).status == 404
    copied = {**asked, "entityName": "bob", "access": "PROJECT", "defaultResourceConfigID": config}
    assert ask(bob, MAKE, input=copied).status == 404
    viewer = server.user("vic", "viewer")
    named = a_push({"entity": "vic"}, entityName="vic", queueName="default")
    assert ask(viewer, BY_NAME, input=named).status == 403
    assert items(server) == before + 1


def test_a_personal_queue_is_its_makers(server: Running) -> None:
    bob = server.user("rob", "member")
    carl = server.user("carl", "member", entity="rob")
    queue = make(bob, "own", entity="rob", access="USER")
    push = a_push({"entity": "rob"}, entityName="rob", queueName="own")
    assert ask(carl, BY_NAME, input=push).status == 404
    assert ask(carl, BY_ID, input=by_id(queue, push)).status == 404
    names = [one["name"] for one in carl.get("/api/v1/queues").json["items"]]
    assert "own" not in names
    assert "own" not in ask(carl, BY_NAME, input={**push, "queueName": "no"}).text
    found = ask(bob, QUEUES, entity="rob", project="model-registry").json["data"]["project"]
    assert {one["name"]: one["access"] for one in found["runQueues"]} == {
        "default": "PROJECT", "own": "USER",
    }  # fmt: skip
    assert done(ask(bob, BY_ID, input=by_id(queue, push)), "pushToRunQueue")["runQueueItemId"]


def _named(server: Running, name: str) -> list[str]:
    found = ask(server.admin, QUEUES, entity="ann", project="model-registry").json["data"]
    return [one["id"] for one in found["project"]["runQueues"] if one["name"] == name]
