"""Keeps many agents at one server: each with its own open poll, each with an item or none."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from bench.lines import Caller, Line, send_all
from bench.server import SOURCE, Server

POLL_S = 25.0
RENEW_S = 10.0
SHARED_LINES = 16  # for what agents do now and then
Lease = dict[str, Any]


def registration(caller: Caller, agent: str, *, slots: int = 1) -> bytes:
    """Return the request that registers an agent."""
    body = {"id": agent, "queues": ["default"], "resources": ["local-process"], "slots": slots}
    return caller.post("/agents", body)


def ask(caller: Caller, agent: str, limit: int, *, wait_s: float = 0.0) -> bytes:
    """Return the request for so many leases, started at once."""
    starts = {"limit": limit, "sources": [SOURCE]}
    body = {"agent": agent, "limit": limit, "wait_s": wait_s, "starts": starts}
    return caller.post("/leases", body)


def finished(caller: Caller, agent: str, leases: Sequence[Lease]) -> bytes:
    """Return the report that started items have ended."""
    reports = [
        {"item": one["item"], "token": one["token"], "event": "finish", "exit_code": 0}
        for one in leases
    ]
    return caller.post("/leases/report", {"agent": agent, "reports": reports})


def leases_in(answer: bytes) -> list[Lease]:
    """Return the leases of an answer; all of them are started."""
    found: list[Lease] = json.loads(answer)["leases"]
    assert all(lease["started"] for lease in found), found
    return found


@contextlib.asynccontextmanager
async def fleet(server: Server, count: int, *, is_busy: bool) -> AsyncIterator[None]:
    """Keep so many agents at a server: busy ones hold an item each, the others wait for work."""
    caller = Caller(server)
    names = [f"agent-{number}" for number in range(count)]
    async with caller.lines(SHARED_LINES) as shared, caller.lines(count) as lines:
        await send_all(shared, (registration(caller, name) for name in names))
        tasks = []
        held: dict[str, list[Lease]] = {}
        if is_busy:
            await _take(caller, shared, names, held)
            tasks.append(asyncio.create_task(_renew(caller, shared, held)))
        limit = 0 if is_busy else 1
        for name, line in zip(names, lines, strict=True):
            poll = ask(caller, name, limit, wait_s=POLL_S)
            tasks.append(asyncio.create_task(_poll(line, poll)))
        try:
            yield
            for task in tasks:
                assert not task.done(), task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _take(
    caller: Caller, lines: list[Line], names: list[str], held: dict[str, list[Lease]]
) -> None:
    left = iter(names)

    async def take(line: Line) -> None:
        for name in left:
            held[name] = leases_in(await line.ask(ask(caller, name, 1)))
            assert held[name], "nothing was left to lease"

    await asyncio.gather(*map(take, lines))


async def _renew(caller: Caller, lines: list[Line], held: dict[str, list[Lease]]) -> None:
    while True:
        await asyncio.sleep(RENEW_S)
        await send_all(lines, _renewals(caller, held))


def _renewals(caller: Caller, held: dict[str, list[Lease]]) -> Iterator[bytes]:
    for name, leases in held.items():
        kept = [{"item": one["item"], "token": one["token"]} for one in leases]
        yield caller.post("/leases/renew", {"agent": name, "leases": kept})


async def _poll(line: Line, poll: bytes) -> None:
    while True:
        await line.ask(poll)
