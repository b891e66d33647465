"""Lease time: it neither jumps with the wall clock nor runs while no server is up."""

from __future__ import annotations

from shipway.service.ports import Clock


class LeaseTime:
    """The stored clock of leases, carried on between its ticks by the monotonic clock."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._base = 0
        self._at = clock.monotonic()

    def now(self) -> int:
        """Return lease time in ms."""
        return self._base + (self._clock.monotonic() - self._at)

    def set(self, base: int) -> None:
        """Take the stored value over, as of now."""
        self._base = base
        self._at = self._clock.monotonic()

    def go_on(self, base: int, *, by_ms: int) -> None:
        """Take over the stored value, moved on by ms of `since_tick`; none passes uncounted."""
        self._base = base
        self._at += by_ms

    def since_tick(self) -> int:
        """Return ms since the stored value was taken over."""
        return self._clock.monotonic() - self._at
