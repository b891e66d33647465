"""The search `bayes` with the real library: repeatable, and better than chance."""

from __future__ import annotations

from random import Random
from typing import Any

from shipway.domain.sweep import Trial
from shipway.domain.sweep_config import parse_sweep
from shipway.domain.sweep_space import Values
from shipway.plugins.search import SearchAsk
from shipway.search.bayes import STARTUP, BayesSearch

METRIC = {"name": "loss"}


def ask(config: Any, number: int, trials: list[Trial]) -> SearchAsk:
    """Return an ask whose seed is its number."""
    return SearchAsk(config=config, number=number, seed=number, trials=trials)


def test_bayes_finds_better_values_than_chance() -> None:
    config = parse_sweep({
        "method": "bayes", "metric": METRIC,
        "parameters": {
            "x": {"min": 0.0, "max": 10.0}, "n": {"min": 1, "max": 9}, "c": {"value": 1},
            "kind": {"values": ["a", "b"]},
            "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0},
        },
    })  # fmt: skip

    def loss(values: Values) -> float:
        return float((values["x",] - 7) ** 2 + (values["n",] - 3) ** 2 + (values["kind",] != "b"))

    search, trials = BayesSearch(), list[Trial]()
    for number in range(40):
        values = search.suggest(ask(config, number, trials))
        assert values is not None
        assert values["c",] == 1
        assert 1e-5 <= values["lr",] <= 1
        trials.append(Trial(values=values, cost=loss(values), is_open=False))
    assert search.suggest(ask(config, 40, trials)) == search.suggest(ask(config, 40, trials))
    costs = [trial.cost or 0.0 for trial in trials]
    late, early = costs[-15:], costs[:STARTUP]
    assert sum(late) / len(late) < sum(early) / len(early) / 3
    draw = Random(1)
    by_chance = [
        loss({("x",): draw.uniform(0, 10), ("n",): draw.randint(1, 9), ("kind",): "b"})
        for _ in range(40)
    ]
    assert sum(late) / len(late) < sum(by_chance) / len(by_chance) / 3


def test_bayes_takes_runs_that_go_on_or_failed_or_say_something_else() -> None:
    config = parse_sweep({
        "method": "bayes", "metric": METRIC, "parameters": {"x": {"values": [[1], {"a": 2}]}},
    })  # fmt: skip
    trials = [
        Trial(values={("x",): [1]}, cost=None, is_open=True),
        Trial(values={("x",): {"a": 2}}, cost=None, is_open=False),
        Trial(values={("x",): "other"}, cost=1.0, is_open=False),
        Trial(values={}, cost=1.0, is_open=False),
    ]
    values = BayesSearch().suggest(ask(config, 4, trials))
    assert values is not None
    assert values["x",] in ([1], {"a": 2})
