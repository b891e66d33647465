"""The routes of streams and of files by signed address."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from shipway.domain.errors import Forbidden, NotFound, TooLarge
from shipway.domain.ids import Digest, RunId
from shipway.server.call import call_in
from shipway.server.files.lines import Sent, read_stream
from shipway.server.signed import PREFIX
from shipway.service.ports import Tx

STREAM = "/files/{entity}/{project}/{run}/file_stream"
ANSWER = b'{"exitcode":null,"limits":{}}'  # what the clients' versions look for


def file_routes() -> Sequence[BaseRoute]:
    """Return every route of files."""
    return (
        Route(PREFIX + "{right}", put, methods=["PUT"]),
        Route(PREFIX + "{right}", get, methods=["GET"]),
        Route(STREAM, stream, methods=["POST"]),
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

    def work(tx: Tx) -> None:
        view = tracked.get(tx, actor, where["entity"], where["project"], where["run"])
        tracked.report(tx, actor, view, sent.report)

    await edge.write(work)
    return Response(ANSWER, media_type="application/json")


async def put(request: Request) -> Response:
    """Store a file of a run."""
    call = call_in(request.scope)
    edge, data = call.edge, call.body
    right = edge.signer.read("PUT", request.scope["path"])
    if len(data) > right.size:
        raise TooLarge(f"the address takes at most {right.size} bytes")
    digest = Digest(hashlib.sha256(data).hexdigest())
    raw = hashlib.md5(data, usedforsecurity=False).digest()
    md5 = base64.b64encode(raw).decode()
    await edge.run(lambda: edge.blobs.put(digest, data))

    def work(tx: Tx) -> None:
        run = tx.runs.get(right.entity, right.project, RunId(right.run))
        if run is None or run.deleted_at is not None:
            raise NotFound(f"there is no run {right.entity}/{right.project}/{right.run}")
        edge.service.run_files.add(
            tx, run, path=right.path, digest=digest, size=len(data), md5=md5, attempt=right.attempt
        )

    await edge.write(work)
    return Response(b"", headers={"ETag": f'"{raw.hex()}"'})


async def get(request: Request) -> Response:
    """Return a file of a run, as an attachment."""
    edge = call_in(request.scope).edge
    right = edge.signer.read("GET", request.scope["path"])
    digest = Digest(right.digest)
    data = await edge.run(lambda: edge.blobs.get(digest))
    if len(data) != right.size:
        raise Forbidden("the address is of a file of another size")
    name = quote(right.path.rpartition("/")[2], safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(data, headers=headers, media_type="application/octet-stream")
