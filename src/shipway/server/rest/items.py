"""Shows, waits for, stops, deletes and retries items."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from shipway.domain.errors import Invalid
from shipway.domain.ids import ItemId
from shipway.domain.item import TERMINAL, Item, ItemEvent, State
from shipway.server.call import Asked, Call
from shipway.server.numbers import NUMBER_LIMIT, is_number
from shipway.server.rest.answers import PAGE_LIMIT, answer, cursor, page, read_cursor
from shipway.server.rest.bodies import PriorityBody, StopBody
from shipway.server.rest.views import event_view, explanation_view, item_view
from shipway.server.settings import POLL_LIMIT_S, STREAM_LIMIT_S
from shipway.server.sse import HEARTBEAT_S, heartbeat, message, stream
from shipway.server.waits import LOOK_AGAIN_S
from shipway.service.ports import ItemFilter, Tx

PAST_GATE = TERMINAL | {State.RUNNING}


async def find(  # noqa: PLR0917 - FastAPI reads the query from the signature
    call: Asked,
    queue: str | None = None,
    project_queue: str | None = None,
    queue_entity: str | None = None,
    entity: str | None = None,
    project: str | None = None,
    state: State | None = None,
    cursor_: Annotated[str | None, Query(alias="cursor")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 100,
) -> Response:
    """List items, newest first."""
    actor, service, before = call.actor, call.edge.service, read_cursor(cursor_)

    def work(tx: Tx) -> list[Item]:
        queue_id = None
        if queue is not None:
            owner = queue_entity or entity
            queue_id = service.queues.named(
                tx, actor, queue, entity=owner, project=project_queue
            ).id
        query = ItemFilter(
            entity=entity,
            queue_id=queue_id,
            project=project,
            state=state,
            before_seq=before,
            limit=limit,
        )
        return service.items.find(tx, actor, query)

    items = await call.edge.read(work)
    following = cursor(items[-1].seq) if len(items) == limit else None
    return answer(page([item_view(item, call.edge.base_url) for item in items], following))


async def get(call: Asked, item_id: str) -> Response:
    """Return an item."""
    return answer(item_view(await _get(call, item_id), call.edge.base_url))


async def wait(
    call: Asked,
    item_id: str,
    until: Literal["started", "ended"] = "ended",
    timeout_s: Annotated[float, Query(ge=0, le=POLL_LIMIT_S)] = POLL_LIMIT_S,
) -> Response:
    """Return an item once it started or ended, or as it is at the limit."""
    enough = PAST_GATE if until == "started" else TERMINAL
    seconds = asyncio.get_running_loop().time
    end = seconds() + timeout_s
    edge = call.edge
    with edge.item_waits.watch(ItemId(item_id)) as watch:
        while True:
            item = await _get(call, item_id)
            left = end - seconds()
            is_over = left <= 0 or edge.is_closing
            if item.state in enough or item.deleted_at is not None or is_over:
                return answer(item_view(item, edge.base_url))
            await watch.wait(min(left, LOOK_AGAIN_S))


async def events(
    call: Asked,
    request: Request,
    item_id: str,
    after: Annotated[int, Query(ge=0, le=NUMBER_LIMIT)] = 0,
) -> Response:
    """Return what happened to an item, as a list or as a stream of events."""
    if "text/event-stream" in request.headers.get("accept", ""):
        last = request.headers.get("last-event-id") or str(after)
        if not is_number(last):
            raise Invalid(
                f"Last-Event-ID {last[:80]!r} is not a whole number from 0 to {NUMBER_LIMIT}",
                field="Last-Event-ID",
                value=last,
            )
        await _get(call, item_id)
        return stream(call, _events(call, item_id, int(last)))
    found = await _events_after(call, item_id, after)
    return answer(page([event_view(event) for event in found]))


async def explain(call: Asked, item_id: str) -> Response:
    """Say why an item stands as it does."""
    actor, items = call.actor, call.edge.service.items
    found = await call.edge.read(lambda tx: items.explain(tx, actor, item_id))
    return answer(explanation_view(found))


async def stop(call: Asked, item_id: str, body: StopBody | None = None) -> Response:
    """Ask for an item's end."""
    actor, items = call.actor, call.edge.service.items
    grace_s = body.grace_s if body else None
    item = await call.edge.write(lambda tx: items.stop(tx, actor, item_id, grace_s=grace_s))
    return answer(item_view(item, call.edge.base_url))


async def retry(call: Asked, item_id: str) -> Response:
    """Add an ended item again."""
    actor, items, key = call.actor, call.edge.service.items, call.idempotency_key
    item = await call.edge.write(lambda tx: items.retry(tx, actor, item_id, key=key))
    return answer(item_view(item, call.edge.base_url), 201)


async def set_priority(call: Asked, item_id: str, body: PriorityBody) -> Response:
    """Change a waiting item's priority."""
    actor, items, value = call.actor, call.edge.service.items, body.priority
    item = await call.edge.write(lambda tx: items.set_priority(tx, actor, item_id, value))
    return answer(item_view(item, call.edge.base_url))


async def delete(call: Asked, item_id: str) -> Response:
    """Stop an item and leave a tombstone."""
    actor, items = call.actor, call.edge.service.items
    item = await call.edge.write(lambda tx: items.delete(tx, actor, item_id))
    return answer(item_view(item, call.edge.base_url))


async def _get(call: Call, item_id: str) -> Item:
    actor, items = call.actor, call.edge.service.items
    return await call.edge.read(lambda tx: items.get(tx, actor, item_id))


async def _events_after(call: Call, item_id: str, seq: int) -> list[ItemEvent]:
    actor, items = call.actor, call.edge.service.items
    return await call.edge.read(lambda tx: items.events(tx, actor, item_id, after_seq=seq))


async def _events(call: Call, item_id: str, seq: int) -> AsyncIterator[str]:
    until = time.monotonic() + STREAM_LIMIT_S
    said = time.monotonic()
    with call.edge.item_waits.watch(ItemId(item_id)) as watch:
        while time.monotonic() < until and not call.edge.is_closing:
            item = await _get(call, item_id)
            found = await _events_after(call, item_id, seq)
            for event in found:
                view: dict[str, Any] = event_view(event)
                yield message(event.event, view, str(event.seq))
                seq, said = event.seq, time.monotonic()
            if not found and (item.state in TERMINAL or item.deleted_at is not None):
                yield message("end", {"state": item.state.value})
                return
            if time.monotonic() - said > HEARTBEAT_S:
                yield heartbeat()
                said = time.monotonic()
            if not found:
                await watch.wait(LOOK_AGAIN_S)
