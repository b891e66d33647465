"""How `shipway down --stop` waits for programs to end, and what it shows meanwhile."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shipway.cli.output import progress
from shipway.cli.stop_all import STOP_WAIT_S, stop_all
from shipway.client import Client
from shipway.domain.errors import ShipwayError


class Fleet:
    """Three agents, and a program that ends after so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.now = 0.0
        self.drained: list[str] = []
        self.shown: list[str] = []
        self.agents = SimpleNamespace(find=self.rows, drain=self.drained.append)
        self.items = SimpleNamespace(find=self.find, stop=lambda _: None)

    def rows(self) -> list[dict[str, Any]]:
        return [{"id": state, "state": state} for state in ("active", "draining", "gone")]

    def find(self, *, state: str, limit: int) -> dict[str, Any]:
        assert limit
        self.looks -= state == "running"
        is_there = state == "running" and self.looks >= 0
        return {"items": [{"id": "i1"}] if is_there else []}

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def stop(self) -> int:
        return stop_all(
            cast(Client, self), say=lambda _: None, progress=self.shown.append,
            keep=lambda _: None, clock=lambda: self.now, sleep=self.sleep,
        )  # fmt: skip


def test_one_that_is_gone_takes_nothing_when_it_comes_back() -> None:
    fleet = Fleet(0)
    assert fleet.stop() == 0
    assert fleet.drained == ["active", "gone"]


def test_the_wait_counts_down_and_clears_its_line() -> None:
    fleet = Fleet(6)
    assert fleet.stop() == 1
    assert fleet.shown[0] == "1 still to end; waiting 120 s more at most"
    assert fleet.shown[-2] == "1 still to end; waiting 119 s more at most"
    assert fleet.shown[-1] == ""


def test_a_program_that_does_not_end_is_named() -> None:
    fleet = Fleet(10_000)
    with pytest.raises(ShipwayError, match="i1"):
        fleet.stop()
    assert fleet.now >= STOP_WAIT_S
    assert fleet.shown[-1] == ""


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_shown_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", shown)
    progress("2 s more")
    assert shown.getvalue() == ("\r\x1b[K2 s more" if is_terminal else "")
