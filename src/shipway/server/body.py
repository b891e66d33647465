"""Takes in request bodies within their limits of size, time and depth."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from shipway.domain.errors import Code, Invalid, Overloaded, ShipwayError, TooLarge
from shipway.server.log_bytes import inflate
from shipway.server.settings import Limits

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'[]{}"\\')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_GZIP = zlib.MAX_WBITS | 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyRule:
    """What an address takes."""

    limit: int  # bytes
    is_json: bool  # its nesting is checked; other bytes may be anything
    is_streamed: bool = False  # its handler reads it piece by piece


class Bodies:
    """Every body that is in memory now, against the limit for all of them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    async def take(
        self, receive: Receive, headers: dict[bytes, bytes], *, limit: int, is_whole: bool = False
    ) -> tuple[bytes, int]:
        """Return the body and the bytes that are counted for it; give them back when done.

        A body that `is_whole` has arrived already, and needs no timer.
        """
        size = content_length(headers, limit)
        if size == 0 and b"transfer-encoding" not in headers:
            return b"", 0
        held = limit if size is None else size
        if self._held + held > self._limits.bodies:
            raise Overloaded("too many large requests at once: try again in a second")
        self._held += held
        timeout_s = self._limits.body_s + held / self._limits.body_rate
        try:
            if is_whole:
                body = await _read(receive, limit)
            else:
                async with asyncio.timeout(timeout_s):
                    body = await _read(receive, limit)
            return _decoded(body, headers, limit), held
        except TimeoutError:
            self.give_back(held)
            raise ShipwayError(
                f"the request's body did not arrive within {timeout_s:.0f} seconds",
                code=Code.TOO_SLOW,
            ) from None
        except BaseException:
            self.give_back(held)
            raise

    def give_back(self, held: int) -> None:
        """Count so many bytes less."""
        self._held -= held


def check_depth(body: bytes, limit: int) -> None:
    """Raise `Invalid` for JSON that is nested deeper than the limit, before it is parsed."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return
    rest = body.translate(None, _NOT_STRUCTURE)
    if b"\\" not in rest:
        rest = rest.replace(b'""', b"")
        if b'"' not in rest:
            for _ in range(limit // 2):  # a round takes off two levels at most
                shorter = rest.replace(b"[]", b"").replace(b"{}", b"")
                if not shorter:
                    return
                if len(shorter) == len(rest):
                    break
                rest = shorter
    if _depth(body) > limit:
        raise Invalid(f"the JSON is nested deeper than {limit} levels", field="body")


def _depth(body: bytes) -> int:
    depth = deepest = 0
    for match in _TOKEN.finditer(body):
        char = body[match.start()]
        if char in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in b"]}":
            depth -= 1
    return deepest


def content_length(headers: dict[bytes, bytes], limit: int) -> int | None:
    """Return how long the body says it is, None for one in pieces; `TooLarge` beyond the limit."""
    text = headers.get(b"content-length")
    if text is None:
        return None if b"transfer-encoding" in headers else 0
    if not text.isdigit() or len(text) > 18:
        raise Invalid("the Content-Length header is not a number", field="Content-Length")
    size = int(text)
    if size > limit:
        raise _too_large(limit)
    return size


async def _read(receive: Receive, limit: int) -> bytes:
    message = await receive()
    first = message.get("body", b"")
    if not message.get("more_body") and len(first) <= limit:
        _check_connected(message)
        return bytes(first)
    body = bytearray(first)
    while message.get("more_body"):
        if len(body) > limit:
            raise _too_large(limit)
        message = await receive()
        _check_connected(message)
        body += message.get("body", b"")
    if len(body) > limit:
        raise _too_large(limit)
    return bytes(body)


def _check_connected(message: MutableMapping[str, Any]) -> None:
    if message["type"] == "http.disconnect":
        raise ShipwayError("the client went away while it sent the body", code=Code.TOO_SLOW)


def _decoded(body: bytes, headers: dict[bytes, bytes], limit: int) -> bytes:
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding == b"identity":
        return body
    if encoding != b"gzip":
        raise Invalid(
            "this server takes bodies as they are, or with Content-Encoding gzip",
            field="Content-Encoding",
            value=encoding.decode("latin-1"),
        )
    try:
        return inflate(body, limit=limit, wbits=_GZIP)
    except zlib.error as error:
        raise Invalid(f"the body is not gzip: {error}", field="Content-Encoding") from None


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the body is larger than this address takes: at most {limit} bytes",
        details={"limit": limit},
    )
