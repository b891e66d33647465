"""P5, P6 and P7: what adds cost, one by one and in batches."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.lines import Caller, run, send_all
from bench.measure import Result, at_least, interleave, within
from bench.server import DRAFT, Server, serving

CONNECTIONS = 64
ADDS = 3_000  # in one repetition
ROWS = 100  # of one batch
BATCHES = 60
SYNCS = 200
ONE_EACH = ("shipway.store.writer:GROUP_LIMIT=1",)  # the peer of P5: a commit for each request


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What some adds took."""

    seconds: float
    cpu_s: float  # of the server
    count: int


def p5(*, times: int) -> Result:
    """Single durable adds on a server that groups commits, and on one that does not, in turn."""
    with tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder:
        root = Path(folder)
        with serving(root / "ours") as ours, serving(root / "peer", altered=ONE_EACH) as peer:
            rates = interleave(lambda: _rate(ours), lambda: _rate(peer), times=times)
    what = f"single durable adds at {CONNECTIONS} connections, beside a commit for each"
    return at_least("P5", what, 3.5, ours=rates[0], theirs=rates[1])


def p6(*, times: int) -> Result:
    """Rows of batches of a hundred, beside syncs of a file on the same disk."""
    with (
        tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder,
        serving(Path(folder, "server")) as server,
    ):
        cpu: list[float] = []

        def rows() -> float:
            took = add_batches(server, [ROWS] * BATCHES)
            cpu.append(took.cpu_s / took.count * 1e6)
            return took.count / took.seconds

        ours, theirs = interleave(rows, lambda: 1 / sync_s(Path(folder)), times=times)
    what = f"rows added in batches of {ROWS} over HTTP, in the time of one fdatasync"
    notes = f"{statistics.median(cpu):.1f} us of the server's CPU a row"
    return at_least("P6", what, 50, ours=ours, theirs=theirs, notes=notes)


def p7(*, times: int) -> Result:
    """The server's CPU for one add, over HTTP with a key of its own, authenticated, validated."""
    with (
        tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder,
        serving(Path(folder, "server")) as server,
    ):
        add_singly(server, ADDS)
        took = [add_singly(server, ADDS) for _ in range(times)]
    what = f"server CPU of one add at {CONNECTIONS} connections"
    values = [one.cpu_s / one.count * 1e6 for one in took]
    return within("P7", what, 100, values=values, unit="us")


def add_singly(server: Server, count: int, *, connections: int = CONNECTIONS) -> Took:
    """Add so many items, each with a request of its own."""
    caller = Caller(server)
    requests = [
        caller.post("/items", DRAFT, Idempotency_Key=uuid.uuid4().hex) for _ in range(count)
    ]
    return send(server, requests, connections)


def add_batches(server: Server, sizes: list[int], *, connections: int = 1) -> Took:
    """Add batches of so many items."""
    took = send(server, _batches(server, sizes), connections)
    return Took(seconds=took.seconds, cpu_s=took.cpu_s, count=sum(sizes))


def sync_s(folder: Path) -> float:
    """Return the seconds that one fdatasync of a written page takes on this disk."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            os.write(file.fileno(), bytes(4_096))
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begin)
    return statistics.median(took)


def _batches(server: Server, sizes: list[int]) -> Iterator[bytes]:
    caller = Caller(server)
    for size in sizes:
        items = [{**DRAFT, "idempotency_key": uuid.uuid4().hex} for _ in range(size)]
        yield caller.post("/items/batch", {"items": items})


def _rate(server: Server) -> float:
    took = add_singly(server, ADDS)
    return took.count / took.seconds


def send(server: Server, requests: Iterator[bytes] | list[bytes], connections: int) -> Took:
    """Send requests over so many connections; return what they took, and the server's CPU."""
    count = 0

    async def go() -> Took:
        nonlocal count
        async with Caller(server).lines(connections) as lines:
            cpu, begin = server.cpu_s(), time.perf_counter()
            answers = await send_all(lines, iter(requests))
            seconds = time.perf_counter() - begin
            return Took(seconds=seconds, cpu_s=server.cpu_s() - cpu, count=len(answers))

    return run(go)
