"""Bodies: their depth, their size, their time."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from shipway.domain.errors import Code, Invalid, ShipwayError, TooLarge
from shipway.server.body import Bodies, check_depth
from shipway.server.log_bytes import inflate
from shipway.server.settings import Limits


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
