"""Lease time counts every millisecond of the monotonic clock, those of its own ticks too."""

from __future__ import annotations

from dataclasses import dataclass

from shipway.service.lease_time import LeaseTime


@dataclass(slots=True)
class SlowClock:
    """A clock that a test moves."""

    at: int = 1_000

    def now(self) -> int:
        """Return wall time, which nobody asks for here."""
        raise AssertionError

    def monotonic(self) -> int:
        """Return the moment."""
        return self.at


def test_a_tick_that_takes_long_loses_no_time() -> None:
    clock = SlowClock()
    lease_time = LeaseTime(clock=clock)
    lease_time.set(50)
    clock.at += 100
    elapsed = lease_time.since_tick()
    clock.at += 30  # the database stores what elapsed
    lease_time.go_on(50 + elapsed, by_ms=elapsed)
    assert lease_time.now() == 180
    assert lease_time.since_tick() == 30


def test_lease_time_begins_at_nothing_and_goes_on_by_itself() -> None:
    clock = SlowClock()
    lease_time = LeaseTime(clock=clock)
    assert (lease_time.now(), lease_time.since_tick()) == (0, 0)
    clock.at += 30
    assert (lease_time.now(), lease_time.since_tick()) == (30, 30)
    lease_time.set(500)
    assert (lease_time.now(), lease_time.since_tick()) == (500, 0)
    lease_time.go_on(900, by_ms=0)
    assert lease_time.now() == 900
