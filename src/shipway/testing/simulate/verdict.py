"""What can be wrong with a history."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Wrong(StrEnum):
    """A promise that was broken."""

    LOST = "lost"  # an acked add is not there
    REFUSED = "refused"  # an add that is repeated, or a first one, was refused
    DOUBLED = "doubled"  # one idempotency key made two items
    STUCK = "stuck"  # an item did not come to an end
    STALE = "stale accept"  # a write changed what it had no token for
    LEASES = "two leases"  # an item was leased while it was leased
    STATES = "impossible move"  # an item moved as the table of moves forbids
    TERMINAL = "terminal change"  # an ended item changed
    GATE = "gate"  # a program began that had not passed the start gate
    STOP = "stop"  # an acked stop was not respected
    OVERLAP = "overlap"  # two attempts' programs of one item ran at once
    TWICE = "started twice"  # one attempt's program was started twice
    ORPHAN = "orphan"  # a program outlived its lease
    FORGOTTEN = "forgotten"  # an agent that came back did not know what it held
    HASTE = "haste"  # it took new work before the old was ended
    STARVED = "starved"  # an item waited while an agent was free
    CRASH_LOOP = "crash loop"  # an item was tried more often than allowed
    LOG = "log"  # bytes of a log are lost, doubled or out of order
    ANSWER = "wrong answer"  # a client was told what is not so
    FAULT = "fault"  # something broke


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One broken promise."""

    wrong: Wrong
    at: float
    text: str
    item: str = ""

    def __str__(self) -> str:
        return f"{self.wrong}: {self.text} (at {self.at:.1f} ms)"
