"""Sweeps of the wandb protocol over plain HTTP: odd input, huge grids, pages of deleted runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.rest_server import Caller, Reply, Running, running

PUT = """
mutation U($input: UpsertSweepInput!) {
  upsertSweep(input: $input) { sweep { id name runCountExpected } }
}
"""
RUNS = """
query S($sweep: String!, $after: String, $first: Int) {
  project(entityName: "ann", name: "demo") { sweep(sweepName: $sweep) {
    runs(first: $first, after: $after) { edges { node { name } }
      pageInfo { endCursor hasNextPage } } } }
}
"""
WORKER = """
mutation A($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }
"""
BEAT = """
mutation H($input: AgentHeartbeatInput!) { agentHeartbeat(input: $input) { agent { id } commands } }
"""
DROP = "mutation D($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
CHANCE = "{method: random, parameters: {x: {min: 0.0, max: 1.0}}}"
SPEC = {"resource": "local-process", "run_id": "WANDB_SWEEP_ID", "entity": "ann"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Give a server of ann's, who is its admin."""
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


def ask(caller: Caller, query: str, **variables: Any) -> Reply:
    """Send one operation."""
    return caller.post("/graphql", {"query": query, "variables": variables})


def put(caller: Caller, config: str, **more: Any) -> Reply:
    """Make a sweep."""
    said = {"entityName": "ann", "projectName": "demo", "config": config, **more}
    return ask(caller, PUT, input=said)


@pytest.mark.parametrize(
    "spec",
    [
        {**SPEC, "docker": None},
        {**SPEC, "docker": []},
        {**SPEC, "overrides": []},
        {**SPEC, "overrides": {"args": None}},
        {**SPEC, "overrides": {"args": 3}},
        {**SPEC, "overrides": {"args": [3]}},
        {**SPEC, "overrides": {"args": "--x"}},
        {**SPEC, "overrides": {"run_config": []}},
        {**SPEC, "resource_args": []},
        {**SPEC, "job": 3},
    ],
)
def test_no_odd_scheduler_is_a_fault_of_the_servers(server: Running, spec: Any) -> None:
    for name in ("default", "no-such"):
        said = json.dumps({"queue": name, "run_spec": json.dumps(spec)})
        reply = put(server.admin, CHANCE, launchScheduler=said)
        assert reply.status < 500, reply.text


@pytest.mark.parametrize(
    "more",
    [
        {"launchScheduler": json.dumps({"queue": "q", "run_spec": "{}", "run_queue_project": 3})},
        {"controller": "a\0b"},
        {"controller": "a" * (1 << 20)},
        {"description": "\ud800"},
        {"displayName": "\0"},
        {"priorRunsFilters": '{"$or": [{"name": "\\u0000"}]}'},
    ],
)
def test_what_cannot_be_kept_is_refused(server: Running, more: dict[str, Any]) -> None:
    reply = put(server.admin, CHANCE, **more)
    assert reply.status < 500, reply.text
    assert reply.json["errors"], reply.text


@pytest.mark.parametrize(
    "given",
    [
        "{min: 0, max: 1000000000000000000000000000000}",
        "{distribution: q_uniform, min: 0, max: 1.0e+22}",
        "{values: [1, 2]}",
    ],
)
def test_a_grid_that_nobody_will_see_the_end_of_has_no_count(server: Running, given: str) -> None:
    names = [f"a{number}: {given}" for number in range(40)]
    reply = put(server.admin, f"{{method: grid, parameters: {{{', '.join(names)}}}}}")
    assert reply.status == 200, reply.text
    sweep = reply.json["data"]["upsertSweep"]["sweep"]
    assert sweep["runCountExpected"] is None
    shown = server.admin.get(f"/api/v1/sweeps/ann/demo/{sweep['name']}")
    assert (shown.status, shown.json["expected_count"]) == (200, None)
    said = {"entityName": "ann", "projectName": "demo", "sweep": sweep["name"], "host": "h"}
    worker = ask(server.admin, WORKER, input=said).json["data"]["createAgent"]["agent"]["id"]
    beat = ask(server.admin, BEAT, input={"id": worker}).json["data"]["agentHeartbeat"]
    assert beat["agent"] == {"id": worker}
    assert [one["type"] for one in json.loads(beat["commands"])] == ["run"]


def test_a_page_of_deleted_runs_leads_to_the_next_one(server: Running) -> None:
    made = put(server.admin, "{method: custom}").json["data"]["upsertSweep"]["sweep"]
    nodes = []
    for number in range(3):
        reply = ask(
            server.admin,
            "mutation U($input: UpsertBucketInput!) "
            "{ upsertBucket(input: $input) { bucket { id name } } }",
            input={"entityName": "ann", "modelName": "demo", "name": f"run{number}",
                   "sweep": made["name"]},
        )  # fmt: skip
        nodes.append(reply.json["data"]["upsertBucket"]["bucket"]["id"])
    for node in nodes[:2]:
        assert "errors" not in ask(server.admin, DROP, id=node).json

    def page(after: str | None) -> tuple[list[str], Any]:
        reply = ask(server.admin, RUNS, sweep=made["name"], first=2, after=after)
        runs = reply.json["data"]["project"]["sweep"]["runs"]
        return [edge["node"]["name"] for edge in runs["edges"]], runs["pageInfo"]

    found, info = page(None)
    assert (found, info["hasNextPage"]) == ([], True)
    assert page(info["endCursor"]) == (["run2"], {"endCursor": "4", "hasNextPage": False})
