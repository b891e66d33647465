"""Answers the items of a queue, and deletes them."""

from __future__ import annotations

from typing import Any

from shipway.domain.errors import NotFound
from shipway.domain.item import Item
from shipway.domain.queue import Queue
from shipway.server.graphql import translate_queues as translate
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate import time_of
from shipway.service.access import missing
from shipway.service.ports import ItemFilter, Tx

LIST_LIMIT = 1_000


async def items(queue: Queue, info: Info, *, first: int | None = None) -> dict[str, Any]:
    """Return a queue's items, newest first, without deleted ones."""
    call = info.context
    service, actor = call.edge.service.items, call.actor
    limit = LIST_LIMIT if first is None else min(max(first, 0), LIST_LIMIT)
    query = ItemFilter(queue_id=queue.id, limit=limit)
    found = await call.edge.read(lambda tx: service.find(tx, actor, query))
    return {"edges": [{"node": item} for item in found]}


async def item(queue: Queue, info: Info, *, id: str) -> Item | None:
    """Return an item of a queue, or null; a deleted one is still told, so that waits end."""
    call = info.context
    service, actor = call.edge.service.items, call.actor

    def work(tx: Tx) -> Item | None:
        try:
            found = service.get(tx, actor, id)
        except NotFound:
            return None
        return found if found.queue_id == queue.id else None

    return await call.edge.read(work)


async def delete_item(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Stop an item and delete it."""
    call = info.context
    service, actor = call.edge.service.items, call.actor
    number, item_id = translate.read_queue_id(input["queueID"]), input["runQueueItemId"]

    def work(tx: Tx) -> None:
        found = service.get(tx, actor, item_id)
        if found.queue_id != number:
            raise NotFound(missing(f"item {item_id!r} in that queue"))
        service.delete(tx, actor, item_id)

    await call.edge.write(work)
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


RESOLVERS: Resolvers = {
    "Mutation": {"deleteFromRunQueue": delete_item},
    "RunQueue": {"runQueueItems": items, "runQueueItem": item},
    "RunQueueItem": {
        "state": lambda item, _: translate.ITEM_STATES[item.state],
        "associatedRunId": lambda item, _: translate.run_of(item),
        "createdAt": lambda item, _: time_of(item.created_at),
        "priority": lambda item, _: int(item.priority),
        "error": lambda item, _: translate.error_of(item),
    },
}
