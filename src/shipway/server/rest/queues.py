"""Makes, shows, changes, pauses and deletes queues."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from shipway.server.call import Asked, Call
from shipway.server.rest.answers import answer, created, page
from shipway.server.rest.bodies import QueueBody, QueueSettings
from shipway.server.rest.views import queue_settings, queue_view
from shipway.service.ports import Tx
from shipway.service.queues import QueueView

IDENTITY = frozenset({"name", "resource", "entity", "project", "personal"})


async def create(call: Asked, body: QueueBody) -> Response:
    """Make a queue."""
    actor, queues = call.actor, call.edge.service.queues
    settings = body.model_dump(exclude=set(IDENTITY), exclude_none=True)

    async def work() -> dict[str, Any]:
        queue = await call.edge.write(
            lambda tx: queues.create(
                tx,
                actor,
                name=body.name,
                resource=body.resource,
                entity=body.entity,
                project=body.project,
                is_personal=body.personal,
                settings=settings,
            )
        )
        return queue_settings(queue, call.edge.base_url)

    return await created(call, "queues", work)


async def find(call: Asked, entity: str | None = None) -> Response:
    """List queues."""
    actor, queues = call.actor, call.edge.service.queues
    found = await call.edge.read(lambda tx: queues.find(tx, actor, entity=entity))
    return answer(page([queue_view(view, call.edge.base_url) for view in found]))


async def get(
    call: Asked, name: str, entity: str | None = None, project: str | None = None
) -> Response:
    """Return a queue."""
    actor, queues = call.actor, call.edge.service.queues
    view = await call.edge.read(
        lambda tx: queues.get(tx, actor, name, entity=entity, project=project)
    )
    return answer(queue_view(view, call.edge.base_url))


async def update(
    call: Asked,
    name: str,
    body: QueueSettings,
    entity: str | None = None,
    project: str | None = None,
) -> Response:
    """Change a queue's settings."""
    actor, queues = call.actor, call.edge.service.queues
    settings = body.model_dump(exclude_unset=True)

    def work(tx: Tx) -> QueueView:
        queue = queues.named(tx, actor, name, entity=entity, project=project)
        queues.update(tx, actor, queue, settings)
        return queues.get(tx, actor, name, entity=entity, project=project)

    return answer(queue_view(await call.edge.write(work), call.edge.base_url))


async def pause(
    call: Asked, name: str, entity: str | None = None, project: str | None = None
) -> Response:
    """Lease nothing more from a queue."""
    return await _set_paused(call, name, entity, project, is_paused=True)


async def resume(
    call: Asked, name: str, entity: str | None = None, project: str | None = None
) -> Response:
    """Let a paused queue go on."""
    return await _set_paused(call, name, entity, project, is_paused=False)


async def delete(
    call: Asked, name: str, entity: str | None = None, project: str | None = None
) -> Response:
    """Delete a queue in which nothing waits or runs."""
    actor, queues = call.actor, call.edge.service.queues

    def work(tx: Tx) -> QueueView:
        view = queues.get(tx, actor, name, entity=entity, project=project)
        queues.delete(tx, actor, view.queue)
        return view

    return answer(queue_view(await call.edge.write(work), call.edge.base_url))


async def _set_paused(
    call: Call, name: str, entity: str | None, project: str | None, *, is_paused: bool
) -> Response:
    actor, queues = call.actor, call.edge.service.queues

    def work(tx: Tx) -> QueueView:
        queue = queues.named(tx, actor, name, entity=entity, project=project)
        queues.set_paused(tx, actor, queue, is_paused=is_paused)
        return queues.get(tx, actor, name, entity=entity, project=project)

    view = await call.edge.write(work)
    if not is_paused:
        call.edge.polls.hint_queue(view.queue.id, is_look=True)
    return answer(queue_view(view, call.edge.base_url))
