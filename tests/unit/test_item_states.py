"""The table of moves."""

from __future__ import annotations

import pytest

from shipway.domain.item import HELD, LIVE, TERMINAL, TRANSITIONS, Event, State, after


def test_terminal_states_have_no_way_out() -> None:
    assert {State.FINISHED, State.FAILED, State.STOPPED} == TERMINAL
    assert all(before not in TERMINAL for before, _ in TRANSITIONS)


def test_held_states_are_those_with_a_lease() -> None:
    assert {State.LEASED, State.RUNNING} == HELD
    assert {State.PENDING} | HELD == LIVE


def test_every_live_item_can_be_stopped() -> None:
    assert all(after(state, Event.STOP) is State.STOPPED for state in LIVE)


def test_every_event_moves_something() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event)


@pytest.mark.parametrize("event", list(Event))
def test_nothing_moves_a_finished_item(event: Event) -> None:
    assert after(State.FINISHED, event) is None
