"""Long polls on one thing: whoever waits for a key is woken by a hint about it."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
LOOK_AGAIN_S = 5.0  # a wait looks for itself so often: hints may get lost


class Watch:
    """One waiter's ear: set from the moment it is made, so that no hint falls between."""

    __slots__ = ("_future", "_is_hinted")

    def __init__(self) -> None:
        self._is_hinted = False
        self._future: asyncio.Future[None] | None = None

    def hint(self) -> None:
        """Wake the waiter, now or as soon as it waits."""
        self._is_hinted = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout_s: float) -> bool:
        """Return at a hint since the last return, or at the timeout: whether it was a hint."""
        if not self._is_hinted:
            loop = asyncio.get_running_loop()
            self._future = future = loop.create_future()
            timer = loop.call_later(max(0.0, timeout_s), _release, future)
            try:
                await future
            finally:
                timer.cancel()
                self._future = None
        is_hinted, self._is_hinted = self._is_hinted, False
        return is_hinted


class Waits(Generic[K]):
    """Waiters by key."""

    def __init__(self) -> None:
        self._by_key: dict[K, set[Watch]] = {}
        self.is_closed = False

    def __len__(self) -> int:
        return sum(len(watches) for watches in self._by_key.values())

    @contextmanager
    def watch(self, key: K) -> Iterator[Watch]:
        """Hear every hint about a key from now on."""
        watch = Watch()
        if self.is_closed:
            watch.hint()
        self._by_key.setdefault(key, set()).add(watch)
        try:
            yield watch
        finally:
            watches = self._by_key[key]
            watches.discard(watch)
            if not watches:
                del self._by_key[key]

    def hint(self, key: K) -> None:
        """Wake everybody who waits for a key."""
        for watch in self._by_key.get(key, ()):
            watch.hint()

    def close(self) -> None:
        """Wake everybody; later waiters return at once."""
        self.is_closed = True
        for watches in self._by_key.values():
            for watch in watches:
                watch.hint()


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
