"""The row that holds lease time."""

from __future__ import annotations

from shipway.store.session import Session


class LeaseClock:
    """The port `ClockRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def now(self) -> int:
        """Return lease time in ms as of the last tick."""
        row = self._session.one("lease_time", {})
        assert row is not None
        return int(row[0])

    def advance(self, by_ms: int) -> int:
        """Move lease time on and return it."""
        assert by_ms >= 0, "lease time never goes back"
        row = self._session.one("advance_lease_time", {"by_ms": by_ms})
        assert row is not None
        return int(row[0])
