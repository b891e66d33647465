"""Adds items, one or many: the hottest routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from shipway.domain.actor import Actor
from shipway.domain.errors import Invalid, ShipwayError, UnknownOutcome
from shipway.domain.item import Item
from shipway.domain.launch_spec import Draft
from shipway.server.call import Call, call_in
from shipway.server.rest.answers import answer, decode
from shipway.server.rest.views import error_brief, item_brief, item_view

BATCH_LIMIT = 1_000  # items of one batch
CHUNK = 50  # items that share a savepoint

Prepared = tuple[Draft, str | None] | ShipwayError
Made = Item | ShipwayError


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """Drafts, each with an idempotency key of its own if it has one."""

    items: list[dict[str, Any]]


_DRAFT = msgspec.json.Decoder(dict[str, Any])
_BATCH = msgspec.json.Decoder(BatchBody)


async def add(request: Request) -> Response:
    """Add one item; it is durable once this answers."""
    call = call_in(request.scope)
    edge, actor, key = call.edge, call.actor, call.idempotency_key
    draft = Draft.from_json(decode(call.body, _DRAFT))
    items = edge.service.items
    ((item, _),) = await edge.write(lambda tx: items.enqueue(tx, actor, [(draft, key)]))
    return answer(item_view(item, edge.base_url), 201)


async def add_batch(request: Request) -> Response:
    """Add many items; each stands alone, in the order given."""
    call = call_in(request.scope)
    drafts = decode(call.body, _BATCH).items
    if len(drafts) > BATCH_LIMIT:
        raise Invalid(
            f"a batch has at most {BATCH_LIMIT} items, not {len(drafts)}: send several",
            field="items",
            value=len(drafts),
        )
    views: list[dict[str, Any]] = []
    for start in range(0, len(drafts), CHUNK):  # other requests have their turn in between
        chunk = [_prepare(draft) for draft in drafts[start : start + CHUNK]]
        views += map(_brief, await _add_chunk(call, chunk))
    return answer({"items": views}, 200)


def _brief(made: Made) -> dict[str, Any]:
    return item_brief(made) if isinstance(made, Item) else error_brief(made)


def _prepare(value: dict[str, Any]) -> Prepared:
    key = value.pop("idempotency_key", None)
    try:
        if key is not None and not isinstance(key, str):
            raise Invalid("idempotency_key must be text", field="idempotency_key", value=key)
        return Draft.from_json(value), key
    except ShipwayError as error:
        return error


async def _add_chunk(call: Call, chunk: Sequence[Prepared]) -> list[Made]:
    """Add a chunk in one savepoint; where one is refused, each gets a savepoint of its own.

    Raises `UnknownOutcome`: what may be committed is not added a second time.
    """
    good = [entry for entry in chunk if not isinstance(entry, ShipwayError)]
    edge, actor = call.edge, call.actor
    try:
        added = await edge.write(lambda tx: edge.service.items.enqueue(tx, actor, good))
        results: list[Made] = [item for item, _ in added]
    except UnknownOutcome:
        raise
    except ShipwayError:
        results = [await _add_one(call, actor, entry) for entry in good]
    rest = iter(results)
    return [entry if isinstance(entry, ShipwayError) else next(rest) for entry in chunk]


async def _add_one(call: Call, actor: Actor, entry: tuple[Draft, str | None]) -> Made:
    items = call.edge.service.items
    try:
        ((item, _),) = await call.edge.write(lambda tx: items.enqueue(tx, actor, [entry]))
    except ShipwayError as error:
        return error
    return item
