"""Bodies: their depth, their size, their time."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import AsyncIterator, MutableMapping, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Code, Invalid, ShipwayError, TooLarge, Unauthenticated
from shipway.domain.ids import KeyId, UserName
from shipway.server.auth import Caller
from shipway.server.body import Bodies, BodyRule, check_depth
from shipway.server.gate import Gate
from shipway.server.log_bytes import inflate
from shipway.server.protocol import LINE
from shipway.server.settings import Limits
from shipway.server.sse import stream
from shipway.testing.clock import ManualClock


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max([_depth(inner) for inner in value.values()], default=0)
    if isinstance(value, list):
        return 1 + max([_depth(inner) for inner in value], default=0)
    return 0


def _value(random: Random, levels: int) -> object:
    kind = random.randrange(4) if levels else 3
    if kind < 2:
        return [_value(random, levels - 1) for _ in range(random.randrange(3))]
    if kind == 2:
        keys = ["a", '"', "\\", "[{", "}]"]
        return {random.choice(keys): _value(random, levels - 1) for _ in range(2)}
    return random.choice(["", "x", '"]', "\\", "{{[", None, 1])


@pytest.mark.parametrize("seed", range(5))
def test_depth_is_counted_as_json_nests(seed: int) -> None:
    random = Random(seed)
    for _ in range(60):
        value = _value(random, random.randrange(1, 9))
        body, depth = json.dumps(value).encode(), _depth(value)
        check_depth(body, max(depth, 1))
        if depth > 1:
            with pytest.raises(Invalid, match="deeper"):
                check_depth(body, depth - 1)


def test_brackets_in_text_nest_nothing() -> None:
    check_depth(b'{"a": "' + b"[" * 1000 + b'"}', 3)
    check_depth(b'{"a": "\\"' + b"{" * 1000 + b'"}', 3)


def _take(
    pieces: Sequence[bytes], headers: dict[bytes, bytes], limits: Limits, limit: int = 100
) -> bytes:
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left) or piece == b"?"}

    async def run() -> bytes:
        bodies = Bodies(limits)
        body, held = await bodies.take(receive, headers, limit=limit)
        bodies.give_back(held)
        return body

    return asyncio.run(run())


def test_a_body_in_pieces_is_put_together() -> None:
    assert _take([b"ab", b"cd"], {b"content-length": b"4"}, Limits()) == b"abcd"


def test_a_body_that_never_ends_is_too_slow() -> None:
    limits = Limits(body_s=0.01, body_rate=1 << 30)
    with pytest.raises(ShipwayError) as refused:
        _take([b"?"], {b"content-length": b"4"}, limits)
    assert refused.value.code is Code.TOO_SLOW


def test_a_body_over_its_limit_is_refused_by_its_length_and_by_its_bytes() -> None:
    with pytest.raises(TooLarge):
        _take([b"x"], {b"content-length": b"101"}, Limits())
    with pytest.raises(TooLarge):
        _take([b"x" * 60, b"x" * 60], {b"transfer-encoding": b"chunked"}, Limits())


def test_bodies_together_have_a_limit() -> None:
    with pytest.raises(ShipwayError) as refused:
        _take([b"x"], {b"content-length": b"90"}, Limits(bodies=80))
    assert refused.value.code is Code.OVERLOADED


def test_half_a_stream_and_two_streams_are_no_stream() -> None:
    whole = zlib.compress(b"data")
    assert inflate(whole, limit=4) == b"data"
    for broken in (whole[:-1], whole + whole, b""):
        with pytest.raises(zlib.error):
            inflate(broken, limit=100)
    with pytest.raises(TooLarge):
        inflate(whole, limit=3)


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"[" * 100, []), (b"not gzip", [(b"content-encoding", b"gzip")])],
    ids=["deep", "not gzip"],
)
def test_a_refused_body_is_not_counted_for_ever(
    body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    async def identify(*_: object) -> Caller:
        return Caller(actor=Actor(user=UserName("ann"), role=Role.MEMBER, entity="ann",
                                  key_id=KeyId("k")))  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        statuses.append(message.get("status"))

    statuses: list[object] = []
    edge: Any = SimpleNamespace(
        settings=SimpleNamespace(limits=Limits(bodies=150)),
        metrics=SimpleNamespace(requests=Counter()),
        clock=ManualClock(),
    )
    gate = Gate(
        edge=edge,
        auth=cast("Any", SimpleNamespace(identify=identify)),
        app=cast("Any", None),
        rule_of=lambda *_: BodyRule(limit=1_000, is_json=True),
        access=cast("Any", SimpleNamespace(note=lambda _: None)),
    )
    length = (b"content-length", b"100")
    for _ in range(2):
        scope = {
            "method": "POST", "path": "/api/v1/items", "headers": [length, *headers],
            LINE: SimpleNamespace(is_whole=True),
        }  # fmt: skip
        asyncio.run(gate(scope, receive, send))
    assert [status for status in statuses if status] == [400, 400]


def test_a_stream_ends_with_the_key_that_asked_for_it() -> None:
    is_revoked = False

    async def identify(*_: object) -> None:
        if is_revoked:
            raise Unauthenticated("revoked")

    async def messages() -> AsyncIterator[str]:
        nonlocal is_revoked
        yield "before"
        is_revoked = True
        yield "after"

    async def read() -> list[object]:
        call: Any = SimpleNamespace(auth=SimpleNamespace(identify=identify), headers={}, address="")
        return [text async for text in stream(call, messages()).body_iterator]

    assert asyncio.run(read())[1:] == ["before"]
