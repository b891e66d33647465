"""What a sweep's config may say, and what is said of the rest."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from shipway.domain.errors import Invalid
from shipway.domain.sweep import Goal, metric_in
from shipway.domain.sweep_config import parse_sweep, warnings_of
from shipway.domain.sweep_parameters import parse_space
from shipway.domain.sweep_space import (
    Kind,
    combination,
    nested,
    place_of,
    sample,
    size,
    value_at,
    values_in,
)

GRID = {"method": "grid", "parameters": {"x": {"values": [1, 2]}}}


def one(**said: Any) -> Any:
    """Return the only parameter of a config."""
    (parameter,) = parse_space({"x": said}).parameters
    return parameter


def test_every_combination_has_a_number() -> None:
    space = parse_space({
        "b": {"values": ["u", "v"]}, "a": {"min": 1, "max": 3}, "c": {"value": 7},
        "g": {"parameters": {"q": {"distribution": "q_uniform", "min": 0, "max": 0.3, "q": 0.1}}},
    })  # fmt: skip
    assert size(space) == 18
    found = [nested(combination(space, index)) for index in range(18)]
    assert found[0] == {"a": 1, "b": "u", "c": 7, "g": {"q": 0.0}}
    assert found[1]["g"] == {"q": 0.1}
    assert found[-1] == {"a": 3, "b": "v", "c": 7, "g": {"q": 0.2}}, "0.3 itself is left out"
    assert len({str(each) for each in found}) == 18
    assert all(nested(values_in(space, each)) == each for each in found)


@pytest.mark.parametrize(
    ("said", "kind", "at"),
    [
        ({"min": 1, "max": 4}, Kind.INTEGER, [1, 2, 3, 4, 4]),
        ({"min": 1, "max": 2.0}, Kind.UNIFORM, [1.0, 1.25, 1.5, 1.75, 2.0]),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, Kind.UNIFORM,
         [0, 0.25, 0.5, 0.75, 1]),
        ({"distribution": "q_uniform", "min": 0, "max": 8}, Kind.UNIFORM, [0, 2, 4, 6, 8]),
        ({"distribution": "log_uniform_values", "min": 0.01, "max": 100}, Kind.LOG,
         [0.01, 0.1, 1, 10, 100]),
        ({"distribution": "log_uniform", "min": 0, "max": 0}, Kind.LOG, [1] * 5),
        ({"distribution": "inv_log_uniform", "min": 0, "max": 0}, Kind.LOG, [1] * 5),
        ({"distribution": "normal", "mu": 5}, Kind.NORMAL, [-2.034, 4.3255, 5, 5.6745, 12.034]),
        ({"distribution": "log_normal"}, Kind.LOG_NORMAL, [0.00088, 0.509, 1, 1.963, 1137]),
        ({"values": [1, 2, 3, 4]}, Kind.CHOICE, [1, 2, 3, 4, 4]),
        ({"values": [1, 2], "probabilities": [1, 3]}, Kind.CHOICE, [1, 2, 2, 2, 2]),
        ({"values": [1, 2], "probabilities": [1, 0]}, Kind.CHOICE, [1, 1, 1, 1, 1]),
        ({"distribution": "beta", "a": 2, "b": 3}, Kind.BETA, [0, 0.25, 0.5, 0.75, 1]),
    ],
)  # fmt: skip
def test_each_distribution_has_its_values(said: dict[str, Any], kind: Kind, at: list[Any]) -> None:
    parameter = one(**said)
    assert parameter.kind is kind
    found = [value_at(parameter, place) for place in (0, 0.25, 0.5, 0.75, 1)]
    assert found == [pytest.approx(value, rel=2e-3) for value in at]
    if kind in {Kind.UNIFORM, Kind.NORMAL} or said.get("max") == 100:
        places = [place_of(parameter, value) for value in found]
        assert places == [pytest.approx(place, abs=1e-6) for place in (0, 0.25, 0.5, 0.75, 1)]


def test_multiples_have_no_dust() -> None:
    parameter = one(distribution="q_uniform", min=0.0, max=1.0, q=0.1)
    assert value_at(parameter, 0.3) == 0.3, "not 0.30000000000000004"
    whole = one(distribution="q_log_uniform_values", min=1, max=1000, q=5)
    assert isinstance(value_at(whole, 0.5), int)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (None, "parameters must be a mapping"),
        ({}, "parameters must be a mapping"),
        ({"x": 3}, r"parameters.x must be a mapping such as \{value: 1\}"),
        ({"1x": {"value": 1}}, "'1x' in parameters is no name of a parameter"),
        ({"x": {}}, "neither 'value' nor 'values'"),
        ({"x": {"values": []}}, "parameters.x.values must be a list"),
        ({"x": {"values": [1, 2], "probabilities": [1]}}, "a list of 2 numbers"),
        ({"x": {"values": [1], "probabilities": [-1]}}, "must not be below 0"),
        ({"x": {"min": 2, "max": 1}}, "parameters.x.min 2 is above parameters.x.max 1"),
        ({"x": {"min": "1e-5", "max": 1.0}}, "write it with a point, such as 1.0e-5"),
        ({"x": {"min": True, "max": 1.0}}, "must be a number, not True"),
        ({"x": {"min": 1, "max": float("inf")}}, "must be a number, not inf"),
        ({"x": {"distribution": "unifrom"}}, "parameters.x.distribution 'unifrom' is not known"),
        ({"x": {"distribution": "uniform", "min": 1}}, "is uniform, but has no 'max'"),
        ({"x": {"distribution": "int_uniform", "min": 1, "max": 1.5}}, "must be whole numbers"),
        ({"x": {"distribution": "log_uniform", "min": 1, "max": 1000}}, "log_uniform_values"),
        ({"x": {"distribution": "log_uniform_values", "min": 0, "max": 1}}, "must be above 0"),
        ({"x": {"distribution": "q_normal", "q": 0}}, "parameters.x.q must be above 0"),
        ({"x": {"distribution": "normal", "sigma": -1}}, "parameters.x.sigma must be above 0"),
        ({"x": {"min": 1, "max": 2, "q": 1}}, "parameters.x has no 'q'"),
        ({"g": {"parameters": {"x": {"vlaue": 1}}}}, "parameters.g.parameters.x says neither"),
    ],
)
def test_what_cannot_be_followed_is_named(parameters: Any, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse_space(parameters)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": None}, "method must name a search"),
        ({"method": "bayes"}, "add metric.name and metric.goal"),
        ({"metric": "loss"}, "metric must be a mapping with a name"),
        ({"metric": {"name": "loss", "goal": "min"}}, "metric.goal must be one of minimize, max"),
        ({"run_cap": 0}, "run_cap must be a whole number from 1"),
        ({"run_cap": True}, "run_cap must be a whole number from 1"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 3}}, "compares runs by the metric"),
        ({"controller": {"type": "local"}}, "controller.type 'local' is not served"),
        ({"name": 3}, "name must be text"),
    ],
)
def test_a_config_is_refused_by_field(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse_sweep({**GRID, **change})


@pytest.mark.parametrize(
    ("early", "said"),
    [
        ({"type": "median"}, "early_terminate.type must be one of hyperband"),
        ({"type": "hyperband"}, "early_terminate needs min_iter, or max_iter and s"),
        ({"type": "hyperband", "max_iter": 9}, "early_terminate.s must be a whole number"),
        ({"type": "hyperband", "max_iter": 2, "s": 1}, "compares runs nowhere"),
        ({"type": "hyperband", "min_iter": 1, "eta": 1}, "early_terminate.eta must be above 1"),
        ({"type": "hyperband", "min_iter": 1, "strict": "yes"}, "strict must be true or false"),
        ({"type": "hyperband", "min_iter": 1, "etta": 2}, "early_terminate has no 'etta'"),
    ],
)
def test_early_ends_are_refused_by_field(early: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse_sweep({**GRID, "metric": {"name": "loss"}, "early_terminate": early})


def test_a_config_is_read_whole() -> None:
    config = parse_sweep({
        **GRID, "name": "mine", "run_cap": 4, "program": "train.py",
        "metric": {"name": "acc", "goal": "maximize", "target": 0.9},
        "early_terminate": {"type": "hyperband", "max_iter": 27, "s": 2},
    })  # fmt: skip
    assert (config.name, config.run_cap, config.program) == ("mine", 4, "train.py")
    assert config.metric is not None
    assert (config.metric.goal, config.metric.target) == (Goal.MAXIMIZE, 0.9)
    assert config.early is not None
    assert (config.early.bands, config.early.eta) == ((3, 9), 3.0)
    assert parse_sweep({"method": "custom"}).space.parameters == ()


def test_keys_that_nothing_comes_of_are_told() -> None:
    assert warnings_of({**GRID, "command": [], "project": "p"}) == []
    (warning,) = warnings_of({**GRID, "parmeters": {}})
    assert warning.startswith("'parmeters' is no key of a sweep's config")


@pytest.mark.parametrize("number", [1e101, -(10**101), 10**400, 1.7e308])
def test_numbers_with_which_drawing_would_not_end_are_refused(number: float) -> None:
    for names in (("a", "b"), ("min", "max"), ("mu", "sigma")):
        named = {"a": "beta", "min": "q_uniform", "mu": "q_normal"}[names[0]]
        given = {"distribution": named, names[0]: 1, names[1]: number}
        with pytest.raises(Invalid, match="must be a number, not"):
            parse_sweep({"method": "random", "parameters": {"x": given}})


def test_a_number_that_no_float_holds_is_no_value_of_a_metric() -> None:
    assert metric_in({"loss": 10**400}, "loss") is None
    config = {"method": "random", "parameters": {"x": {"value": 1}}}
    with pytest.raises(Invalid, match=r"metric\.target must be a number"):
        parse_sweep({**config, "metric": {"name": "loss", "target": 10**400}})
    with pytest.raises(Invalid, match=r"controller\.type \[\] is not served"):
        parse_sweep({**config, "controller": []})


@pytest.mark.parametrize(
    "given",
    [
        {"distribution": "beta", "a": 1e100, "b": 1e-100},
        {"distribution": "q_beta", "a": 1e-100, "b": 1e100, "q": 1e-100},
        {"distribution": "q_log_uniform", "min": -700, "max": 700, "q": 1e-100},
        {"distribution": "q_normal", "mu": 0, "sigma": 1e100, "q": 1e-100},
        {"distribution": "uniform", "min": -1e100, "max": 1e100},
    ],
)
def test_any_parameter_at_its_limits_has_values(given: dict[str, Any]) -> None:
    (parameter,) = parse_sweep({"method": "random", "parameters": {"x": given}}).space.parameters
    for seed in range(20):
        assert math.isfinite(sample(parameter, Random(seed)))
    assert place_of(parameter, 10**400) is None
