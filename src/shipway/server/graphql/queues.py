"""Answers queues, and makes, changes and deletes them."""

from __future__ import annotations

from typing import Any

from shipway.domain.errors import NotFound
from shipway.domain.names import fold
from shipway.domain.queue import Queue
from shipway.server.graphql import ids
from shipway.server.graphql import translate_queues as translate
from shipway.server.graphql.projects import ProjectNode
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate_queues import ResourceConfig
from shipway.service.ports import Tx


async def create_config(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Check what a queue is to give its items; the queue that names it stores it."""
    call = info.context
    queues, actor = call.edge.service.queues, call.actor
    config = translate.config_from(input)
    settings = translate.settings_of(config, None)
    await call.edge.read(
        lambda tx: queues.check(
            tx, actor, entity=input["entityName"], resource=config.resource, settings=settings
        )
    )
    return {"defaultResourceConfigID": translate.loose_id(config), "success": True}


async def create_queue(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Make a queue."""
    call = info.context
    queues, actor = call.edge.service.queues, call.actor
    named = input.get("defaultResourceConfigID")

    def work(tx: Tx) -> Queue:
        config = ResourceConfig(config={}, template_variables={})
        if named is not None:
            config = _config(tx, info, named)
        return queues.create(
            tx,
            actor,
            name=input["queueName"],
            resource=config.resource,
            entity=input["entityName"],
            project=input["projectName"],
            settings=translate.settings_of(config, input.get("prioritizationMode")),
            is_personal=input["access"] == translate.PERSONAL,
        )

    made = await call.edge.write(work)
    return {"success": True, "queueID": translate.queue_id(made)}


async def upsert_queue(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Make a queue, or give one that is there another resource, config and priorities."""
    call = info.context
    queues, actor = call.edge.service.queues, call.actor
    resource, settings = translate.upsert_of(input)
    await call.edge.write(
        lambda tx: queues.put(
            tx,
            actor,
            name=input["queueName"],
            resource=resource,
            entity=input["entityName"],
            project=input["projectName"],
            settings=settings,
        )
    )
    return {
        "success": True,
        "configSchemaValidationErrors": [],  # a config that a resource refuses is an error
        "clientMutationId": input.get("clientMutationId"),
    }


async def delete_queues(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Delete queues in which nothing waits or runs: all of them or none."""
    call = info.context
    queues, actor = call.edge.service.queues, call.actor
    numbers = [translate.read_queue_id(node) for node in input["queueIDs"]]

    def work(tx: Tx) -> None:
        for number in numbers:
            queues.delete(tx, actor, queues.by_id(tx, actor, number))

    await call.edge.write(work)
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


async def queues_of(node: ProjectNode, info: Info) -> list[Queue]:
    """Return the queues of a project."""
    call = info.context
    queues, actor = call.edge.service.queues, call.actor
    views = await call.edge.read(lambda tx: queues.find(tx, actor, entity=node.entity))
    return [view.queue for view in views if fold(view.queue.project) == fold(node.name)]


async def queue_of(node: ProjectNode, info: Info, *, name: str) -> Queue | None:
    """Return a queue of a project, or null."""
    call = info.context
    queues, actor = call.edge.service.queues, call.actor

    def work(tx: Tx) -> Queue | None:
        try:
            return queues.named(tx, actor, name, entity=node.entity, project=node.name)
        except NotFound:
            return None

    return await call.edge.read(work)


async def config(entity: dict[str, Any], info: Info, *, id: str) -> ResourceConfig | None:
    """Return what a queue of an entity gives its items, or null."""

    def work(tx: Tx) -> ResourceConfig | None:
        try:
            return _config(tx, info, id, of=entity["name"])
        except NotFound:
            return None

    return await info.context.edge.read(work)


def _config(tx: Tx, info: Info, node: str, *, of: str | None = None) -> ResourceConfig:
    """Return the config that an id holds, or that of the queue it names."""
    found = translate.read_config_id(node)
    if isinstance(found, ResourceConfig):
        return found
    call = info.context
    queue = call.edge.service.queues.by_id(tx, call.actor, found)
    if of is not None and fold(queue.entity) != fold(of):
        raise NotFound(f"{of} has no such config")
    return translate.config_of(queue)


def _access(queue: Queue, _: Info) -> str:
    return translate.PERSONAL if queue.is_personal else translate.SHARED


def _mode(queue: Queue, _: Info) -> str:
    return translate.PRIORITIES if queue.has_priorities else translate.NO_PRIORITIES


RESOLVERS: Resolvers = {
    "Mutation": {
        "createDefaultResourceConfig": create_config,
        "createRunQueue": create_queue,
        "upsertRunQueue": upsert_queue,
        "deleteRunQueues": delete_queues,
    },
    "Project": {"runQueues": queues_of, "runQueue": queue_of},
    "Entity": {"defaultResourceConfig": config},
    "RunQueue": {
        "id": lambda queue, _: translate.queue_id(queue),
        "createdBy": lambda queue, _: ids.node("User", queue.created_by),
        "access": _access,
        "state": lambda queue, _: "PAUSED" if queue.is_paused else "ACTIVE",
        "defaultResourceConfigID": lambda queue, _: translate.config_id(queue),
        "prioritizationMode": _mode,
        "externalLinks": lambda queue, _: translate.links_of(queue),
    },
    "DefaultResourceConfig": {
        "config": lambda config, _: dict(config.config),
        "templateVariables": lambda config, _: translate.variables_of(config),
    },
}
