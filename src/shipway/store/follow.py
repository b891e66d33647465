"""Follows the events of other servers' commits on a shared database."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence

from shipway.domain.errors import ShipwayError
from shipway.domain.item import ItemEvent

EVENT_CHANNEL = "shipway_events"
POLL_S = 1.0  # hints may be lost: it looks by itself this often
RETRY_S = 0.5  # after an error
PAGE = 1_000  # events in one look

Hear = Callable[[Sequence[ItemEvent]], None]

log = logging.getLogger(__name__)


class Follower:
    """Reads on from the last event it knows, and hands over what this server did not write.

    It relies on numbers in the order of commits: nothing appears behind what was read.
    """

    def __init__(
        self,
        events_after: Callable[[int, int], list[ItemEvent]],
        listen: Callable[[float], Iterator[Callable[[], None]]],
    ) -> None:
        self._events_after = events_after
        self._listen = listen
        self._own: deque[tuple[int, int]] = deque()  # first and last seq of our own commits
        self._open: tuple[int, int] | None = None  # of the commit that is under way
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._seq = 0
        self._hear: Hear = _ignore
        self._thread: threading.Thread | None = None

    def own(self, first: int, last: int) -> None:
        """Note events as our own, before their commit: they are published already."""
        with self._lock:
            self._open = (first, last)

    def committed(self) -> None:
        """Note that their commit has happened, so that they need not even be read."""
        with self._lock:
            if self._open is not None and self._thread is not None:
                self._own.append(self._open)
            self._open = None

    def failed(self) -> None:
        """Take them back: if they are there after all, nobody has published them."""
        with self._lock:
            if self._open is not None:
                self._seq = min(self._seq, self._open[0] - 1)
            self._open = None

    def start(self, seq: int, hear: Hear) -> None:
        """Begin to follow after a seq."""
        assert self._thread is None
        self._seq = seq
        self._hear = hear
        self._thread = threading.Thread(target=self._loop, name="shipway-follower", daemon=True)
        self._thread.start()

    def stop(self, hint: Callable[[], None]) -> None:
        """End the thread, which a hint wakes; a second call does nothing."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._thread is not None:
            hint()
            self._thread.join()

    def look(self) -> None:
        """Hand over what other servers committed since the last look."""
        while True:
            after = self._pass_own()
            events = self._events_after(after, PAGE)
            foreign = self._pass(after, events)
            if foreign:
                self._hear(foreign)
            if len(events) < PAGE:
                return

    def _loop(self) -> None:
        while not self._stopping.is_set():
            hints = self._listen(POLL_S)
            try:
                for wait in hints:
                    self.look()
                    if self._stopping.is_set():
                        return
                    wait()
            except ShipwayError as error:
                log.warning("the database cannot be followed", extra={"error": str(error)})
                self._stopping.wait(RETRY_S)
            finally:
                if isinstance(hints, Generator):
                    hints.close()

    def _pass_own(self) -> int:
        """Skip our own commits that come next, without reading them."""
        with self._lock:
            while self._own and self._own[0][0] <= self._seq + 1:
                self._seq = max(self._seq, self._own.popleft()[1])
            return self._seq

    def _pass(self, after: int, events: Sequence[ItemEvent]) -> list[ItemEvent]:
        """Go past what was read, unless it was taken back meanwhile; return what is not ours."""
        with self._lock:
            if self._seq != after or not events:
                return []
            spans = list(self._own) if self._open is None else [*self._own, self._open]
            foreign = [
                event
                for event in events
                if not any(first <= event.seq <= last for first, last in spans)
            ]
            self._seq = events[-1].seq
            return foreign


def _ignore(_events: Sequence[ItemEvent]) -> None:
    """Hear nothing."""
