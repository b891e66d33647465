"""Tells a slot that does not act past its time, by ticks of who watches: no sleep fools it."""

from __future__ import annotations

from dataclasses import dataclass, replace

SLACK_MS = 1_000  # a slot past its time by this much is suspect
STRIKES = 5  # ticks in a row without a heartbeat of a suspect slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """What is kept in mind of a slot."""

    heartbeat: int = 0
    strikes: int = 0

    @property
    def is_proven(self) -> bool:
        """Whether the slot must be killed, for it does not act."""
        return self.strikes >= STRIKES


def suspect(known: Suspicion, *, now: int, heartbeat: int, due: tuple[int, ...]) -> Suspicion:
    """Count the ticks that a slot past its time let go by without a heartbeat.

    Ticks, not time: after a suspend the slot gets as many looks as the one who watches it.
    """
    first = min((at for at in due if at), default=0)
    if not first or now < first + SLACK_MS or heartbeat != known.heartbeat:
        return Suspicion(heartbeat=heartbeat)
    return replace(known, strikes=known.strikes + 1)
