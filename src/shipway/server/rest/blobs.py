"""Stores and gives out bytes by digest, one by one or many small ones at once."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest
from shipway.server.call import Asked, call_in
from shipway.server.rest.answers import answer
from shipway.server.rest.bodies import DigestsBody
from shipway.service.access import own_entity
from shipway.service.ports import Tx
from shipway.service.stored_blobs import DIGESTS_LIMIT, check_digest

PACK = struct.Struct(">32sI")  # a digest, and the length of the bytes that follow


async def missing(call: Asked, body: DigestsBody, entity: str | None = None) -> Response:
    """Return those of the blobs that are not stored yet for an entity, one's own unless named."""
    actor, blobs, digests = call.actor, call.edge.service.blobs, body.digests
    _check_count(digests)

    def look(tx: Tx) -> tuple[list[Digest], list[Digest]]:
        missing = blobs.missing(tx, actor, digests, entity=entity)
        return missing, blobs.aging(tx, actor, digests, entity=entity)

    found, aging = await call.edge.read(look)
    if aging:
        found += await call.edge.write(lambda tx: blobs.touch(tx, actor, aging, entity=entity))
    return answer({"missing": list(found)})


async def put(request: Request) -> Response:
    """Store one blob; its bytes must be those of its digest."""
    call = call_in(request.scope)
    edge, actor, data = call.edge, call.actor, call.body
    digest = check_digest(request.path_params["digest"])
    entity = request.query_params.get("entity")
    own_entity(actor, entity)  # refused before a byte is stored
    await edge.run(lambda: edge.blobs.put(digest, data))
    sizes = {digest: len(data)}
    await edge.write(lambda tx: edge.service.blobs.admit(tx, actor, sizes, entity=entity))
    return answer({"digest": digest, "size": len(data)}, 201)


async def put_pack(request: Request) -> Response:
    """Store many small blobs: frames of digest, length and bytes."""
    call = call_in(request.scope)
    edge, actor, body = call.edge, call.actor, call.body
    entity = request.query_params.get("entity")
    own_entity(actor, entity)  # refused before a byte is stored

    def store() -> dict[Digest, int]:
        blobs = unpack(body)
        edge.blobs.put_many(blobs)
        return {digest: len(data) for digest, data in blobs.items()}

    sizes = await edge.run(store)
    await edge.write(lambda tx: edge.service.blobs.admit(tx, actor, sizes, entity=entity))
    return answer({"stored": len(sizes)}, 201)


async def fetch(call: Asked, body: DigestsBody) -> Response:
    """Return blobs in the frames of a pack; those that do not fit are left out: ask again."""
    actor, edge, asked = call.actor, call.edge, body.digests
    _check_count(asked)
    digests = await edge.read(lambda tx: edge.service.blobs.check_reads(tx, actor, asked))
    limit = edge.settings.limits.pack_body

    def pack() -> bytes:
        parts: list[bytes] = []
        size = 0
        for digest in dict.fromkeys(digests):
            data = edge.blobs.get(digest)
            size += PACK.size + len(data)
            if size > limit and parts:
                break
            parts += [PACK.pack(bytes.fromhex(digest), len(data)), data]
        return b"".join(parts)

    return Response(await edge.run(pack), media_type="application/octet-stream")


async def get(call: Asked, digest: str) -> Response:
    """Return one blob's bytes."""
    actor, edge = call.actor, call.edge

    def check(tx: Tx) -> Digest:
        return edge.service.blobs.check_reads(tx, actor, [digest])[0]

    checked = await edge.read(check)
    data = await edge.run(lambda: edge.blobs.get(checked))
    return Response(data, media_type="application/octet-stream")


def unpack(body: bytes) -> Mapping[Digest, bytes]:
    """Read the frames of a pack; every blob must be what its digest says."""
    blobs: dict[Digest, bytes] = {}
    at = 0
    while at < len(body):
        if at + PACK.size > len(body):
            raise Invalid("the pack ends within a frame's head", field="body")
        raw, length = PACK.unpack_from(body, at)
        at += PACK.size
        if at + length > len(body):
            raise Invalid("the pack ends within a blob", field="body")
        data = body[at : at + length]
        at += length
        if hashlib.sha256(data).digest() != raw:
            raise Invalid(
                f"the bytes are not those of the digest {raw.hex()}", field="body", value=raw.hex()
            )
        blobs[Digest(raw.hex())] = data
        if len(blobs) > DIGESTS_LIMIT:
            raise Invalid(f"a pack has at most {DIGESTS_LIMIT} blobs", field="body")
    return blobs


def _check_count(digests: list[str]) -> None:
    if len(digests) > DIGESTS_LIMIT:
        raise Invalid(
            f"at most {DIGESTS_LIMIT} digests a call, not {len(digests)}",
            field="digests",
            value=len(digests),
        )
