"""Makes JSON answers, pages of lists, and typed bodies."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from shipway.domain.errors import Invalid
from shipway.server.call import Call
from shipway.server.replays import Answer

S = TypeVar("S")
PAGE_LIMIT = 1_000  # things on one page of a list
_encoder = msgspec.json.Encoder()


def answer(value: object, status: int = 200) -> Response:
    """Return a JSON answer; numbers must be finite."""
    return Response(_encoder.encode(value), status, media_type="application/json")


def loose_answer(value: object, status: int = 200) -> Response:
    """Return a JSON answer in which NaN and Infinity stand as such."""
    text = json.dumps(value, separators=(",", ":"))
    return Response(text.encode(), status, media_type="application/json")


def page(items: Sequence[object], next_cursor: str | None = None) -> dict[str, Any]:
    """Return the form of every list."""
    return {"items": items, "next": next_cursor}


def cursor(seq: int) -> str:
    """Return an opaque cursor."""
    return base64.urlsafe_b64encode(f"s{seq}".encode()).decode().rstrip("=")


def read_cursor(text: str | None) -> int | None:
    """Return what `cursor` took."""
    if not text:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if raw[:1] == b"s" and raw[1:].isdigit() and len(raw) < 20:
            return int(raw[1:])
    except (binascii.Error, ValueError):
        pass
    raise Invalid(
        f"cursor {text[:80]!r} is none that this server gave: begin without one",
        field="cursor",
        value=text,
    )


def decode(body: bytes, decoder: msgspec.json.Decoder[S]) -> S:
    """Read a typed body; `Invalid` names the path of what is wrong."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at ")
        field = path.strip("`").removeprefix("$").removeprefix(".")
        where = f"{field}: " if field else ""
        raise Invalid(f"{where}{text}", field=field or "body") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Invalid(f"the body is not JSON: {error}", field="body") from None


async def created(call: Call, route: str, work: Any) -> Response:
    """Answer a create; repeated with its Idempotency-Key it gets the same answer."""

    async def run() -> Answer:
        return Answer(status=201, body=json.dumps(await work()).encode())

    made = await call.edge.replays.once(call.actor, route, call.idempotency_key, call.body, run)
    return Response(made.body, made.status, media_type="application/json")
