"""Server-sent events: a stream of small messages that a client can resume."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from shipway.domain.errors import Unauthenticated
from shipway.server.call import Call

RETRY_MS = 1_000  # how soon a client connects again
HEARTBEAT_S = 15.0  # a silent stream says so, that proxies keep it open


def message(event: str, data: object, id: str | None = None) -> str:
    """Return one event's text; its data is JSON on one line."""
    head = "" if id is None else f"id: {id}\n"
    return f"{head}event: {event}\ndata: {json.dumps(data)}\n\n"


def heartbeat() -> str:
    """Return a comment that clients skip."""
    return ": still here\n\n"


def stream(call: Call, messages: AsyncIterator[str]) -> StreamingResponse:
    """Answer with a stream; it ends with the key or session that asked for it."""

    async def whole() -> AsyncIterator[str]:
        yield f"retry: {RETRY_MS}\n\n"
        async for text in messages:
            try:
                await call.auth.identify(call.headers, call.address)
            except Unauthenticated:
                return
            yield text

    return StreamingResponse(
        whole(),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )
