"""Answers sweeps, and makes and changes them."""

from __future__ import annotations

from functools import partial
from typing import Any

from shipway.domain.errors import NotFound
from shipway.domain.sweep import Sweep
from shipway.server.graphql import ids
from shipway.server.graphql import translate_schedulers as schedulers
from shipway.server.graphql import translate_sweeps as words
from shipway.server.graphql.projects import ProjectNode
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate import time_of
from shipway.service.ports import Tx
from shipway.service.runs import RunView
from shipway.service.sweeps import SweepView

PAGE = 50  # sweeps, where the client does not say
PAGE_LIMIT = 1_000


async def upsert_sweep(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Make a sweep or change it."""
    call = info.context
    actor, sweeps = call.actor, call.edge.service.sweeps
    ask = await call.edge.run(lambda: words.ask_of(input))
    user_agent = call.headers.get(b"user-agent", b"").decode("latin-1")
    scheduler = schedulers.scheduler_of(input, user_agent)
    code = None if scheduler is None else scheduler.code
    for digest, data in ({} if code is None else code.blobs).items():
        await call.edge.run(partial(call.edge.blobs.put, digest, data))

    def work(tx: Tx) -> tuple[SweepView, list[str]]:
        sweep, warnings = sweeps.upsert(tx, actor, ask)
        if code is not None:
            sizes = {digest: len(data) for digest, data in code.blobs.items()}
            call.edge.service.blobs.admit(tx, actor, sizes, entity=sweep.entity)
        if scheduler is not None:
            sweep = call.edge.service.sweep_launches.launch(tx, actor, sweep, scheduler.plan)
        return sweeps.view(tx, sweep), warnings

    view, warnings = await call.edge.write(work)
    return {
        "sweep": view,
        "configValidationWarnings": warnings,
        "clientMutationId": input.get("clientMutationId"),
    }


async def sweep(
    node: ProjectNode,
    info: Info,
    *,
    sweepName: str | None = None,  # noqa: N803 - the schema's name
    id: str | None = None,
) -> SweepView | None:
    """Return a sweep, or null."""
    call = info.context
    actor, sweeps = call.actor, call.edge.service.sweeps
    name = ids.read_sweep_node(id)[0] if sweepName is None and id is not None else sweepName
    if name is None:
        return None

    def work(tx: Tx) -> SweepView | None:
        try:
            return sweeps.view(tx, sweeps.get(tx, actor, node.entity, node.name, name))
        except NotFound:
            return None

    return await call.edge.read(work)


async def sweep_list(
    node: ProjectNode, info: Info, *, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    """Return a page of a project's sweeps, newest first."""
    call = info.context
    actor, sweeps = call.actor, call.edge.service.sweeps
    size = min(PAGE if first is None else max(first, 0), PAGE_LIMIT - 1)
    before = int(after) if after and after.isascii() and after.isdigit() else None

    def work(tx: Tx) -> list[SweepView]:
        found = sweeps.of_project(
            tx, actor, node.entity, node.name, before_seq=before, limit=size + 1
        )
        return [sweeps.view(tx, one) for one in found]

    found = await call.edge.read(work)
    edges = [{"node": view, "cursor": str(view.sweep.seq)} for view in found[:size]]
    return {
        "edges": edges,
        "pageInfo": page_info(edges, is_more=len(found) > size),
        "totalCount": lambda info: total(node, info),
    }


async def total(node: ProjectNode, info: Info) -> int:
    """Return how many sweeps a project has."""
    call = info.context
    actor, sweeps = call.actor, call.edge.service.sweeps
    return await call.edge.read(lambda tx: sweeps.count(tx, actor, node.entity, node.name))


async def runs(
    view: SweepView, info: Info, *, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    """Return a page of a sweep's runs, in the order in which they were made."""
    call = info.context
    sweeps = call.edge.service.sweeps
    size = PAGE_LIMIT if first is None else min(max(first, 0), PAGE_LIMIT)
    start = int(after) if after and after.isascii() and after.isdigit() else 0
    found = await call.edge.read(lambda tx: sweeps.runs(tx, view.sweep, after=start, limit=size))
    end = str(start + size)  # of a page on which every run was deleted, too
    return {
        "edges": [{"node": run, "cursor": end} for run in found],
        "pageInfo": {"endCursor": end, "hasNextPage": start + size < view.counts.total},
        "totalCount": view.counts.total,
    }


async def best_loss(view: SweepView, info: Info) -> float | None:
    """Return the best value of the metric."""
    call = info.context
    return await call.edge.read(lambda tx: call.edge.service.sweeps.best(tx, view))


async def of_run(view: RunView, info: Info) -> SweepView | None:
    """Return the sweep of a run."""
    if view.sweep is None:
        return None
    return await sweep(
        ProjectNode(entity=view.run.entity, name=view.run.project), info, sweepName=view.sweep
    )


def page_info(edges: list[dict[str, Any]], *, is_more: bool) -> dict[str, Any]:
    """Return where a page ends."""
    return {"endCursor": edges[-1]["cursor"] if edges else None, "hasNextPage": is_more}


def _node(sweep: Sweep) -> str:
    return ids.sweep_node(sweep.id, sweep.project, sweep.entity)


RESOLVERS: Resolvers = {
    "Mutation": {"upsertSweep": upsert_sweep},
    "Project": {"sweep": sweep, "sweeps": sweep_list, "totalSweeps": total},
    "Run": {"sweep": of_run},
    "Sweep": {
        "id": lambda view, _: _node(view.sweep),
        "name": lambda view, _: view.sweep.id,
        "displayName": lambda view, _: view.sweep.name,
        "method": lambda view, _: view.config.method,
        "state": lambda view, _: view.sweep.state.upper(),
        "description": lambda view, _: view.sweep.description,
        "config": lambda view, _: view.sweep.source,
        "createdAt": lambda view, _: time_of(view.sweep.created_at),
        "updatedAt": lambda view, _: time_of(view.sweep.updated_at),
        "heartbeatAt": lambda view, _: time_of(view.sweep.heard_at),
        "earlyStopJobRunning": lambda view, _: view.config.early is not None,
        "bestLoss": best_loss,
        "controller": lambda view, _: view.sweep.controller,
        "scheduler": lambda view, _: view.sweep.scheduler,
        "runCount": lambda view, _: view.counts.total,
        "runCountExpected": lambda view, _: view.expected,
        "runs": runs,
        "project": lambda view, _: ProjectNode(entity=view.sweep.entity, name=view.sweep.project),
    },
}
