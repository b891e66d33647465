"""P15: how soon a follower sees a line, and how fast the log of one run gets through."""

from __future__ import annotations

import statistics
import sys
import time
import uuid

from bench.measure import Result, reaches, within
from bench.server import MB
from bench.stack import Stack
from shipway.domain.attempt import decode_frames

LINES = 30  # of one repetition
BETWEEN_S = 0.15
FOLLOW_S = 25.0
SIZE = 500 * MB
STAMPING = f"""
import time
for number in range({LINES}):
    time.sleep({BETWEEN_S})
    print(time.time_ns(), flush=True)
"""
FLOODING = f"""
import sys
lines = "".join(f"step={{n}} loss={{1 / (n + 1):.6f}} accuracy={{n % 977 / 977:.4f}} lr=0.001\\n"
                for n in range(30_000))[:1_000_000].encode()
for _ in range({SIZE // MB}):
    sys.stdout.buffer.write(lines)
"""


def p15(stack: Stack, *, times: int) -> list[Result]:
    """Follow a program that says when it prints, and drain one that prints all it can."""
    stack.client.queues.get("default")  # its connection is open
    sooner = [statistics.median(_delays(stack)) for _ in range(times)]
    rates = [_rate(stack) for _ in range(times)]
    what = f"log of one run, {SIZE // MB} MB, from its first byte to its end on the server"
    return [
        within("P15", "line printed, to a follower that sees it, p50", 200, values=sooner),
        reaches("P15", what, 50, values=rates, unit="MB/s"),
    ]


def _delays(stack: Stack) -> list[float]:
    """Return the ms from each print of a program to when its follower has the line."""
    items = stack.client.items
    added = items.add(stack.draft(sys.executable, "-c", STAMPING), idempotency_key=_key())
    items.wait(added["id"], until="started", timeout_s=FOLLOW_S)
    found: list[float] = []
    offset, is_ended = 0, False
    while not is_ended:
        page = items.log(added["id"], offset=offset, wait_s=FOLLOW_S)
        now = time.time_ns()
        for frame in decode_frames(page.data):
            found += [(now - int(line)) / 1e6 for line in frame.data.split()]
        offset, is_ended = page.next, page.is_ended
    assert len(found) == LINES, found
    return found


def _rate(stack: Stack) -> float:
    """Return MB a second from a program's start until the server has its end and its whole log."""
    items = stack.client.items
    draft = stack.draft(sys.executable, "-c", FLOODING)
    item = items.add(draft, idempotency_key=_key())
    while item["state"] in {"pending", "leased", "running"}:
        item = items.wait(item["id"], until="ended", timeout_s=FOLLOW_S)
    assert item["state"] == "finished", item
    size = items.log(item["id"], limit=1).size
    assert size >= SIZE, f"{size} bytes of {SIZE} came through"
    seconds: float = (item["ended_at"] - item["started_at"]) / 1_000
    return size / MB / seconds


def _key() -> str:
    return uuid.uuid4().hex
