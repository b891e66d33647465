"""Holds virtual time: one heap of what happens when, one source of chance."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

EVENT_LIMIT = 2_000_000  # events of one history; more means that it goes round in circles


class Endless(AssertionError):
    """A history went on without an end."""


class Kernel:
    """The one who decides: what is next, and everything that is left to chance."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.chance = self.random.random
        self._now_us = 0
        self._queue: list[tuple[int, int, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def now(self) -> float:
        """Return ms since the history began."""
        return self._now_us / 1000

    def after(self, ms: float, call: Callable[[], None]) -> None:
        """Call something so much later; what is due at the same moment comes in any order."""
        assert ms >= 0, "time never goes back"
        self._count += 1
        at = self._now_us + int(ms * 1000)
        heapq.heappush(self._queue, (at, self.random.getrandbits(16), self._count, call))

    def run(self, until: float) -> None:
        """Let time pass until a moment."""
        queue, until_us, pop = self._queue, int(until * 1000), heapq.heappop
        while queue and queue[0][0] <= until_us:
            self._now_us, _, _, call = pop(queue)
            call()
        if self._count > EVENT_LIMIT:
            raise Endless(f"{self._count} events and no end")
        self._now_us = max(self._now_us, until_us)

    def between(self, low: float, high: float) -> float:
        """Return any number of a range."""
        return low + (high - low) * self.chance()
