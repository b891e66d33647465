"""Asks a server through its restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from shipway.client import Client
from shipway.domain.errors import Code, ShipwayError
from shipway.sdk.connection import Connection

AWAY_LIMIT_S = 120.0  # without an answer, then the wait ends with an error
ASK_AGAIN_S = 0.1
LONGEST_PAUSE_S = 2.0

_AWAY = frozenset({Code.UNREACHABLE, Code.OVERLOADED, Code.UNKNOWN_OUTCOME, Code.TOO_SLOW})

T = TypeVar("T")


class Line:
    """A connection that outlives restarts of its server, also to another port."""

    def __init__(
        self,
        connection: Connection,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._sleep = sleep

    @property
    def client(self) -> Client:
        """The client as it is now, for a single request."""
        return self._connection.client

    def now(self) -> float:
        """Return the time that `until` is measured in, seconds."""
        return self._clock()

    def pause(self, seconds: float) -> None:
        """Let some time pass between two questions."""
        self._sleep(seconds)

    def ask(self, question: Callable[[Client], T], *, until: float | None = None) -> T:
        """Return the answer, asked for again while the server is away.

        Raises the error that names the address after `AWAY_LIMIT_S` without an answer, and
        `TimeoutError` at `until`.
        """
        away_since: float | None = None
        pause = ASK_AGAIN_S
        while True:
            try:
                return question(self._connection.client)
            except ShipwayError as error:
                if error.code not in _AWAY:
                    raise
                now = self._clock()
                away_since = now if away_since is None else away_since
                if until is not None and now >= until:
                    raise TimeoutError(f"the wait's time ran out: {error.message}") from error
                if now - away_since >= AWAY_LIMIT_S:
                    raise
            self._sleep(pause if until is None else max(0.0, min(pause, until - now)))
            pause = min(LONGEST_PAUSE_S, pause * 2)
            self._connection = self._connection.again()
