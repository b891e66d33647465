"""Says what an agent could use now: leases, and how many of them could start at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shipway.agent.state import (
    ABOUT_TO_END_MS,
    GATES_AHEAD,
    PREPARING,
    STARTED,
    UNLIMITED,
    USING,
    Progress,
    Settling,
    State,
    gates,
)
from shipway.domain.ids import ItemId, Token

LEASE_LIMIT = 64  # leases asked for in one call
SHORT_MS = 1_000  # programs shorter than this are leased ahead of a free slot
VERY_SHORT_MS = 200  # and of these twice as many

Source = Mapping[str, Any]  # as a launch spec has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What is at hand for programs that start at once."""

    sources: Sequence[Source] = ()  # fetched and built
    folders: int = 0  # for programs of these: so many are there, or made in a moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What the agent could use now."""

    room: int  # leases
    used: int  # slots
    is_holding: bool
    held: Mapping[ItemId, Token]  # told once, after a start
    starts: int = 0  # of the leases; so many could start at once
    sources: Sequence[Source] = ()  # if they are of these
    is_more_soon: bool = False  # other reports will follow within milliseconds


@dataclass(slots=True)
class _Load:
    """How many attempts are where."""

    using: int = 0
    preparing: int = 0
    reporting: int = 0
    young: int = 0  # programs that are about to end, if they are as short as those before
    is_long: bool = False  # one runs much longer than a short program does


def need_of(state: State, now: int, *, held: Mapping[ItemId, Token], stock: Stock) -> Need:
    """Say what the state leaves room for."""
    load = _load(state, now)
    room, starts = _room(state, load, is_warm=bool(stock.sources))
    return Need(
        room=room,
        used=load.using if state.slots == UNLIMITED else min(load.using, state.slots),
        is_holding=bool(state.attempts),
        held=held,
        # A report's answer comes with the leases, and frees a folder.
        starts=min(starts, stock.folders + load.reporting),
        sources=stock.sources,
        is_more_soon=state.run_ms <= ABOUT_TO_END_MS and load.young > 1,
    )


def _load(state: State, now: int) -> _Load:
    load = _Load()
    for attempt in state.attempts.values():
        progress = attempt.progress
        if progress in USING:
            load.using += 1
            if progress in STARTED:
                ran = now - attempt.started_at
                load.is_long = load.is_long or ran > 2 * SHORT_MS
                load.young += progress is Progress.RUNNING and ran <= ABOUT_TO_END_MS
        elif progress in PREPARING:
            load.preparing += 1
        else:
            load.reporting += progress is Progress.REPORTING
    return load


def _room(state: State, load: _Load, *, is_warm: bool) -> tuple[int, int]:
    """Return how many leases to ask for, and how many of them could start at once."""
    if state.is_draining or state.is_short or state.settling is not Settling.DONE:
        return 0, 0
    if state.slots == UNLIMITED:
        return LEASE_LIMIT, LEASE_LIMIT
    taken = load.using + load.preparing
    ahead = 0 if load.is_long else _ahead(state, is_warm=is_warm)
    room = max(0, min(LEASE_LIMIT, state.slots + ahead - taken))
    return room, max(0, min(room, gates(state.slots, state.run_ms) - taken))


def _ahead(state: State, *, is_warm: bool) -> int:
    """Short programs end faster than leases come; long ones should wait where others see them."""
    if state.run_ms > SHORT_MS:
        return 0
    if state.run_ms < ABOUT_TO_END_MS:
        return (GATES_AHEAD if is_warm else 2 + GATES_AHEAD) * state.slots
    return (2 if state.run_ms < VERY_SHORT_MS else 1) * state.slots
