"""Hands the results of other threads to the event loop, one wake-up for a whole batch."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Settler:
    """The bridge from the writer's thread to the loop.

    A commit settles hundreds of futures at once; calling into the loop for each of them costs
    more than the requests themselves.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._is_called = False

    def watch(self, future: Future[T]) -> asyncio.Future[T]:
        """Return the loop's own view of a future that another thread settles."""
        waiter: asyncio.Future[T] = self._loop.create_future()
        future.add_done_callback(lambda done: self.call(lambda: _settle(waiter, done)))
        return waiter

    def call(self, work: Callable[[], None]) -> None:
        """Run work in the loop, soon; from any thread."""
        self._calls.append(work)
        if not self._is_called:
            self._is_called = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._is_called = False  # before the queue is emptied: later calls wake the loop again
        while self._calls:
            self._calls.popleft()()


def _settle(waiter: asyncio.Future[Any], done: Future[Any]) -> None:
    if waiter.done():
        return
    error = done.exception()
    if error is None:
        waiter.set_result(done.result())
    else:
        waiter.set_exception(error)
