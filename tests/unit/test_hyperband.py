"""Which runs end early: bands, thresholds, and what counts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shipway.domain.hyperband import (
    Hyperband,
    Progress,
    advance,
    bands_from_first,
    bands_from_last,
    is_hopeless,
)


def after(rule: Hyperband, values: Sequence[float]) -> Progress:
    """Return how a run stands that logged these."""
    progress = Progress()
    for line, value in enumerate(values):
        progress = advance(progress, rule, line, value)
    return progress


def test_bands_lie_before_the_last_value_or_after_the_first() -> None:
    assert bands_from_last(81, eta=3, s=3) == (3, 9, 27)
    assert bands_from_last(5, eta=2, s=2) == (1, 2)
    assert bands_from_last(2, eta=3, s=5) == ()
    assert bands_from_first(3, eta=3)[:4] == (3, 9, 27, 81)
    assert bands_from_first(1, eta=1.5)[:4] == (1, 2, 3, 5)


@pytest.mark.parametrize(("is_strict", "ended"), [(False, "b"), (True, "bc")])
def test_the_worse_part_of_the_runs_ends(is_strict: bool, ended: str) -> None:
    rule = Hyperband(bands=(1, 2), eta=2, is_strict=is_strict)
    runs = {
        "a": after(rule, [10, 9]),
        "b": after(rule, [10, 10, 10]),
        "c": after(rule, [10, 10, 8]),
        "d": after(rule, [10, 7, 7]),
        "e": after(rule, [10, 6, 6]),
        "f": after(rule, [10, 10, 9]),
    }
    found = [name for name in runs if is_hopeless(rule, runs[name], list(runs.values()))]
    threshold = sorted(run.at[2] for run in runs.values())[3]
    assert threshold == 10
    assert found == [], "with half of them at 10 nobody is above the threshold"
    del runs["f"]
    found = [name for name in runs if is_hopeless(rule, runs[name], list(runs.values()))]
    assert "".join(found) == ended


def test_before_the_first_band_nobody_ends() -> None:
    rule = Hyperband(bands=(3,), eta=3)
    good, bad = after(rule, [1, 1, 1]), after(rule, [9, 9])
    assert not is_hopeless(rule, bad, [good, good, good, bad])
    worse = after(rule, [9, 9, 9])
    assert is_hopeless(rule, worse, [good, good, good, worse])
    assert not is_hopeless(rule, worse, [worse]), "alone it is the best"


def test_a_line_that_comes_again_is_not_counted_again() -> None:
    rule = Hyperband(bands=(2,), eta=3)
    once = after(rule, [5, 4])
    assert advance(once, rule, 1, 0.0) == once
    assert once == Progress(line=1, count=2, best=4, at={2: 4})
    assert Progress.from_json(once.to_json()) == once
