"""P8, P9 and P10: what a million waiting items and thousands of agents cost."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.adds import add_batches
from bench.fleet import POLL_S, ask, finished, fleet, leases_in, registration
from bench.lines import Caller, Line, run
from bench.measure import Result, at_most, within
from bench.server import MB, Server, serving

FEW = 1_000  # pending items beside the many
AGENTS = 1_000  # at each server, each busy with one item
WAITING = 4_000  # agents of P10
SHORT = 100  # that came before them, so that all is loaded
BATCH = 1_000
SINGLES = 100  # leases of one item in a repetition
HUNDREDS = 5  # leases of a hundred
HUNDRED = 100
SLICES = 5  # of the time of a poll
SETTLE_S = 3.0


@dataclass(slots=True)
class Side:
    """What was measured at one server, a figure a repetition."""

    single_ms: list[float] = field(default_factory=list)
    hundred_us: list[float] = field(default_factory=list)  # of an item, as its caller sees it
    hundred_cpu_us: list[float] = field(default_factory=list)  # of the server's CPU
    memory_mb: list[float] = field(default_factory=list)


def p8_p9(*, items: int, times: int) -> list[Result]:
    """Lease from many and from few items, each server with a thousand busy agents."""
    with tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder:
        root = Path(folder)
        with serving(root / "many") as many, serving(root / "few") as few:
            add_batches(few, [BATCH] * ((FEW + AGENTS) // BATCH))
            add_batches(many, [BATCH] * ((items + AGENTS) // BATCH))
            ours, theirs = run(lambda: _measure(many, few, times))
    whom = f"with {items:,} items pending and {AGENTS:,} agents"
    over = [one - other for one, other in zip(ours.memory_mb, theirs.memory_mb, strict=True)]
    cpu = f"{statistics.median(ours.hundred_cpu_us):.1f} us of the server's CPU"
    return [
        at_most(
            "P8", f"lease {whom}, beside {FEW:,} items", 2.0, ours=ours.single_ms,
            theirs=theirs.single_ms,
        ),
        within(
            "P8", f"each of {HUNDRED} leases in one call {whom}", 20, values=ours.hundred_us,
            theirs=theirs.hundred_us, unit="us", notes=cpu,
        ),
        within(
            "P9", f"memory of the server {whom}, over the one with {FEW:,} items", 100,
            values=over, theirs=theirs.memory_mb, unit="MB",
        ),
    ]  # fmt: skip


def p10(*, times: int) -> list[Result]:
    """Let thousands of agents wait for work that does not come."""
    with (
        tempfile.TemporaryDirectory(prefix="shipway-bench-") as folder,
        serving(Path(folder, "server")) as server,
    ):
        waits = run(lambda: _wait(server, times))
    whom = f"{WAITING:,} agents that wait"
    again = f"server CPU with {whom}, and poll anew every {POLL_S:.0f} s, of one core"
    return [
        within("P10", f"server CPU with {whom}, of one core", 1, values=waits.resting, unit="%"),
        within("P10", again, 1, values=waits.whole, unit="%"),
        within("P10", f"server memory for each of {whom}", 12, values=waits.kilobytes, unit="KB"),
    ]


async def _measure(many: Server, few: Server, times: int) -> tuple[Side, Side]:
    ours, theirs = Side(), Side()
    async with AsyncExitStack() as stack:
        both = []
        for server, side in ((many, ours), (few, theirs)):
            await stack.enter_async_context(fleet(server, AGENTS, is_busy=True))
            (line,) = await stack.enter_async_context(Caller(server).lines(1))
            await line.ask(registration(Caller(server), "bench", slots=HUNDRED))
            both.append((server, line, side))
        for number in range(times + 1):
            if number == 1:  # the round before warmed up
                for side in (ours, theirs):
                    for values in (side.single_ms, side.hundred_us, side.hundred_cpu_us):
                        values.clear()
            await _singles(both)
            for server, line, side in both * HUNDREDS:
                await _hundred(server, line, side)
            for server, _, side in both:
                as_many = SINGLES + HUNDREDS * HUNDRED  # wait again
                await asyncio.to_thread(add_batches, server, [as_many])
                if number:
                    side.memory_mb.append(server.memory_mb())
    return _by_round(ours), _by_round(theirs)


async def _singles(both: list[tuple[Server, Line, Side]]) -> None:
    for _ in range(SINGLES):
        for server, line, side in both:
            caller = Caller(server)
            begin = time.perf_counter()
            answer = await line.ask(ask(caller, "bench", 1))
            side.single_ms.append((time.perf_counter() - begin) * 1_000)
            (lease,) = leases_in(answer)
            await line.ask(finished(caller, "bench", [lease]))


async def _hundred(server: Server, line: Line, side: Side) -> None:
    caller = Caller(server)
    cpu, begin = server.cpu_s(), time.perf_counter()
    answer = await line.ask(ask(caller, "bench", HUNDRED))
    side.hundred_us.append((time.perf_counter() - begin) / HUNDRED * 1e6)
    side.hundred_cpu_us.append((server.cpu_s() - cpu) / HUNDRED * 1e6)
    leases = leases_in(answer)
    assert len(leases) == HUNDRED
    await line.ask(finished(caller, "bench", leases))


def _by_round(side: Side) -> Side:
    return Side(
        single_ms=_medians(side.single_ms, SINGLES),
        hundred_us=_medians(side.hundred_us, HUNDREDS),
        hundred_cpu_us=_medians(side.hundred_cpu_us, HUNDREDS),
        memory_mb=side.memory_mb,
    )


def _medians(values: list[float], size: int) -> list[float]:
    return [statistics.median(values[at : at + size]) for at in range(0, len(values), size)]


@dataclass(slots=True)
class Waits:
    """What agents cost that wait, a figure for each round of polls."""

    resting: list[float] = field(default_factory=list)  # % of a core, while all polls are open
    whole: list[float] = field(default_factory=list)  # %, with the polls' end and begin
    kilobytes: list[float] = field(default_factory=list)


async def _wait(server: Server, times: int) -> Waits:
    waits = Waits()
    async with fleet(server, SHORT, is_busy=False):
        await asyncio.sleep(SETTLE_S)
    before = server.memory_mb()
    async with fleet(server, WAITING, is_busy=False):
        await asyncio.sleep(SETTLE_S)
        for _ in range(times):
            slices = [await _percent(server, POLL_S / SLICES) for _ in range(SLICES)]
            waits.resting.append(statistics.median(slices))
            waits.whole.append(statistics.mean(slices))
            waits.kilobytes.append((server.memory_mb() - before) * MB / 1_000 / WAITING)
    return waits


async def _percent(server: Server, seconds: float) -> float:
    cpu, begin = server.cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    return (server.cpu_s() - cpu) / (time.perf_counter() - begin) * 100
