"""Takes log chunks from agents and gives logs to whoever watches."""

from __future__ import annotations

import hashlib
import time
import zlib
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from shipway.domain.attempt import LogChunk, LogName
from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest, ItemId
from shipway.server.call import Asked, Call, call_in
from shipway.server.log_bytes import inflate
from shipway.server.log_stream import LOOK_AGAIN_S, Mark, Watched, follow
from shipway.server.numbers import NUMBER_LIMIT, is_number
from shipway.server.rest.answers import answer
from shipway.server.settings import POLL_LIMIT_S
from shipway.server.sse import stream
from shipway.service.logs import LogView, parse_records
from shipway.service.ports import Tx

READ_LIMIT = 4 << 20  # bytes of one answer


async def append(request: Request) -> Response:
    """Append a compressed chunk at the end of a log."""
    call = call_in(request.scope)
    chunk, data = _chunk(call, request)
    actor, token, logs = call.actor, call.token, call.edge.service.logs
    edge = call.edge
    await edge.read(
        lambda tx: logs.check(
            tx,
            actor,
            chunk.item_id,
            token,
            attempt=chunk.attempt,
            name=chunk.name,
            offset=chunk.offset,
        )
    )
    body = call.body
    await edge.run(lambda: edge.blobs.put(chunk.digest, body))
    if chunk.name == LogName.RECORDS:
        records = parse_records(data, at=edge.clock.now())
        size = await edge.write(lambda tx: logs.records(tx, actor, chunk, token, records))
    else:
        size = await edge.write(lambda tx: logs.append(tx, actor, chunk, token))
    edge.log_waits.hint(chunk.item_id)
    return answer({"size": size})


async def read(  # noqa: PLR0917 - FastAPI reads the query from the signature
    call: Asked,
    request: Request,
    item_id: str,
    name: str = "program",
    attempt: Annotated[int | None, Query(ge=1, le=NUMBER_LIMIT)] = None,
    offset: Annotated[int, Query(ge=0, le=NUMBER_LIMIT)] = 0,
    limit: Annotated[int, Query(ge=1, le=READ_LIMIT)] = 1 << 20,
    wait_s: Annotated[float, Query(ge=0, le=POLL_LIMIT_S)] = 0.0,
) -> Response:
    """Return raw frames, or with `Accept: text/event-stream` lines as events."""
    if "text/event-stream" in request.headers.get("accept", ""):
        last = request.headers.get("last-event-id") or request.query_params.get("after")
        mark = Mark.parse(last) if last else None
        await _view(call, item_id, name, attempt, 0)  # refusals come before the stream begins
        watched = Watched(item_id=item_id, name=name, attempt=attempt)
        return stream(call, follow(call.edge, call.actor, watched, mark))
    until = time.monotonic() + wait_s
    edge = call.edge
    with edge.log_waits.watch(ItemId(item_id)) as watch:
        while True:
            view = await _view(call, item_id, name, attempt, offset)
            left = until - time.monotonic()
            if view.size > offset or view.is_ended or left <= 0 or edge.is_closing:
                break
            await watch.wait(min(left, LOOK_AGAIN_S))
    data = await edge.run(lambda: edge.log_bytes.read(view.chunks, offset, limit))
    ended = view.is_ended and offset + len(data) >= view.size
    headers = {
        "Shipway-Log-Size": str(view.size),
        "Shipway-Log-Next": str(offset + len(data)),
        "Shipway-Log-Ended": "1" if ended else "0",
        "Shipway-Log-Complete": "1" if view.is_complete else "0",
        "Shipway-Attempt": str(view.attempt),
    }
    return Response(data, headers=headers, media_type="application/octet-stream")


def _chunk(call: Call, request: Request) -> tuple[LogChunk, bytes]:
    limit = call.edge.settings.limits.log_chunk
    try:
        data = inflate(call.body, limit=limit)
    except zlib.error as error:
        raise Invalid(f"the body is not one zlib stream: {error}", field="body") from None
    query = request.query_params
    chunk = LogChunk(
        item_id=ItemId(request.path_params["item_id"]),
        attempt=_number(query.get("attempt"), "attempt"),
        name=request.path_params["name"],
        offset=_number(query.get("offset"), "offset"),
        length=len(data),
        digest=Digest(hashlib.sha256(call.body).hexdigest()),
        first_at=_number(query.get("first_at", "0"), "first_at"),
        last_at=_number(query.get("last_at", "0"), "last_at"),
    )
    if not data:
        raise Invalid("the chunk is empty", field="body")
    return chunk, data


def _number(text: str | None, field: str) -> int:
    if text is None or not is_number(text):
        raise Invalid(
            f"{field} must be a whole number from 0 to {NUMBER_LIMIT}, not {text!r}",
            field=field,
            value=text,
        )
    return int(text)


async def _view(call: Call, item_id: str, name: str, attempt: int | None, offset: int) -> LogView:
    logs, actor = call.edge.service.logs, call.actor

    def work(tx: Tx) -> LogView:
        return logs.view(tx, actor, item_id, name=name, attempt=attempt, offset=offset)

    return await call.edge.read(work)
