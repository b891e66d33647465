"""Takes launches that wandb clients push to queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shipway.domain.queue import Queue
from shipway.server.graphql import translate_pushes as translate
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate_queues import read_queue_id
from shipway.service.ports import Tx


async def push_by_name(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Add an item to the queue of a name."""
    call = info.context
    queues, actor = call.edge.service.queues, call.actor
    name, entity, project = input["queueName"], input["entityName"], input["projectName"]
    return await _push(
        info, input, lambda tx: queues.named(tx, actor, name, entity=entity, project=project)
    )


async def push(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Add an item to the queue of an id: the client's second try, the one whose error it shows."""
    call = info.context
    queues, actor = call.edge.service.queues, call.actor
    number = read_queue_id(input["queueID"])
    return await _push(info, input, lambda tx: queues.by_id(tx, actor, number))


async def _push(
    info: Info, given: dict[str, Any], queue_in: Callable[[Tx], Queue]
) -> dict[str, Any]:
    """Add the item that a push asks for; one that is refused leaves nothing."""
    call = info.context
    items, actor = call.edge.service.items, call.actor
    spec = translate.read_spec(given)
    run = translate.run_again(spec)
    if run is not None:
        again = call.edge.service.requeues.again
        item = await call.edge.write(lambda tx: again(tx, actor, run=run))
        return {"runQueueItemId": item.id, "runSpec": translate.spec_of(spec, item)}
    queue = await call.edge.read(queue_in)
    draft = translate.draft_of(spec, given, queue)
    ((item, _),) = await call.edge.write(lambda tx: items.enqueue(tx, actor, [(draft, None)]))
    return {"runQueueItemId": item.id, "runSpec": translate.spec_of(spec, item)}


RESOLVERS: Resolvers = {
    "Mutation": {"pushToRunQueueByName": push_by_name, "pushToRunQueue": push},
}
