"""Lets the first who needs something get it, and the others wait for that."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """What is under way, and who waits for it."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[T]] = {}
        self._lock = threading.Lock()

    def board(self, what: Hashable, who: T) -> T | None:
        """Return None to the first, who has to get it; to others who that was."""
        with self._lock:
            waiting = self._waiting.get(what)
            if waiting is None:
                self._waiting[what] = [who]
                return None
            waiting.append(who)
            return waiting[0]

    def land(self, what: Hashable) -> list[T]:
        """Return all who wait for it, the first one too; the next who asks is a first again."""
        with self._lock:
            return self._waiting.pop(what, [])
