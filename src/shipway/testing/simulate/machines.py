"""Judges agents: what they remember, what they take first, and whether work finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from shipway.testing.simulate.history import Happening, What
from shipway.testing.simulate.presence import CALM_AFTER_MS, Presence
from shipway.testing.simulate.verdict import Verdict, Wrong

LEASED_MS = 2_000.0  # that an item waits for a free agent at most
SLACK_MS = 200.0  # of messages and commits that this is seen through
Name = tuple[str, int]


@dataclass(slots=True, kw_only=True)
class _Agent:
    """What is known of an agent while a history is read."""

    held: dict[Name, float] = field(default_factory=dict)  # in its journal
    ending: set[str] = field(default_factory=set)  # lost ones that it must end first
    free_since: float | None = None


def judge_machines(happenings: Sequence[Happening]) -> list[Verdict]:
    """Return what is wrong with agents."""
    agents: dict[str, _Agent] = {}
    found: list[Verdict] = []
    for one in happenings:
        if one.what in _ABOUT_AGENTS:
            found += _agent(one, agents.setdefault(one.who, _Agent()))
    return found + list(_starved(happenings))


_ABOUT_AGENTS = frozenset(
    {What.HELD, What.DROPPED, What.SETTLING, What.SETTLED, What.ASKED, What.REBOOT}
)


def _agent(one: Happening, known: _Agent) -> Iterator[Verdict]:
    """I10: it remembers what it held, and ends what it lost before it takes new work."""
    name = (one.item, one.attempt)
    if one.what is What.HELD:
        known.held[name] = one.at
    elif one.what is What.DROPPED:
        known.held.pop(name, None)
        known.ending.discard(f"{one.item}.{one.attempt}")
    elif one.what is What.REBOOT:
        known.held.clear()
        known.ending.clear()
    elif one.what is What.SETTLING:
        known.ending.clear()
        for item, attempt in known.held:
            if item not in one.data["held"]:
                text = f"{one.who} came back and knew nothing of {item}.{attempt}"
                yield Verdict(wrong=Wrong.FORGOTTEN, at=one.at, text=text, item=item)
    elif one.what is What.SETTLED:
        known.ending.update(one.data["ending"])
    elif known.ending:
        text = f"{one.who} asked for work before {', '.join(sorted(known.ending))} had ended"
        yield Verdict(wrong=Wrong.HASTE, at=one.at, text=text)


def _starved(happenings: Sequence[Happening]) -> Iterator[Verdict]:
    """I11: where an agent is free, nothing waits longer than two seconds."""
    presence = Presence(happenings)
    calm = presence.quiet + CALM_AFTER_MS
    waiting: dict[str, float] = {}
    free: dict[str, float] = {}
    told: set[str] = set()
    for one in happenings:
        for item, since in waiting.items():
            for agent, at in free.items():
                begin = max(since, at, calm)
                end = begin + LEASED_MS + SLACK_MS
                if item in told or one.at <= end or not presence.could_act(agent, begin, end):
                    continue
                told.add(item)
                text = f"{item} waited from {since:.0f} ms on, {agent} was free since {at:.0f} ms"
                yield Verdict(wrong=Wrong.STARVED, at=one.at, text=text, item=item)
        _follow(one, waiting, free)


def _follow(one: Happening, waiting: dict[str, float], free: dict[str, float]) -> None:
    if one.what is What.ROW:
        if one.data["row"].state != "pending":
            waiting.pop(one.item, None)
        else:
            waiting.setdefault(one.item, one.at)
    elif one.what is What.ROOM:
        if one.data["room"] > 0:
            free.setdefault(one.who, one.at)
        else:
            free.pop(one.who, None)
    elif one.what is What.DOWN:
        free.pop(one.who, None)
