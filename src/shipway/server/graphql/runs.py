"""Answers runs, and makes, changes, stops and deletes them."""

from __future__ import annotations

import json
from typing import Any

from shipway.domain.run import RunState
from shipway.server.call import Call
from shipway.server.graphql import ids, translate
from shipway.server.graphql.people import user
from shipway.server.graphql.projects import ProjectNode
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.service.ports import Tx
from shipway.service.runs import RunView


async def upsert_bucket(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Make a run or change it."""
    call = info.context
    actor, runs = call.actor, call.edge.service.tracked
    ask = translate.ask_of(input)
    view, is_new = await call.edge.write(lambda tx: runs.upsert(tx, actor, ask))
    return {
        "bucket": view,
        "inserted": is_new,
        "serverSettings": {"serverMessages": []},
        "clientMutationId": input.get("clientMutationId"),
    }


async def stop_run(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Ask for a run's end."""
    call = info.context
    runs, actor = call.edge.service.tracked, call.actor
    await call.edge.write(lambda tx: runs.stop(tx, actor, _named(tx, call, input["id"])))
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


async def delete_run(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Delete a run; when asked, with the artifacts that it made."""
    call = info.context
    service, actor = call.edge.service, call.actor

    def work(tx: Tx) -> None:
        view = _named(tx, call, input["id"])
        if input.get("deleteArtifacts"):
            service.artifact_lists.delete_of_run(tx, actor, view.run)
        service.tracked.delete(tx, actor, view)

    await call.edge.write(work)
    return {"clientMutationId": input.get("clientMutationId")}


async def alert(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Keep an alert with its run."""
    call = info.context
    runs, actor = call.edge.service.tracked, call.actor
    level = (input.get("severity") or "INFO").lower()

    def work(tx: Tx) -> None:
        view = runs.get(tx, actor, input["entityName"], input["projectName"], input["runName"])
        runs.alert(tx, actor, view, title=input["title"], text=input["text"], level=level)

    await call.edge.write(work)
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


def wandb_config(view: RunView, _: Info, *, keys: list[str] | None = None) -> str:
    """Return what the client keeps for itself."""
    own = view.run.facts.client
    return json.dumps({key: own[key] for key in (own if keys is None else keys) if key in own})


def _named(tx: Tx, call: Call, node: str) -> RunView:
    name, project, entity = ids.read_run_node(node)
    return call.edge.service.tracked.get(tx, call.actor, entity, project, name)


def _node(view: RunView, _: Info) -> str:
    return ids.run_node(view.run.id, view.run.project, view.run.entity)


def _user(view: RunView, _: Info) -> dict[str, Any] | None:
    return None if view.user is None else user(view.user)


RESOLVERS: Resolvers = {
    "Mutation": {
        "upsertBucket": upsert_bucket,
        "stopRun": stop_run,
        "deleteRun": delete_run,
        "notifyScriptableRunAlert": alert,
    },
    "Run": {
        "id": _node,
        "name": lambda view, _: view.run.id,
        "displayName": lambda view, _: view.run.name or view.run.id,
        "description": lambda view, _: view.run.facts.description,
        "notes": lambda view, _: view.run.facts.notes,
        "projectId": lambda view, _: str(ids.project_number(view.run.entity, view.run.project)),
        "project": lambda view, _: ProjectNode(entity=view.run.entity, name=view.run.project),
        "state": lambda view, _: translate.STATES[view.state],
        "config": lambda view, _: translate.config_of(view.run),
        "summaryMetrics": lambda view, _: translate.summary_of(view),
        "wandbConfig": wandb_config,
        "group": lambda view, _: view.run.facts.group,
        "groupName": lambda view, _: view.run.facts.group,
        "jobType": lambda view, _: view.run.facts.job_type,
        "commit": lambda view, _: view.run.facts.commit,
        "host": lambda view, _: view.run.facts.host,
        "tags": lambda view, _: list(view.run.facts.tags),
        "sweepName": lambda view, _: view.sweep,
        "readOnly": lambda _view, _: False,
        "createdAt": lambda view, _: translate.time_of(view.run.created_at),
        "updatedAt": lambda view, _: translate.time_of(view.run.heard_at or view.run.created_at),
        "heartbeatAt": lambda view, _: translate.time_of(view.run.heard_at or view.run.created_at),
        "stopped": lambda view, _: view.is_stop_requested,
        "shouldStop": lambda view, _: view.is_stop_requested,
        "failed": lambda view, _: translate.STATES[view.state] == "failed",
        "running": lambda view, _: view.state is RunState.RUNNING,
        "exitcode": lambda view, _: translate.exit_code_of(view),
        "runInfo": lambda view, _: {"program": view.run.facts.program},
        "user": _user,
    },
}
