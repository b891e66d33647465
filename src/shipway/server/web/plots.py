"""Draws the history of a run as small pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

WIDTH, HEIGHT = 280, 80
PLOTS_LIMIT = 24
POINTS_LIMIT = 280


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One value over the steps: lines as SVG points, gaps where it was not finite."""

    name: str
    lines: tuple[str, ...]
    low: float
    high: float
    last: float
    steps: tuple[float, float]
    width: int = WIDTH
    height: int = HEIGHT


def plots(rows: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Return a plot for each value that is a number, in the order of their first appearance."""
    names = dict.fromkeys(
        name for row in rows for name, value in row.items() if name[0:1] != "_" and _is_real(value)
    )
    found = []
    for name in list(names)[:PLOTS_LIMIT]:
        points = [
            (_step(row, index), float(row[name]))
            for index, row in enumerate(rows)
            if _is_real(row.get(name))
        ]
        plot = _plot(name, points)
        if plot is not None:
            found.append(plot)
    return found


def _plot(name: str, points: Sequence[tuple[float, float]]) -> Plot | None:
    points = points[:: max(1, len(points) // POINTS_LIMIT)]
    finite = [value for _, value in points if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    first, last = points[0][0], points[-1][0]
    lines: list[list[str]] = [[]]
    for step, value in points:
        if not math.isfinite(value):
            lines.append([])
            continue
        x = (step - first) / ((last - first) or 1) * (WIDTH - 4) + 2
        y = HEIGHT - 2 - (value - low) / ((high - low) or 1) * (HEIGHT - 4)
        lines[-1].append(f"{x:.1f},{y:.1f}")
    return Plot(
        name=name,
        lines=tuple(" ".join(line) for line in lines if line),
        low=low,
        high=high,
        last=finite[-1],
        steps=(first, last),
    )


def _is_real(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not isinstance(value, int) or abs(value) < 1e300


def _step(row: Mapping[str, Any], index: int) -> float:
    step = row.get("_step")
    return float(step) if _is_real(step) and math.isfinite(step) else float(index)
