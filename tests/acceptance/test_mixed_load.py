"""A server under mixed load uses no more at the end than it did in the middle."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.fleet import Lease, ask, finished, leases_in, registration
from bench.lines import Caller, Line, run
from bench.server import DRAFT, Server, serving
from shipway.domain.attempt import LogStream, encode_frame

SECONDS = float(os.environ.get("SHIPWAY_LOAD_S", "3600"))  # in `make test-long`
AGENTS = 20
ADDERS = 4
READERS = 2
ADD_PAUSE_S = 0.1  # of each adder, so that the agents keep up
READ_PAUSE_S = 0.5
SAMPLES = 120
PIECE = zlib.compress(encode_frame(LogStream.STDOUT, 1, b"step=1 loss=0.5\n" * 60))
WAIT_S = 2.0
# Pages of the database fill the caches of its connections for hours; small ones are full at once.
SMALL_CACHES = (
    "shipway.store.sqlite:WRITER_CACHE_KIB=1024",
    "shipway.store.sqlite:READER_CACHE_KIB=256",
)

Turn = Callable[[Line], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the server used at one moment."""

    at: float
    memory_mb: float
    open_files: float
    wal_mb: float
    log_mb: float


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 300)
def test_nothing_of_a_server_grows_under_mixed_load(tmp_path: Path) -> None:
    """Earns: a server that runs for weeks; its log alone grows, by a line for each request."""
    with serving(tmp_path / "server", altered=SMALL_CACHES) as server:
        samples = run(lambda: load(server, SECONDS))
    later = samples[len(samples) // 2 :]  # caches are full by then
    names = ("memory_mb", "open_files", "wal_mb", "log_mb")
    growth = {name: grown(later, name) for name in names}
    told = {name: f"{getattr(later[-1], name):.1f}, grew {growth[name]:+.2f}" for name in names}
    sys.stdout.write(f"over the last {later[-1].at - later[0].at:.0f} s: {told}\n")
    assert growth["memory_mb"] < max(3.0, 0.03 * later[0].memory_mb), told
    assert growth["open_files"] < 3, told
    assert growth["wal_mb"] < 4, told


async def load(server: Server, seconds: float) -> list[Sample]:
    """Add, lease, log, finish and read for so long; return what the server used meanwhile."""
    caller, until = Caller(server), time.monotonic() + seconds
    turns: list[Turn] = [partial(add, caller)] * ADDERS
    turns += [partial(read, caller)] * READERS
    async with caller.lines(len(turns) + AGENTS) as lines:
        for number, line in enumerate(lines[len(turns) :]):
            name = f"agent-{number}"
            await line.ask(registration(caller, name))
            turns.append(partial(work, caller, name))
        watching = asyncio.create_task(watch(server, seconds))
        await asyncio.gather(*map(go, turns, lines, [until] * len(lines)))
        return await watching


async def go(turn: Turn, line: Line, until: float) -> None:
    """Take one turn after the other."""
    while time.monotonic() < until:
        await turn(line)


async def add(caller: Caller, line: Line) -> None:
    await line.ask(caller.post("/items", DRAFT, Idempotency_Key=uuid.uuid4().hex))
    await asyncio.sleep(ADD_PAUSE_S)


async def read(caller: Caller, line: Line) -> None:
    for path in ("/items?limit=20", "/queues", "/agents", "/runs?limit=20"):
        await line.ask(caller.get(path))
    await asyncio.sleep(READ_PAUSE_S)


async def work(caller: Caller, name: str, line: Line) -> None:
    """See what was leased through, as an agent does."""
    leases = leases_in(await line.ask(ask(caller, name, 2, wait_s=WAIT_S)))
    for lease in leases:
        await line.ask(piece(caller, lease))
    held = [{"item": lease["item"], "token": lease["token"]} for lease in leases]
    await line.ask(caller.post("/leases/renew", {"agent": name, "leases": held}))
    if leases:
        await line.ask(finished(caller, name, leases))


def piece(caller: Caller, lease: Lease) -> bytes:
    """Return the request that appends to a program's log."""
    query = f"attempt={lease['attempt']}&offset=0&first_at=1&last_at=1"
    path = f"/items/{lease['item']}/log/program?{query}"
    return caller.send("POST", path, PIECE, Shipway_Token=lease["token"])


async def watch(server: Server, seconds: float) -> list[Sample]:
    """Look at the server again and again."""
    samples = []
    for _ in range(SAMPLES):
        await asyncio.sleep(seconds / SAMPLES)
        samples.append(
            Sample(
                at=time.monotonic(),
                memory_mb=server.memory_mb(),
                open_files=server.open_files(),
                wal_mb=server.wal_mb(),
                log_mb=server.log.stat().st_size / 1e6,
            )
        )
    return samples


def grown(samples: Sequence[Sample], name: str) -> float:
    """Return by how much a fitted line rises from the first sample to the last."""
    values = [float(getattr(sample, name)) for sample in samples]
    line = statistics.linear_regression([sample.at for sample in samples], values)
    return line.slope * (samples[-1].at - samples[0].at)
