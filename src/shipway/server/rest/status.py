"""Says how the server is: health for anybody, numbers for whoever has a key."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from shipway import __version__
from shipway.domain.item import HELD
from shipway.server.call import Asked, call_in
from shipway.server.metrics import Label
from shipway.server.rest.answers import answer
from shipway.server.rest.people import PROTOCOL
from shipway.service.ports import Tx


async def health(request: Request) -> Response:
    """Say that the server answers, and which it is."""
    edge = call_in(request.scope).edge
    return answer(
        {"status": "ok", "version": __version__, "boot_id": edge.boot_id, "protocol": PROTOCOL}
    )


async def describe(request: Request) -> Response:
    """Return this document."""
    return answer(request.app.state.openapi)


async def metrics(call: Asked) -> Response:
    """Return the server's numbers in Prometheus' text form."""
    edge, now = call.edge, call.edge.clock.now()
    gauges = await edge.read(lambda tx: _gauges(tx, now))
    gauges["shipway_open_polls"] = {(): float(len(edge.polls))}
    gauges["shipway_open_waits"] = {(): float(len(edge.item_waits) + len(edge.log_waits))}
    return Response(edge.metrics.text(gauges), media_type="text/plain; version=0.0.4")


def _gauges(tx: Tx, now: int) -> dict[str, dict[Label, float]]:
    items: dict[Label, float] = {}
    held = 0
    for queue in tx.queues.find():
        for state, count in tx.queues.counts(queue.id).items():
            label = (("entity", queue.entity), ("queue", queue.name), ("state", state.value))
            items[label] = count
            held += count if state in HELD else 0
    live = sum(agent.is_live(now) for agent in tx.agents.find())
    return {
        "shipway_items": items,
        "shipway_leases": {(): float(held)},
        "shipway_agents_live": {(): float(live)},
    }
