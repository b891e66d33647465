"""An asyncio event loop in virtual time: the server's own coroutines run on it."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, cast

from shipway.testing.simulate.node import Node

READ_MS = (0.05, 3.0)  # that a thread of readers takes


class NodeLoop:
    """One process's loop; what is ready runs in order, time comes from the kernel.

    It has what asyncio's tasks, futures and sleeps need of a loop, and nothing else.
    """

    def __init__(self, node: Node, faults: list[BaseException]) -> None:
        self._node = node
        self._ready: deque[asyncio.Handle] = deque()
        self._is_due = False
        self._faults = faults
        self._self = cast(asyncio.AbstractEventLoop, self)

    def time(self) -> float:
        """Return seconds on the machine's boot clock."""
        return self._node.machine.monotonic() / 1000

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run it next."""
        handle = asyncio.Handle(callback, args, self._self, context)
        self._ready.append(handle)
        if not self._is_due:
            self._is_due = True
            self._node.after(0, self.run_ready)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run it next: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it after some seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it at a moment."""
        handle = asyncio.TimerHandle(when, callback, args, self._self, context)

        def ring() -> None:
            if not handle.cancelled():
                self._ready.append(handle)
                self.run_ready()

        self._node.after(max(0.0, (when - self.time()) * 1000), ring)
        return handle

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # noqa: ARG002 - asyncio's signature
        """Run it a little later, as a thread would."""
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
                future.set_exception(error)

        self._node.after(self._node.kernel.between(*READ_MS), work)
        return future

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self._self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **_: Any) -> asyncio.Task[Any]:
        """Run a coroutine."""
        task = asyncio.Task(coro, loop=self._self)
        task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - a killed process says nothing
        return task

    def run_ready(self) -> None:
        """Run what is ready, and what becomes ready by that."""
        self._is_due = True
        known = events._get_running_loop()  # noqa: SLF001 - what every loop does
        events._set_running_loop(self._self)  # noqa: SLF001 - as above
        try:
            while self._ready:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()  # noqa: SLF001 - as above
        finally:
            events._set_running_loop(known)  # noqa: SLF001 - as above
            self._is_due = False

    def get_debug(self) -> bool:
        """Return whether asyncio should check more: no."""
        return False

    def is_running(self) -> bool:
        """Return that it runs."""
        return True

    def is_closed(self) -> bool:
        """Return that it is open."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody took care of: a history with such a fault is none."""
        error = context.get("exception")
        if isinstance(error, BaseException):
            self._faults.append(error)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it where it is: nothing happens when it is due."""
