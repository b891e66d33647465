"""Writes one event for each request, many at once."""

from __future__ import annotations

import asyncio
import json
from typing import TextIO

FLUSH_S = 0.25  # events wait at most so long
WAITING_LIMIT = 1_000  # events, then they are written at once


Event = tuple[int, str, str, int, int, str, str]  # at, method, path, status, us, actor, address


class AccessLog:
    """Structured events of requests: never a query, a header or a body, so never a secret."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._waiting: list[Event] = []
        self._timer: asyncio.TimerHandle | None = None

    def note(self, event: Event) -> None:
        """Write an event down, soon."""
        self._waiting.append(event)
        if len(self._waiting) >= WAITING_LIMIT:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._out.write("".join(_encode(event) for event in waiting))
            self._out.flush()


def _encode(event: Event) -> str:
    at, method, path, status, took_us, actor, address = event
    return (
        json.dumps(
            {
                "event": "request",
                "at": at,
                "method": method,
                "path": path,
                "status": status,
                "ms": took_us / 1000,
                "actor": actor,
                "address": address,
            }
        )
        + "\n"
    )
