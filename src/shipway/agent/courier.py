"""Carries one call after another to the server, on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from shipway.domain.errors import Code, ShipwayError

log = logging.getLogger(__name__)

FIRST_PAUSE_MS = 100  # after a call that failed
LONGEST_PAUSE_MS = 1_000  # a server that is back finds its agents within two seconds

Call = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What became of a call."""

    way: str
    sent_at: int
    at: int
    cargo: Any  # what the sender wants back with the answer
    answer: Mapping[str, Any] | None = None
    error: ShipwayError | None = None


class Courier:
    """One call at a time; all but the thread itself belongs to whoever sends."""

    def __init__(
        self, way: str, *, emit: Callable[[Reply], None], boot_ms: Callable[[], int]
    ) -> None:
        self.way = way
        self.is_busy = False
        self.asked = 0  # leases asked for in the call that is under way
        self.failures = 0
        self._not_before = 0
        self._emit = emit
        self._boot_ms = boot_ms
        self._calls: SimpleQueue[tuple[Call, Any]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def send(self, call: Call, cargo: Any) -> None:
        """Make a call; its reply is emitted."""
        assert not self.is_busy
        self.is_busy = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"call-{self.way}", daemon=True)
            self._thread.start()
        self._calls.put((call, cargo))

    def is_free(self) -> bool:
        """Tell whether a call may be made now."""
        return not self.is_busy and self._boot_ms() >= self._not_before

    def succeed(self) -> None:
        """Note that the call was answered."""
        self.is_busy = False
        self.failures = 0

    def fail(self) -> None:
        """Note that it was not; the next one waits longer each time."""
        self.is_busy = False
        pause = min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS << min(self.failures, 8))
        self.failures += 1
        self._not_before = self._boot_ms() + pause

    def rest(self, seconds: float) -> None:
        """Make no call for a while."""
        self._not_before = self._boot_ms() + int(seconds * 1000)

    def pause(self) -> float | None:
        """Return the seconds until the next call may be made, None where one is under way."""
        if self.is_busy or not self._not_before:
            return None
        left = (self._not_before - self._boot_ms()) / 1000
        return left if left > 0 else None

    def _run(self) -> None:
        while True:
            call, cargo = self._calls.get()
            sent_at = self._boot_ms()
            answer, error = None, None
            try:
                answer = call()
            except ShipwayError as refused:
                error = refused
            except Exception as bug:  # a thread's outermost frame: the loop must hear of it
                log.exception("call broke", extra={"way": self.way})
                error = ShipwayError(f"the call broke: {bug}", code=Code.INTERNAL)
            self._emit(
                Reply(
                    way=self.way,
                    sent_at=sent_at,
                    at=self._boot_ms(),
                    cargo=cargo,
                    answer=answer,
                    error=error,
                )
            )
