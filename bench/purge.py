"""Adds and leases while half a million deleted items are purged, beside a server that is quiet."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.adds import add_batches, add_singly
from bench.fleet import ask, finished, leases_in, registration
from bench.lines import Caller, Line, run
from bench.measure import Result, at_most
from bench.past import left_to_purge, live_through
from bench.server import DRAFT, Server, serving
from shipway.testing.postgres import find_binaries, new_database, running_postgres

NOW = ("shipway.server.tidying:PURGE_S=2",)  # instead of five minutes after the start
NEVER = ("shipway.server.tidying:PURGE_S=1e9",)
PURGING_S = 6.0  # until it goes on
SETTLE_S = 0.5  # after a server was stopped
LINES = 4  # that add, and as many that lease
CALLS = 400  # of each line in a repetition
WAITING = 20_000  # items to lease from
BATCH = 1_000


@dataclass(slots=True)
class Latency:
    """How long calls took, in ms."""

    adds: list[float] = field(default_factory=list)
    leases: list[float] = field(default_factory=list)


def purge(*, items: int, times: int) -> list[Result]:
    """Measure on SQLite, and on PostgreSQL where there is one."""
    with tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder:
        results = _on_sqlite(Path(folder), items, times)
    if find_binaries() is None:
        return results
    with tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder:
        return results + _on_postgres(Path(folder), items, times)


def _on_sqlite(root: Path, items: int, times: int) -> list[Result]:
    with serving(root / "quiet") as server:
        add_singly(server, 1)
    live_through(root / "quiet", items)
    with serving(root / "quiet", altered=NEVER) as server:
        add_batches(server, [BATCH] * (WAITING // BATCH))
    shutil.copytree(root / "quiet", root / "purging")
    with (
        serving(root / "quiet", altered=NEVER) as quiet,
        serving(root / "purging", altered=NOW) as purging,
    ):
        ours, theirs, left = _beside(purging, quiet, root / "purging", times)
    return _results(ours, theirs, f"{items:,} deleted items are purged, beside none (SQLite)", left)


def _on_postgres(root: Path, items: int, times: int) -> list[Result]:
    with running_postgres(is_durable=True) as url:
        quiet_url = new_database(url, "quiet")
        with serving(root / "quiet", database=quiet_url) as server:
            add_singly(server, 1)
        live_through(quiet_url, items)
        with serving(root / "quiet", database=quiet_url, altered=NEVER) as server:
            add_batches(server, [BATCH] * (WAITING // BATCH))
        purging_url = new_database(url, "purging", template="quiet")
        shutil.copytree(root / "quiet", root / "purging")
        with (
            serving(root / "quiet", database=quiet_url, altered=NEVER) as quiet,
            serving(root / "purging", database=purging_url, altered=NOW) as purging,
        ):
            ours, theirs, left = _beside(purging, quiet, purging_url, times)
    whom = f"{items:,} deleted items are purged, beside none (PostgreSQL)"
    return _results(ours, theirs, whom, left)


def _beside(
    purging: Server, quiet: Server, database: str | Path, times: int
) -> tuple[Latency, Latency, list[int]]:
    """Return both sides' p99, one a repetition, and what was left to purge in between."""
    time.sleep(PURGING_S)
    left = [left_to_purge(database)]
    ours, theirs = Latency(), Latency()
    for number in range(times + 1):
        for server, other, into in ((purging, quiet, ours), (quiet, purging, theirs)):
            with _halted(other):
                latency = run(partial(_load, server))
            if number:  # the round before warmed up
                into.adds.append(_p99(latency.adds))
                into.leases.append(_p99(latency.leases))
        left.append(left_to_purge(database))
        assert left[-1] < left[-2], f"the purge was over before it was measured: {left}"
    return ours, theirs, left


def _results(ours: Latency, theirs: Latency, whom: str, left: list[int]) -> list[Result]:
    notes = f"{left[0]:,} items left at the begin, {left[-1]:,} at the end"
    return [
        at_most("purge", f"p99 of {what} while {whom}", 3.0, ours=a, theirs=b, notes=notes)
        for what, a, b in (
            ("adds", ours.adds, theirs.adds),
            ("leases", ours.leases, theirs.leases),
        )
    ]


@contextmanager
def _halted(server: Server) -> Iterator[None]:
    """Stop a server for a while: nothing of it disturbs the other."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        time.sleep(SETTLE_S)
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def _load(server: Server) -> Latency:
    latency = Latency()
    caller = Caller(server)
    async with caller.lines(2 * LINES) as lines:
        adding, leasing = lines[:LINES], lines[LINES:]
        await asyncio.gather(
            *(_add(caller, line, latency.adds) for line in adding),
            *(_lease(caller, line, n, latency.leases) for n, line in enumerate(leasing)),
        )
    return latency


async def _add(caller: Caller, line: Line, took: list[float]) -> None:
    for _ in range(CALLS):
        request = caller.post("/items", DRAFT, Idempotency_Key=uuid.uuid4().hex)
        begin = time.perf_counter()
        await line.ask(request)
        took.append((time.perf_counter() - begin) * 1_000)


async def _lease(caller: Caller, line: Line, number: int, took: list[float]) -> None:
    name = f"agent-{number}"
    await line.ask(registration(caller, name))
    for _ in range(CALLS):
        begin = time.perf_counter()
        answer = await line.ask(ask(caller, name, 1))
        took.append((time.perf_counter() - begin) * 1_000)
        leases = leases_in(answer)
        assert leases, "nothing was left to lease"
        await line.ask(finished(caller, name, leases))


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
