"""The routes of artifacts' files, and what becomes of those that come by signed address."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest, ItemId
from shipway.server.call import call_in
from shipway.server.edge import Edge
from shipway.server.signed import Right
from shipway.service.artifact_uploads import Sender, read_announced
from shipway.service.ports import Tx


def artifact_routes() -> Sequence[Route]:
    """Return the routes that clients fall back to where a signed address is too old."""
    by_birth = "/artifactsV2/{region}/{entity}/{birth}/{md5}"
    by_name = "/artifactsV2/{region}/{entity}/{project}/{collection}/{birth}/{md5}/{name:path}"
    by_digest = "/artifacts/{entity}/{md5}"
    return [Route(path, get_by_md5, methods=["GET"]) for path in (by_birth, by_name, by_digest)]


async def get_by_md5(request: Request) -> Response:
    """Return a file of an entity's artifacts by its MD5 in hex."""
    call = call_in(request.scope)
    edge, actor, where = call.edge, call.actor, request.path_params
    md5 = _from_hex(where["md5"])
    uploads, entity = edge.service.artifact_uploads, where["entity"]
    digest, size = await edge.read(lambda tx: uploads.readable(tx, actor, entity, md5))
    return await send_blob(edge, digest, size=size, name=where["md5"])


async def store_file(edge: Edge, right: Right, *, digest: Digest, size: int) -> None:
    """Note a file or a manifest of an artifact; a manifest is read first."""
    uploads = edge.service.artifact_uploads
    sender = Sender(item_id=ItemId(right.item) if right.item else None, attempt=right.attempt)
    if right.manifest:
        kind, of = await edge.read(lambda tx: uploads.expected(tx, right.manifest))
        await edge.run(lambda: read_announced(edge.blobs, digest, size, kind, of))

    def work(tx: Tx) -> None:
        if right.manifest:
            uploads.add_manifest(
                tx, right.artifact, manifest=right.manifest, digest=digest, size=size,
                sender=sender,
            )  # fmt: skip
        else:
            uploads.add_file(
                tx, right.artifact, digest=digest, size=size, md5=right.md5, sender=sender
            )

    await edge.write(work)


async def send_blob(edge: Edge, digest: Digest, *, size: int, name: str) -> Response:
    """Return a blob as an attachment, piece by piece."""
    parts = await edge.run(lambda: edge.blobs.parts(digest))
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Length": str(size),
    }
    return StreamingResponse(parts, headers=headers, media_type="application/octet-stream")


def check_md5_is(announced: str, counted: str) -> None:
    """Raise `Invalid` unless bytes are those that were announced."""
    if announced and announced != counted:
        raise Invalid(
            f"the file's MD5 is {counted}, but {announced} was announced", field="md5",
            value=announced,
        )  # fmt: skip


def _from_hex(text: str) -> str:
    try:
        raw = binascii.unhexlify(text)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16:
        raise Invalid(f"{text[:80]!r} is not an MD5 in hex", field="md5", value=text)
    return base64.b64encode(raw).decode()
