"""Lends out connections for reading, a few at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from shipway.domain.errors import Overloaded

READER_LIMIT = 8  # connections; more readers wait for one of these
WAIT_S = 10.0  # that a reader waits at most

C = TypeVar("C")


class Readers(Generic[C]):
    """A pool of connections, each used by one thread at a time; the one used last goes first."""

    def __init__(
        self, connect: Callable[[], C], *, limit: int = READER_LIMIT, wait_s: float = WAIT_S
    ) -> None:
        self._connect = connect
        self._wait_s = wait_s
        self._free: queue.LifoQueue[C] = queue.LifoQueue()
        self._slots = threading.Semaphore(limit)
        self._is_closed = False

    def take(self) -> C:
        """Return a connection that nobody else has; `Overloaded` when none comes free in time."""
        if self._is_closed:
            raise Overloaded("the store is closed: try again later")
        if not self._slots.acquire(timeout=self._wait_s):
            raise Overloaded("all reading connections are in use: try again later")
        try:
            return self._free.get_nowait()
        except queue.Empty:
            pass
        try:
            return self._connect()
        except BaseException:
            self._slots.release()
            raise

    def give_back(self, connection: C) -> None:
        """Take a connection back for the next reader."""
        self._free.put(connection)
        self._slots.release()

    def discard(self) -> None:
        """Take note that a connection is gone."""
        self._slots.release()

    def close(self) -> list[C]:
        """Lend nothing any more; return the connections that are free, to be closed."""
        self._is_closed = True
        free = []
        while True:
            try:
                free.append(self._free.get_nowait())
            except queue.Empty:
                return free
