"""What launch agents say to GraphQL, over plain HTTP: bad input, other people, long queues."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.rest_server import Caller, Reply, Running, running

QUEUES = """query Q($e: String!) { project(entityName: $e, name: "model-registry") {
  runQueues { id name access } } }"""
CREATE = """mutation C($input: CreateLaunchAgentInput!) {
  createLaunchAgent(input: $input) { launchAgentId } }"""
SHOW = """query S($id: ID!) { launchAgent(id: $id) {
  id name runQueues hostname agentStatus stopPolling heartbeatAt } }"""
UPDATE = (
    "mutation U($input: UpdateLaunchAgentInput!) { updateLaunchAgent(input: $input) { success } }"
)
POP = """mutation P($input: PopFromRunQueueInput!) {
  popFromRunQueue(input: $input) { runQueueItemId runSpec } }"""
ACK = "mutation A($input: AckRunQueueItemInput!) { ackRunQueueItem(input: $input) { success } }"
TEAM = "query T($e: String!) { entity(name: $e) { isTeam } }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Give a server of ann's."""
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


def ask(caller: Caller, query: str, **variables: Any) -> Reply:
    """Send one operation."""
    return caller.post("/graphql", {"query": query, "variables": variables})


def said(reply: Reply) -> tuple[int, str]:
    """Return a refusal's status and message."""
    return reply.status, str(reply.json["errors"][0]["message"])


def queue_of(caller: Caller, entity: str = "ann") -> str:
    """Return the id of the default queue."""
    queues = ask(caller, QUEUES, e=entity).json["data"]["project"]["runQueues"]
    return next(str(queue["id"]) for queue in queues if queue["name"] == "default")


def agent_input(queue: str, **more: Any) -> dict[str, Any]:
    """Return what an agent says as it begins."""
    return {
        "entityName": "ann", "projectName": "model-registry", "runQueues": [queue],
        "hostname": "h", "version": "wandb@0.31.0", **more,
    }  # fmt: skip


def test_an_agent_begins_lives_and_ends(server: Running) -> None:
    made = ask(server.admin, CREATE, input=agent_input(queue_of(server.admin)))
    agent = made.json["data"]["createLaunchAgent"]["launchAgentId"]
    shown = ask(server.admin, SHOW, id=agent).json["data"]["launchAgent"]
    assert (shown["name"], shown["agentStatus"], shown["stopPolling"]) == (agent, "POLLING", False)
    server.admin.post(f"/api/v1/agents/{agent}/stop", {})
    assert ask(server.admin, SHOW, id=agent).json["data"]["launchAgent"]["stopPolling"]
    killed = ask(server.admin, UPDATE, input={"launchAgentId": agent, "agentStatus": "KILLED"})
    assert killed.json["data"]["updateLaunchAgent"] == {"success": True}
    shown = ask(server.admin, SHOW, id=agent).json["data"]["launchAgent"]
    assert (shown["agentStatus"], shown["stopPolling"]) == ("KILLED", True)


def test_bad_input_of_agents_is_named(server: Running) -> None:
    admin, queue = server.admin, queue_of(server.admin)
    agent = ask(admin, CREATE, input=agent_input(queue)).json["data"]["createLaunchAgent"]
    agent_id = agent["launchAgentId"]
    pop = {"entityName": "ann", "projectName": "model-registry", "queueName": "default"}
    for query, given, status, words in (
        (CREATE, agent_input("nothing"), 400, "is no id of this server"),
        (CREATE, agent_input(queue, agentConfig="[]"), 400, "agentConfig must be a JSON object"),
        (CREATE, agent_input(queue, agentConfig='{"max_jobs": -7}'), 400, "max_jobs"),
        (UPDATE, {"launchAgentId": agent_id, "agentStatus": "ASLEEP"}, 400, "none of POLLING"),
        (UPDATE, {"launchAgentId": "x"}, 404, "there is no agent"),
        (POP, pop, 400, "launchAgentId is missing"),
        (POP, {**pop, "launchAgentId": agent_id, "queueName": "q"}, 404, "there is no queue"),
        (POP, {**pop, "launchAgentId": "x\0"}, 404, "there is no agent"),
        (ACK, {"runQueueItemId": "x", "runName": "r"}, 400, "no id of a lease"),
    ):
        found = said(ask(admin, query, input=given))
        assert found[0] == status, (given, found)
        assert words in found[1], (given, found)
    unknown = {"runQueueItemId": "unknown.1", "runName": "r"}
    assert ask(admin, ACK, input=unknown).json["data"]["ackRunQueueItem"] == {"success": False}
    empty = ask(admin, POP, input={**pop, "launchAgentId": agent_id})
    assert empty.json == {"data": {"popFromRunQueue": None}}


def test_other_people_s_queues_and_agents_look_missing(server: Running) -> None:
    bob = server.user("bob", "member")
    queue = queue_of(server.admin)
    agent = ask(server.admin, CREATE, input=agent_input(queue)).json["data"]["createLaunchAgent"]
    assert said(ask(bob, CREATE, input=agent_input(queue)))[1].startswith("there is no queue")
    shown = ask(bob, SHOW, id=agent["launchAgentId"])
    assert said(shown)[1].startswith("there is no agent")
    assert ask(server.admin, TEAM, e="ann").json["data"]["entity"] == {"isTeam": False}
    cay = {"name": "cay", "role": "member", "entity": "bob"}
    assert server.admin.post("/api/v1/users", cay).status == 201
    assert ask(bob, TEAM, e="bob").json["data"]["entity"] == {"isTeam": True}


def test_a_popped_item_is_what_was_launched(server: Running) -> None:
    admin = server.admin
    made = admin.post("/api/v1/queues", {"name": "boxes", "resource": "local-container"})
    assert made.status == 201, made.text
    queues = ask(admin, QUEUES, e="ann").json["data"]["project"]["runQueues"]
    queue = next(one["id"] for one in queues if one["name"] == "boxes")
    agent = ask(admin, CREATE, input=agent_input(queue)).json["data"]["createLaunchAgent"]
    draft = {"queue": "boxes", "docker_image": "example.test/box:2", "args": ["a b"]}
    item = admin.post("/api/v1/items", draft).json
    pop = {
        "entityName": "ann", "projectName": "model-registry", "queueName": "boxes",
        "launchAgentId": agent["launchAgentId"],
    }  # fmt: skip
    popped = ask(admin, POP, input=pop).json["data"]["popFromRunQueue"]
    assert popped["runQueueItemId"] == f"{item['id']}.1"
    spec = popped["runSpec"]
    assert (spec["docker"], spec["run_id"], spec["resource"]) == (
        {"docker_image": "example.test/box:2"}, item["run_id"], "local-container",
    )  # fmt: skip
    assert spec["overrides"]["args"] == ["a b"]
    assert json.dumps(spec).count(spec["_wandb_api_key"]) == 1
    ack = {"runQueueItemId": popped["runQueueItemId"], "runName": item["run_id"]}
    assert ask(admin, ACK, input=ack).json["data"]["ackRunQueueItem"] == {"success": True}
    assert ask(admin, ACK, input=ack).json["data"]["ackRunQueueItem"] == {"success": False}
    held = admin.get(f"/api/v1/items/{item['id']}").json
    assert (held["state"], held["agent"]) == ("running", agent["launchAgentId"])
    assert admin.get(f"/api/v1/agents/{agent['launchAgentId']}").json["items"] == [item["id"]]
