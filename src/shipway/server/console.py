"""Reads what the client of a run saw on its terminal."""

from __future__ import annotations

from shipway.domain.console import ConsoleLine, overlay
from shipway.server.call import Call
from shipway.service.runs import RunView


async def console_lines(call: Call, view: RunView) -> dict[int, ConsoleLine]:
    """Return its lines by their numbers, in order."""
    edge = call.edge
    chunks = await edge.read(lambda tx: edge.service.history.console(tx, view.run))
    if not chunks:
        return {}
    return await edge.run(lambda: overlay((one, edge.blobs.get(one.digest)) for one in chunks))
