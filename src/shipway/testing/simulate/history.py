"""What happened: the record that every verdict is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class What(StrEnum):
    """A kind of happening."""

    INVOKE = "invoke"  # a client began an operation
    OK = "ok"  # it was told that it was done
    FAIL = "fail"  # it was told that it was refused
    UNKNOWN = "unknown"  # it was told nothing, and gave up
    ROW = "row"  # a commit changed an item
    STALE = "stale"  # a commit changed what the writes in it had no token for
    ALLOWED = "allowed"  # the gate said yes to a start that was asked for after a stop
    LOG = "log"  # a commit changed the size of a log
    HELD = "held"  # an agent wrote into its journal that it took a lease
    PASSED = "passed"  # it wrote there that it may start the program
    DROPPED = "dropped"  # it wrote there that nothing is owed for it any more
    SETTLING = "settling"  # an agent that began told the server what it holds
    SETTLED = "settled"  # it heard what of that is lost
    ASKED = "asked"  # an agent asked for work
    ROOM = "room"  # how many leases an agent could take changed
    BEGAN = "began"  # a program was started
    TERMED = "termed"  # it got SIGTERM
    FROZE = "froze"  # it was stopped, or continued
    ENDED = "ended"  # nothing of it is left
    UP = "up"  # a process began
    DOWN = "down"  # a process died
    PAUSED = "paused"  # a process was stopped
    RESUMED = "resumed"  # it goes on
    CUT = "cut"  # a line carries nothing in one direction
    HEALED = "healed"  # it carries again
    WEATHER = "weather"  # how many messages are lost, doubled or late changed
    REBOOT = "reboot"  # a machine lost its power, and with it what was not synced
    CLOCK = "clock"  # a wall clock jumped
    QUIET = "quiet"  # the last fault is over
    CALL = "call"  # a request was sent
    ANSWER = "answer"  # what its sender heard


CHATTER = frozenset({What.CALL, What.ANSWER, What.ROOM, What.ASKED, What.LOG})


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened."""

    at: float  # ms since the beginning
    who: str
    what: What
    item: str = ""
    attempt: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        about = f" {self.item}.{self.attempt}" if self.attempt else f" {self.item}".rstrip()
        said = " ".join(f"{key}={value}" for key, value in self.data.items())
        return f"{self.at:10.1f} ms  {self.who:<12} {self.what}{about} {said}".rstrip()


class History:
    """Everything in its order."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.happenings: list[Happening] = []

    def note(self, who: str, what: What, item: str = "", attempt: int = 0, **data: Any) -> None:
        """Write down what happens now."""
        self.happenings.append(
            Happening(at=self.now(), who=who, what=what, item=item, attempt=attempt, data=data)
        )

    def of(self, *kinds: What) -> Iterator[Happening]:
        """Return all of some kinds, in order."""
        return (one for one in self.happenings if one.what in kinds)
