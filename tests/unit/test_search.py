"""The searches: exact and repeatable."""

from __future__ import annotations

from typing import Any

import pytest

from shipway.domain.ids import RunId
from shipway.domain.run import Run, RunState
from shipway.domain.sweep import Trial, trials_of
from shipway.domain.sweep_config import parse_sweep
from shipway.plugins.errors import PermanentError
from shipway.plugins.find import find, installed
from shipway.plugins.search import SearchAsk
from shipway.search.grid import GridSearch
from shipway.search.random import RandomSearch

METRIC = {"name": "loss"}


def ask(config: Any, number: int = 0, trials: list[Trial] | None = None) -> SearchAsk:
    """Return an ask whose seed is its number."""
    return SearchAsk(config=config, number=number, seed=number, trials=trials or [])


def test_the_searches_are_found_by_name() -> None:
    assert set(installed("shipway.search")) >= {"bayes", "grid", "random"}
    with pytest.raises(PermanentError, match=r"no search named 'magic' is installed \(inst"):
        find("shipway.search", "magic")


def test_a_grid_ends_after_its_last_combination() -> None:
    config = parse_sweep({
        "method": "grid", "parameters": {"x": {"values": [1, 2]}, "y": {"min": 0, "max": 1}},
    })  # fmt: skip
    found = [GridSearch().suggest(ask(config, number)) for number in range(5)]
    assert found[4] is None
    assert [dict(one or {}) for one in found[:4]] == [
        {("x",): x, ("y",): y} for x in (1, 2) for y in (0, 1)
    ]
    assert GridSearch().size(config) == 4


@pytest.mark.parametrize(
    "parameter",
    [{"min": 0.0, "max": 1.0}, {"values": [1], "probabilities": [1]}, {"distribution": "normal"}],
)
def test_a_grid_refuses_what_it_cannot_list(parameter: dict[str, Any]) -> None:
    config = parse_sweep({"method": "grid", "parameters": {"g": {"parameters": {"x": parameter}}}})
    with pytest.raises(PermanentError, match=r"parameters\.g\.x has endless values"):
        GridSearch().check(config)


def test_chance_is_repeatable_and_stays_within_its_limits() -> None:
    config = parse_sweep({
        "method": "random",
        "parameters": {
            "x": {"min": -1.0, "max": 1.0}, "y": {"values": ["a", "b"]}, "z": {"value": 3},
            "b": {"distribution": "beta", "a": 2, "b": 5},
        },
    })  # fmt: skip
    search = RandomSearch()
    found = [search.suggest(ask(config, number)) for number in range(200)]
    assert found == [search.suggest(ask(config, number)) for number in range(200)]
    for values in found:
        assert values is not None
        assert -1 <= values["x",] <= 1
        assert 0 < values["b",] < 1
        assert values["z",] == 3
    assert {values["y",] for values in found if values} == {"a", "b"}


@pytest.mark.parametrize(
    ("impute", "expected"), [("worst", -1.0), ("best", -3.0), ("latest", -2.0)]
)
def test_a_failed_run_counts_as_the_config_says(impute: str, expected: float) -> None:
    config = parse_sweep({
        "method": "bayes", "parameters": {"x": {"values": [1]}},
        "metric": {"name": "acc", "goal": "maximize", "impute": impute},
    })  # fmt: skip
    states = [RunState.FINISHED, RunState.FINISHED, RunState.FAILED, RunState.RUNNING]
    runs = [
        Run(
            seq=0, id=RunId("r"), entity="ann", project="p", name=None, item_id=None, created_at=0,
            config={"x": 1}, summary={"acc": acc},
        )
        for acc in (1.0, 3.0, 2.0, 9.0)
    ]  # fmt: skip
    trials = trials_of(config, list(zip(runs, states, strict=True)))
    assert [trial.cost for trial in trials] == [-1.0, -3.0, expected, None]
    assert [trial.is_open for trial in trials] == [False, False, False, True]
