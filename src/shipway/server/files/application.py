"""The routes of streams and of files by signed address."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from shipway.domain.errors import Code, NotFound, ShipwayError, TooLarge
from shipway.domain.ids import Digest, RunId
from shipway.server.call import call_in
from shipway.server.edge import Edge
from shipway.server.files.artifacts import artifact_routes, check_md5_is, send_blob, store_file
from shipway.server.files.lines import Sent, read_stream
from shipway.server.settings import Limits
from shipway.server.signed import PREFIX
from shipway.service.ports import Incoming, Tx

STREAM = "/files/{entity}/{project}/{run}/file_stream"
PART = 1 << 20  # bytes handed to the disk at once
ANSWER = b'{"exitcode":null,"limits":{},"stopped":%s}'  # what the clients' versions look for


def file_routes() -> Sequence[Route]:
    """Return every route of files."""
    return (
        Route(PREFIX + "{right}", put, methods=["PUT"]),
        Route(PREFIX + "{right}", get, methods=["GET"]),
        Route(STREAM, stream, methods=["POST"]),
        *artifact_routes(),
    )


async def stream(request: Request) -> Response:
    """Take lines, a summary, a console's lines and the end of a run."""
    call = call_in(request.scope)
    edge, actor, where = call.edge, call.actor, request.path_params
    tracked = edge.service.tracked
    body, now = call.body, edge.clock.now()

    def read() -> Sent:
        sent = read_stream(body, at=now)
        if sent.report.console is not None:
            edge.blobs.put(sent.report.console.digest, sent.console)
        return sent

    sent = await edge.run(read)

    def work(tx: Tx) -> bool:
        view = tracked.get(tx, actor, where["entity"], where["project"], where["run"])
        tracked.report(tx, actor, view, sent.report)
        return view.is_stop_requested

    is_stopped = await edge.write(work)
    return Response(ANSWER % (b"true" if is_stopped else b"false"), media_type="application/json")


async def put(request: Request) -> Response:
    """Store a file of a run or of an artifact as it comes."""
    edge = call_in(request.scope).edge
    right = edge.signer.read("PUT", request.scope["path"])
    size = int(request.headers.get("content-length") or 0)
    md5 = hashlib.md5(usedforsecurity=False)
    incoming = await edge.run(lambda: edge.blobs.begin(size))
    try:
        async with asyncio.timeout(_patience_s(edge.settings.limits, size)):
            await _receive(edge, request, _Taking(incoming=incoming, md5=md5, limit=right.size))
        checksum = base64.b64encode(md5.digest()).decode()
        check_md5_is(right.md5, checksum)
        digest = await edge.run(incoming.keep)
    except TimeoutError:
        raise ShipwayError("the file did not arrive in time", code=Code.TOO_SLOW) from None
    except ClientDisconnect:
        raise ShipwayError("the client went away", code=Code.TOO_SLOW) from None
    finally:
        incoming.drop()

    if right.artifact:
        await store_file(edge, right, digest=digest, size=incoming.size)
        return Response(b"", headers={"ETag": f'"{md5.hexdigest()}"'})

    def work(tx: Tx) -> None:
        run = tx.runs.get(right.entity, right.project, RunId(right.run))
        if run is None or run.deleted_at is not None:
            raise NotFound(f"there is no run {right.entity}/{right.project}/{right.run}")
        edge.service.run_files.add(
            tx,
            run,
            path=right.path,
            digest=digest,
            size=incoming.size,
            md5=checksum,
            attempt=right.attempt,
        )

    await edge.write(work)
    return Response(b"", headers={"ETag": f'"{md5.hexdigest()}"'})


async def get(request: Request) -> Response:
    """Return a file of a run or of an artifact, as an attachment."""
    edge = call_in(request.scope).edge
    right = edge.signer.read("GET", request.scope["path"])
    name = right.path.rpartition("/")[2]
    return await send_blob(edge, Digest(right.digest), size=right.size, name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taking:
    """Where the bytes of a file go."""

    incoming: Incoming
    md5: Any  # hashlib names no type
    limit: int

    def take(self, data: bytes) -> None:
        """Take bytes; blocks on the disk."""
        if self.incoming.size + len(data) > self.limit:
            raise TooLarge(f"the address takes at most {self.limit} bytes")
        self.md5.update(data)
        self.incoming.write(data)


async def _receive(edge: Edge, request: Request, taking: _Taking) -> None:
    held = bytearray()
    async for part in request.stream():
        held += part
        if len(held) >= PART:
            await edge.run(partial(taking.take, bytes(held)))
            held.clear()
    if held:
        await edge.run(partial(taking.take, bytes(held)))


def _patience_s(limits: Limits, size: int) -> float:
    return limits.body_s + (size or limits.blob_body) / limits.body_rate
