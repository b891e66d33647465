"""Answers projects, and lists of their runs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from shipway.domain.errors import NotFound
from shipway.domain.names import DEFAULT_PROJECT, check_name
from shipway.server.graphql import ids
from shipway.server.graphql.filters import is_by_age, keeps_all, ordered, predicate
from shipway.server.graphql.people import entity_node
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate import time_of
from shipway.service.access import own_entity, sees
from shipway.service.ports import Tx
from shipway.service.runs import RunView

PAGE = 50  # runs, where the client does not say
PAGE_LIMIT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectNode:
    """A project: it is there as soon as somebody names it."""

    entity: str
    name: str
    created_at: int | None = None


def project(
    _: Any,
    info: Info,
    *,
    name: str | None = None,
    entityName: str | None = None,  # noqa: N803 - the schema's name
) -> ProjectNode | None:
    """Return a project of an entity that the actor sees."""
    call = info.context
    entity = entityName or call.actor.entity
    if not sees(call.actor, entity):
        return None
    return ProjectNode(entity=entity, name=name or DEFAULT_PROJECT)


async def models(
    _: Any,
    info: Info,
    *,
    entityName: str | None = None,  # noqa: N803 - the schema's name
    first: int | None = None,  # noqa: ARG001 - all of them are one page
    after: str | None = None,  # noqa: ARG001 - as `first`
) -> dict[str, Any] | None:
    """Return the projects that an entity has runs in."""
    call = info.context
    actor, runs = call.actor, call.edge.service.tracked
    found = await call.edge.read(lambda tx: runs.projects(tx, actor, entityName))
    entity = entityName or actor.entity
    nodes = [ProjectNode(entity=entity, name=name, created_at=at) for name, at in found]
    return {
        "edges": [{"node": node, "cursor": node.name} for node in nodes],
        "pageInfo": {"endCursor": None, "hasNextPage": False},
    }


async def created_at(node: ProjectNode, info: Info) -> str | None:
    """Return when a project's first run was made; now, if it has none."""
    call = info.context
    if node.created_at is not None:
        return time_of(node.created_at)
    actor, service = call.actor, call.edge.service.tracked
    first = await call.edge.read(
        lambda tx: next(service.of_project(tx, actor, node.entity, node.name), None)
    )
    return time_of(call.edge.clock.now() if first is None else first.run.created_at)


def upsert_model(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Return the project that a client wants to be there."""
    call = info.context
    entity = own_entity(call.actor, input.get("entityName"))
    name = check_name(input.get("name") or DEFAULT_PROJECT, field="name")
    node = ProjectNode(entity=entity, name=name)
    return {"model": node, "project": node, "inserted": False}


async def run(node: ProjectNode, info: Info, *, name: str, **_more: Any) -> RunView | None:
    """Return a run, or null."""
    call = info.context
    actor, runs = call.actor, call.edge.service.tracked

    def work(tx: Tx) -> RunView | None:
        try:
            return runs.get(tx, actor, node.entity, node.name, name)
        except NotFound:
            return None

    return await call.edge.read(work)


async def run_count(node: ProjectNode, info: Info, *, filters: str | None = None) -> int:
    """Return how many runs a filter leaves."""
    call = info.context
    actor, service = call.actor, call.edge.service.tracked
    if not keeps_all(filters):
        return len(await _matching(node, info, filters))
    return await call.edge.read(lambda tx: service.count(tx, actor, node.entity, node.name))


async def runs(
    node: ProjectNode,
    info: Info,
    *,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    """Return a page of the runs that a filter leaves, in an order."""
    size = min(PAGE if first is None else max(first, 0), PAGE_LIMIT)
    if is_by_age(order):
        is_newest_first = not (order or "-").startswith("+")
        page = await _next(node, info, filters, after, size + 1, is_newest_first=is_newest_first)
    else:
        found = ordered(await _matching(node, info, filters), order)
        cursors = [str(view.run.seq) for view in found]
        start = cursors.index(after) + 1 if after in cursors else 0
        page = found[start : start + size + 1]
    edges = [{"node": view, "cursor": str(view.run.seq)} for view in page[:size]]
    return {
        "edges": edges,
        "pageInfo": {
            "endCursor": edges[-1]["cursor"] if edges else None,
            "hasNextPage": len(page) > size,
        },
        "totalCount": lambda info: run_count(node, info, filters=filters),
    }


async def _next(
    node: ProjectNode, info: Info, filters: str | None, after: str | None, size: int, *,
    is_newest_first: bool,
) -> list[RunView]:  # fmt: skip
    """Return up to so many runs after a cursor that a filter leaves; no more are read than that."""
    call = info.context
    actor, service, keep = call.actor, call.edge.service.tracked, predicate(filters)
    start = int(after) if after and after.isascii() and after.isdigit() else None

    def work(tx: Tx) -> list[RunView]:
        views = service.of_project(
            tx, actor, node.entity, node.name, after=start, is_newest_first=is_newest_first,
            page_size=min(size, PAGE) + 1,
        )  # fmt: skip
        return list(islice((view for view in views if keep(view)), size))

    return await call.edge.read(work)


async def _matching(node: ProjectNode, info: Info, filters: str | None) -> list[RunView]:
    call = info.context
    actor, service = call.actor, call.edge.service.tracked
    keep = predicate(filters)
    return await call.edge.read(
        lambda tx: [
            view for view in service.of_project(tx, actor, node.entity, node.name) if keep(view)
        ]
    )


RESOLVERS: Resolvers = {
    "Query": {"project": project, "model": project, "models": models},
    "Mutation": {"upsertModel": upsert_model},
    "Project": {
        "id": lambda node, _: ids.node("Project", node.name, node.entity),
        "entityName": lambda node, _: node.entity,
        "entity": lambda node, _: entity_node(node.entity),
        "internalId": lambda node, _: ids.node(
            "ProjectInternalId", str(ids.project_number(node.entity, node.name))
        ),
        "createdAt": created_at,
        "readOnly": lambda _node, _: False,
        "access": lambda _node, _: "PRIVATE",
        "isBenchmark": lambda _node, _: False,
        "run": run,
        "bucket": run,
        "runCount": run_count,
        "runs": runs,
    },
}
