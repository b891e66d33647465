"""A clock that stands still until a test moves it."""

from __future__ import annotations


class ManualClock:
    """Wall time and monotonic time, moved together by `advance`."""

    def __init__(self, *, now: int = 1_700_000_000_000, monotonic: int = 1_000_000) -> None:
        self._now = now
        self._monotonic = monotonic

    def now(self) -> int:
        """Return ms UTC."""
        return self._now

    def monotonic(self) -> int:
        """Return ms of a clock that never jumps."""
        return self._monotonic

    def advance(self, ms: int) -> None:
        """Let time pass."""
        assert ms >= 0
        self._now += ms
        self._monotonic += ms

    def jump(self, ms: int) -> None:
        """Set the wall clock on or back; the monotonic one does not notice."""
        self._now += ms
