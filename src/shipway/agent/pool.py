"""Runs calls on a few threads that never keep their process from ending."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

log = logging.getLogger(__name__)

Call = Callable[..., Any]


class Pool:
    """A fixed number of daemon threads, started as they are needed."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._limit = threads
        self._calls: SimpleQueue[tuple[Call, tuple[Any, ...]]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0  # calls that were submitted and have not returned
        self._lock = threading.Lock()

    def submit(self, call: Call, *args: Any) -> None:
        """Call it some time soon; its result is nobody's business."""
        with self._lock:
            self._waiting += 1
            is_short = len(self._threads) < min(self._waiting, self._limit)
            if is_short:
                name = f"{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        self._calls.put((call, args))

    def _run(self) -> None:
        while True:
            call, args = self._calls.get()
            try:
                call(*args)
            except Exception:  # the outermost frame of a thread that must go on
                log.exception("call broke", extra={"pool": self._name})
            with self._lock:
                self._waiting -= 1
