"""Judges what became of attempts: programs that overlap, outlive their lease or begin unasked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from shipway.agent.state import PASSED_MS
from shipway.testing.simulate.history import Happening, What
from shipway.testing.simulate.presence import Presence
from shipway.testing.simulate.rows import Row
from shipway.testing.simulate.verdict import Verdict, Wrong

ORPHAN_MS = 15_000.0  # from the loss of a lease to the end of its program
SUPERVISOR_MS = 2_500.0  # that a supervisor which can act may take to act
AGENT_MS = 15_000.0  # the same of an agent whose supervisor is dead
STOP_MS = 5_500.0  # from an acked stop to SIGTERM, where nothing is wrong
GRACE_LIMIT_MS = 12_000.0
LATE_MS = PASSED_MS + 10.0  # from the word of the gate to a program's beginning
RESENT_MS = 5_000.0  # an order that died with its supervisor is sent again after so long
SLACK_MS = 600.0  # from the gate to a program's beginning


@dataclass(slots=True, kw_only=True)
class _Life:
    """One attempt's program."""

    item: str
    attempt: int
    machine: str
    began: float
    ended: float = float("inf")
    termed: float = float("inf")


@dataclass(slots=True, kw_only=True)
class _Item:
    """What is known of an item while its history is read."""

    lives: dict[int, _Life] = field(default_factory=dict)
    passed: set[int] = field(default_factory=set)  # attempts that went through the gate
    told: dict[int, float] = field(default_factory=dict)  # when its agent heard that
    lost: dict[int, float] = field(default_factory=dict)  # when each attempt's lease ended
    stopped: float | None = None  # when a stop was acked


def judge_attempts(happenings: Sequence[Happening]) -> list[Verdict]:
    """Return what is wrong with programs."""
    presence = Presence(happenings)
    items: dict[str, _Item] = {}
    found: list[Verdict] = []
    for one in happenings:
        if not one.item:
            continue
        known = items.setdefault(one.item, _Item())
        if one.what is What.BEGAN:
            found += _began(one, known, presence)
        elif one.what is What.PASSED:
            known.told[one.attempt] = one.at
        elif one.what is What.ENDED:
            known.lives[one.attempt].ended = one.at
        elif one.what is What.TERMED:
            known.lives[one.attempt].termed = one.at
        elif one.what is What.ROW:
            _row(one, known)
        elif one.what is What.OK and one.data["op"] in ("stop", "delete"):
            known.stopped = one.at if known.stopped is None else known.stopped
    for item in items.values():
        found += _orphans(item, presence)
        found += _stops(item, presence)
    return found


def _row(one: Happening, known: _Item) -> None:
    row: Row = one.data["row"]
    before: Row | None = one.data["before"]
    if row.state == "running":
        known.passed.add(row.attempt)
    if before is not None and before.token is not None and before.token != row.token:
        known.lost.setdefault(before.attempt, one.at)


def _began(one: Happening, known: _Item, presence: Presence) -> Iterator[Verdict]:
    """I7, I8: it passed the gate, is the only one of its attempt, and no other still runs."""
    name = f"{one.item}.{one.attempt}"
    if one.attempt in known.lives:
        text = f"{name} began a second time"
        yield Verdict(wrong=Wrong.TWICE, at=one.at, text=text, item=one.item)
    if one.attempt not in known.passed:
        text = f"{name} began without a word of the gate"
        yield Verdict(wrong=Wrong.GATE, at=one.at, text=text, item=one.item)
    told = known.told.get(one.attempt, one.at)
    waited = one.at - told
    agent, supervisor = f"agent-{one.who}", f"supervisor-{one.who}"
    is_resent = waited > RESENT_MS and not presence.could_act(supervisor, told, one.at)
    was_held = presence.was_paused(supervisor, told, one.at) or not presence.could_act(
        agent, told, one.at
    )
    if waited > LATE_MS and not was_held and not is_resent:
        text = f"{name} began {waited:.0f} ms after the word of the gate"
        yield Verdict(wrong=Wrong.STOP, at=one.at, text=text, item=one.item)
    for other in known.lives.values():
        is_other = other.ended == float("inf") and other.attempt != one.attempt
        if is_other and _could_have_ended(other, one.at, presence):
            text = f"{name} began on {one.who}, {other.attempt} still ran on {other.machine}"
            yield Verdict(wrong=Wrong.OVERLAP, at=one.at, text=text, item=one.item)
    known.lives[one.attempt] = _Life(
        item=one.item, attempt=one.attempt, machine=one.who, began=one.at
    )


def _could_have_ended(life: _Life, until: float, presence: Presence) -> bool:
    """Tell whether somebody on the machine could act long enough before a moment."""
    supervisor, agent = f"supervisor-{life.machine}", f"agent-{life.machine}"
    return presence.could_act(supervisor, until - SUPERVISOR_MS, until) or presence.could_act(
        agent, until - AGENT_MS, until
    )


def _orphans(known: _Item, presence: Presence) -> Iterator[Verdict]:
    """I9: a program is gone soon after its lease is."""
    for attempt, at in known.lost.items():
        life = known.lives.get(attempt)
        limit = at + ORPHAN_MS
        if life is None or life.ended <= limit or life.began > at:
            continue
        if presence.is_healed(at) and presence.could_act(f"supervisor-{life.machine}", at, limit):
            text = f"{life.item}.{attempt} ran {life.ended - at:.0f} ms after its lease was lost"
            yield Verdict(wrong=Wrong.ORPHAN, at=limit, text=text, item=life.item)


def _stops(known: _Item, presence: Presence) -> Iterator[Verdict]:
    """I7: after an acked stop nothing begins, and what runs is told where that is possible."""
    at = known.stopped
    if at is None:
        return
    for life in known.lives.values():
        name = f"{life.item}.{life.attempt}"
        if life.began > at + SLACK_MS and presence.was_calm(life.machine, at, life.began):
            text = f"{name} began {life.began - at:.0f} ms after a stop was acked"
            yield Verdict(wrong=Wrong.STOP, at=life.began, text=text, item=life.item)
        if life.began < at < life.ended and presence.was_calm(life.machine, at, at + STOP_MS):
            if min(life.termed, life.ended) > at + STOP_MS:
                text = f"{name} heard nothing of a stop for {STOP_MS:.0f} ms"
                yield Verdict(wrong=Wrong.STOP, at=at + STOP_MS, text=text, item=life.item)
            elif life.ended > at + STOP_MS + GRACE_LIMIT_MS:
                text = f"{name} was not killed after its grace"
                yield Verdict(wrong=Wrong.STOP, at=life.ended, text=text, item=life.item)
