"""The page of an item: state, events, explanation, log, and the buttons to stop and retry it."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from shipway.domain.attempt import LogName
from shipway.domain.item import REMEDIES, TERMINAL, Item, ItemEvent
from shipway.domain.policy import Explanation
from shipway.domain.queue import Priority
from shipway.domain.run import state_of
from shipway.server.call import Call, call_in
from shipway.server.log_lines import Line
from shipway.server.log_stream import Mark, Watched, follow
from shipway.server.log_tail import TAIL_BYTES, Tail, tail_of
from shipway.server.sse import stream
from shipway.server.web.ansi import pieces
from shipway.server.web.html import page, render
from shipway.service.logs import LogView
from shipway.service.ports import Tx


@page
async def show(request: Request) -> Response:
    """Show an item."""
    call = call_in(request.scope)
    actor, service = call.actor, call.edge.service
    item_id = request.path_params["item_id"]
    name = LogName.BUILD if request.query_params.get("log") == "build" else LogName.PROGRAM

    def work(tx: Tx) -> tuple[Item, list[ItemEvent], Explanation]:
        item = service.items.get(tx, actor, item_id)
        events = service.items.events(tx, actor, item_id)
        return item, events, service.items.explain(tx, actor, item_id)

    item, events, explanation = await call.edge.read(work)
    attempt = _attempt(request, item)
    view, end = await _tail(call, item, name, attempt)
    remedy = None
    if item.failure is not None:
        remedy = REMEDIES[item.failure.failure_class].replace("ID", item.id)
    return render(
        request,
        "item.html",
        item=item,
        run_state=state_of(item),
        is_ended=item.state in TERMINAL,
        priority=Priority(item.priority).name.lower(),
        spec=json.loads(item.spec),
        events=events,
        explanation=explanation,
        remedy=remedy,
        log=name.value,
        attempt=attempt,
        view=view,
        tail=end,
        mark=Mark(attempt=max(attempt, 1), offset=end.offset, skip=end.skip),
        now=call.edge.clock.now(),
    )


async def tail(request: Request) -> Response:
    """Stream the lines of a log that come after what the page shows."""
    call = call_in(request.scope)
    item_id, query = request.path_params["item_id"], request.query_params
    last = request.headers.get("last-event-id") or query.get("after")
    items, actor = call.edge.service.items, call.actor
    await call.edge.read(lambda tx: items.get(tx, actor, item_id))
    watched = Watched(item_id=item_id, name=query.get("log", LogName.PROGRAM))
    mark = Mark.parse(last) if last else None
    return stream(call, follow(call.edge, actor, watched, mark, _coloured))


@page
async def stop(request: Request) -> Response:
    """Ask for an item's end."""
    call = call_in(request.scope)
    actor, items, item_id = call.actor, call.edge.service.items, request.path_params["item_id"]
    item = await call.edge.write(lambda tx: items.stop(tx, actor, item_id))
    return RedirectResponse(f"/items/{item.id}", 303)


@page
async def retry(request: Request) -> Response:
    """Add an ended item again and show the new one."""
    call = call_in(request.scope)
    actor, items, item_id = call.actor, call.edge.service.items, request.path_params["item_id"]
    item = await call.edge.write(lambda tx: items.retry(tx, actor, item_id))
    return RedirectResponse(f"/items/{item.id}", 303)


async def _tail(call: Call, item: Item, name: LogName, attempt: int) -> tuple[LogView, Tail]:
    logs, actor, edge = call.edge.service.logs, call.actor, call.edge

    def view_at(tx: Tx) -> tuple[LogView, int]:
        view = logs.view(tx, actor, item.id, name=name, attempt=attempt, offset=0)
        start = max(0, view.size - TAIL_BYTES)
        if start:
            view = logs.view(tx, actor, item.id, name=name, attempt=attempt, offset=start)
        return view, start

    view, start = await edge.read(view_at)
    data = await edge.run(lambda: edge.log_bytes.read(view.chunks, start, 2 * TAIL_BYTES))
    return view, tail_of(data, offset=start, is_ended=view.is_ended)


def _attempt(request: Request, item: Item) -> int:
    text = request.query_params.get("attempt", "")
    asked = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    return asked if 0 < asked <= item.attempt else item.attempt


def _coloured(line: Line) -> dict[str, Any]:
    return {"pieces": pieces(line.text)}
