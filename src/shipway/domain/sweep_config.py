"""Reads a sweep's config as people write it: what it means, and what in it means nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.hyperband import Hyperband, bands_from_first, bands_from_last
from shipway.domain.names import check_title
from shipway.domain.sweep import CUSTOM, Goal, Impute, Metric, SweepConfig
from shipway.domain.sweep_parameters import parse_space
from shipway.domain.sweep_space import Space, is_number

ETA = 3  # of Hyperband, where it is not said
ITERATIONS_LIMIT = 1 << 40
CAP_LIMIT = 1_000_000_000
TEXT_LIMIT = 64 << 10

KNOWN = frozenset({
    "apiVersion", "command", "controller", "description", "early_terminate", "entity",
    "image_uri", "job", "kind", "launch", "method", "metric", "name", "parameters", "program",
    "project", "run_cap", "scheduler", "settings",
})  # fmt: skip
_METRIC = ("name", "goal", "target", "impute", "impute_while_running")
_HYPERBAND = ("type", "min_iter", "max_iter", "s", "eta", "strict")


def parse_sweep(given: Mapping[str, Any]) -> SweepConfig:
    """Return what a config means; raise `Invalid` with the field that nobody can follow."""
    method = given.get("method")
    if not isinstance(method, str) or not method:
        raise Invalid(
            f"method must name a search, such as grid, random or bayes, not {method!r}",
            field="method",
            value=method,
        )
    _check_controller(given.get("controller"))
    is_custom = method == CUSTOM
    space = Space(parameters=())
    if given.get("parameters") is not None or not is_custom:
        space = parse_space(given.get("parameters"))
    metric = _metric(given.get("metric"))
    early = _early(given.get("early_terminate"))
    if early is not None and metric is None:
        raise Invalid(
            "early_terminate compares runs by the metric: add metric.name and metric.goal",
            field="metric",
        )
    if method == "bayes" and metric is None:
        raise Invalid(
            "bayes makes a metric better: add metric.name and metric.goal", field="metric"
        )
    return SweepConfig(
        method=method,
        space=space,
        metric=metric,
        early=early,
        run_cap=_cap(given.get("run_cap")),
        name=None if given.get("name") is None else check_title(given["name"], field="name"),
        description=_text("description", given.get("description")),
        program=_text("program", given.get("program")),
    )


def warnings_of(given: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each key that nothing will come of."""
    found = [
        f"{key!r} is no key of a sweep's config: it is kept, and nothing comes of it"
        for key in given
        if key not in KNOWN
    ]
    metric = given.get("metric")
    if isinstance(metric, Mapping):
        found += [
            f"{key!r} is no key of metric: nothing comes of it"
            for key in metric
            if key not in _METRIC
        ]
    return found


def _metric(given: object) -> Metric | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise Invalid(
            f"metric must be a mapping with a name, such as {{name: loss, goal: minimize}}, "
            f"not {given!r}",
            field="metric",
            value=given,
        )
    target = given.get("target")
    return Metric(
        name=given["name"],
        goal=Goal(_word("metric.goal", given.get("goal", Goal.MINIMIZE), tuple(Goal))),
        target=None if target is None else _number("metric.target", target),
        impute=Impute(_word("metric.impute", given.get("impute", Impute.WORST), tuple(Impute))),
    )


def _early(given: object) -> Hyperband | None:
    if given is None:
        return None
    field = "early_terminate"
    if not isinstance(given, Mapping):
        raise Invalid(f"{field} must be a mapping, not {given!r}", field=field, value=given)
    _word(f"{field}.type", given.get("type"), ("hyperband",))
    for key in given:
        if key not in _HYPERBAND:
            known = ", ".join(_HYPERBAND)
            raise Invalid(
                f"{field} has no {key!r} (it may have: {known})",
                field=f"{field}.{key}",
                value=given[key],
            )
    eta = _number(f"{field}.eta", given.get("eta", ETA))
    if eta <= 1:
        raise Invalid(f"{field}.eta must be above 1, not {eta}", field=f"{field}.eta", value=eta)
    if "max_iter" in given:
        last = _whole(f"{field}.max_iter", given["max_iter"])
        count = _whole(f"{field}.s", given.get("s"))
        bands = bands_from_last(last, eta=eta, s=count)
    elif "min_iter" in given:
        bands = bands_from_first(_whole(f"{field}.min_iter", given["min_iter"]), eta=eta)
    else:
        raise Invalid(f"{field} needs min_iter, or max_iter and s", field=field)
    if not bands:
        raise Invalid(
            f"{field} compares runs nowhere: max_iter {given['max_iter']} is below eta {eta}",
            field=f"{field}.max_iter",
            value=given["max_iter"],
        )
    strict = given.get("strict", False)
    if not isinstance(strict, bool):
        raise Invalid(
            f"{field}.strict must be true or false, not {strict!r}",
            field=f"{field}.strict",
            value=strict,
        )
    return Hyperband(bands=bands, eta=float(eta), is_strict=strict)


def _check_controller(given: object) -> None:
    kind = given.get("type", "cloud") if isinstance(given, Mapping) else given
    if kind not in (None, "cloud"):
        raise Invalid(
            f"controller.type {kind!r} is not served: leave it out, the server does the search",
            field="controller.type",
            value=kind,
        )


def _cap(given: object) -> int | None:
    if given is None:
        return None
    return _whole("run_cap", given, limit=CAP_LIMIT)


def _whole(field: str, value: object, *, limit: int = ITERATIONS_LIMIT) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not 1 <= value <= limit:  # type: ignore[operator] # a number, just seen
        raise Invalid(
            f"{field} must be a whole number from 1 to {limit}, not {value!r}",
            field=field,
            value=value,
        )
    assert isinstance(value, int)
    return value


def _number(field: str, value: object) -> float:
    if is_number(value):
        return value  # type: ignore[return-value] # a number, just seen
    raise Invalid(f"{field} must be a number, not {value!r}", field=field, value=value)


def _word(field: str, value: object, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise Invalid(
            f"{field} must be one of {', '.join(known)}, not {value!r}", field=field, value=value
        )
    return value


def _text(field: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > TEXT_LIMIT:
        raise Invalid(
            f"{field} must be text of at most {TEXT_LIMIT} characters", field=field, value=value
        )
    return value
