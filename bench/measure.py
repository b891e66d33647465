"""Runs two sides in turn and keeps the figures of each pair."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Side = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One goal with what was measured for it."""

    goal: str  # P2, P3, ...
    what: str
    unit: str
    bound: str  # ">= 0.50 x", "<= 20 ms"
    ratios: Sequence[float]  # what the bound speaks of, one per repetition
    ours: Sequence[float]
    theirs: Sequence[float]
    is_met: bool
    notes: str = ""

    @property
    def median(self) -> float:
        """The figure to compare with the bound."""
        return statistics.median(self.ratios)

    def to_json(self) -> dict[str, Any]:
        """Return everything measured, for the JSON file."""
        return {**asdict(self), "median": self.median}


def interleave(ours: Side, theirs: Side, *, times: int) -> tuple[list[float], list[float]]:
    """Measure A B A B ..., after one uncounted round of each."""
    ours()
    theirs()
    pairs = [(ours(), theirs()) for _ in range(times)]
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]


def at_least(
    goal: str, what: str, least: float, *, ours: Sequence[float], theirs: Sequence[float],
    notes: str = "",
) -> Result:  # fmt: skip
    """Judge rates: ours over theirs, pair by pair."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Result(
        goal=goal, what=what, unit="1/s", bound=f">= {least} x", ratios=ratios, ours=ours,
        theirs=theirs, is_met=statistics.median(ratios) >= least, notes=notes,
    )  # fmt: skip


def at_most(
    goal: str, what: str, most: float, *, ours: Sequence[float], theirs: Sequence[float],
    unit: str = "ms", notes: str = "",
) -> Result:  # fmt: skip
    """Judge durations: ours over theirs, pair by pair."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Result(
        goal=goal, what=what, unit=unit, bound=f"<= {most} x", ratios=ratios, ours=ours,
        theirs=theirs, is_met=statistics.median(ratios) <= most, notes=notes,
    )  # fmt: skip


def within(
    goal: str, what: str, most: float, *, values: Sequence[float], theirs: Sequence[float] = (),
    unit: str = "ms", notes: str = "",
) -> Result:  # fmt: skip
    """Judge plain figures against a limit."""
    return Result(
        goal=goal, what=what, unit=unit, bound=f"<= {most:g} {unit}", ratios=values, ours=values,
        theirs=theirs, is_met=statistics.median(values) <= most, notes=notes,
    )  # fmt: skip


def reaches(
    goal: str, what: str, least: float, *, values: Sequence[float], unit: str, notes: str = ""
) -> Result:
    """Judge plain figures against a least one."""
    return Result(
        goal=goal, what=what, unit=unit, bound=f">= {least:g} {unit}", ratios=values, ours=values,
        theirs=(), is_met=statistics.median(values) >= least, notes=notes,
    )  # fmt: skip


def table(results: Sequence[Result]) -> str:
    """Return the one table, in Markdown."""
    rows = ["| goal | what | bound | median [min - max] | ours | other | met |", "|" + "---|" * 7]
    for result in results:
        low, high = min(result.ratios), max(result.ratios)
        ours = f"{statistics.median(result.ours):.4g} {result.unit}"
        other = f"{statistics.median(result.theirs):.4g} {result.unit}" if result.theirs else "-"
        rows.append(
            f"| {result.goal} | {result.what} | {result.bound} | "
            f"{result.median:.3g} [{low:.3g} - {high:.3g}] | {ours} | {other} | "
            f"{'yes' if result.is_met else 'NO'} |"
        )
    return "\n".join(rows)
