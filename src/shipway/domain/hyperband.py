"""Decides which runs of a sweep are so much worse than others that they end early (Hyperband)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

BANDS_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperband:
    """When runs are compared, and which of them go on."""

    bands: tuple[int, ...]  # after so many values of the metric, ascending
    eta: float  # of the runs at a band, one in so many goes on
    is_strict: bool = False  # by the value at the band, not by the best one so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is kept of a run's metric; smaller values are better, whatever the goal."""

    line: int = -1  # the last line of the history that was counted
    count: int = 0
    best: float | None = None
    at: Mapping[int, float] = field(default_factory=dict)  # the value at each band it reached

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        at = {str(band): value for band, value in self.at.items()}
        return {"line": self.line, "count": self.count, "best": self.best, "at": at}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Progress:
        """Build it from what `to_json` returned."""
        at = {int(band): one for band, one in value.get("at", {}).items()}
        return cls(
            line=value.get("line", -1), count=value.get("count", 0), best=value.get("best"), at=at
        )


def bands_from_last(max_iter: int, *, eta: float, s: int) -> tuple[int, ...]:
    """Return the bands that lie before the last value, each an eta-th of the next."""
    found: list[int] = []
    band = float(max_iter)
    for _ in range(min(s, BANDS_LIMIT)):
        band /= eta
        if band < 1:
            break
        found.append(int(band))
    return tuple(sorted(set(found)))


def bands_from_first(min_iter: int, *, eta: float) -> tuple[int, ...]:
    """Return the bands from the first one on, each eta times the one before."""
    found = (int(min_iter * eta**number) for number in range(BANDS_LIMIT))
    return tuple(sorted({band for band in found if band < 1 << 60}))


def advance(progress: Progress, rule: Hyperband, line: int, value: float) -> Progress:
    """Count one more value of the metric; a line that was counted changes nothing."""
    if line <= progress.line:
        return progress
    count = progress.count + 1
    best = value if progress.best is None else min(progress.best, value)
    at = {**progress.at, count: value} if count in rule.bands else progress.at
    return replace(progress, line=line, count=count, best=best, at=at)


def is_hopeless(rule: Hyperband, own: Progress, all_runs: Sequence[Progress]) -> bool:
    """Tell whether a run is to end, compared with all runs at the last band that it reached."""
    if not own.at or own.best is None:
        return False
    band = max(own.at)
    values = sorted(one.at[band] for one in all_runs if band in one.at)
    if not values:
        return False
    threshold = values[min(int(len(values) / rule.eta), len(values) - 1)]
    return (own.at[band] if rule.is_strict else own.best) > threshold
