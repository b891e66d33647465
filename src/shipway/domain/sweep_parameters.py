"""Reads the parameters of a sweep as people write them, and says what is wrong with them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.sweep_space import EXPONENT_LIMIT, Kind, Parameter, Path, Space, is_number

PARAMETERS_LIMIT = 1_000
VALUES_LIMIT = 10_000  # of one parameter
DEPTH_LIMIT = 20
NUMBER_LIMIT = 1e100  # with more, drawing a value overflows, or does not end
SHOWN_LIMIT = 80  # characters of a value in an error's sentence

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_CHOICES = frozenset({"value", "values", "probabilities"})

# Of each distribution: the kind, whether it has a q, and what else it may have.
_RANGE = ("min", "max")
_AROUND = ("mu", "sigma")
_SHAPE = ("a", "b")
_DISTRIBUTIONS: Mapping[str, tuple[Kind, bool, tuple[str, ...]]] = {
    "constant": (Kind.CONSTANT, False, ("value",)),
    "categorical": (Kind.CHOICE, False, ("values",)),
    "categorical_w_probabilities": (Kind.CHOICE, False, ("values", "probabilities")),
    "int_uniform": (Kind.INTEGER, False, _RANGE),
    "uniform": (Kind.UNIFORM, False, _RANGE),
    "q_uniform": (Kind.UNIFORM, True, _RANGE),
    "log_uniform": (Kind.LOG, False, _RANGE),
    "log_uniform_values": (Kind.LOG, False, _RANGE),
    "q_log_uniform": (Kind.LOG, True, _RANGE),
    "q_log_uniform_values": (Kind.LOG, True, _RANGE),
    "inv_log_uniform": (Kind.LOG, False, _RANGE),
    "inv_log_uniform_values": (Kind.LOG, False, _RANGE),
    "normal": (Kind.NORMAL, False, _AROUND),
    "q_normal": (Kind.NORMAL, True, _AROUND),
    "log_normal": (Kind.LOG_NORMAL, False, _AROUND),
    "q_log_normal": (Kind.LOG_NORMAL, True, _AROUND),
    "beta": (Kind.BETA, False, _SHAPE),
    "q_beta": (Kind.BETA, True, _SHAPE),
}
_DEFAULTS: Mapping[str, float] = {"mu": 0.0, "sigma": 1.0, "a": 1.0, "b": 1.0, "q": 1}


def parse_space(given: object) -> Space:
    """Return the parameters that a sweep's config names."""
    found = sorted(_each("parameters", (), given), key=lambda one: one.path)
    if len(found) > PARAMETERS_LIMIT:
        raise Invalid(
            f"a sweep has at most {PARAMETERS_LIMIT} parameters, not {len(found)}",
            field="parameters",
            value=len(found),
        )
    return Space(parameters=tuple(found))


def _each(field: str, path: Path, given: object) -> Iterator[Parameter]:
    if not isinstance(given, Mapping) or not given:
        raise Invalid(
            f"{field} must be a mapping with a parameter at least, not {given!r}",
            field=field,
            value=given,
        )
    if len(path) >= DEPTH_LIMIT:
        raise Invalid(f"{field} lies more than {DEPTH_LIMIT} groups deep", field=field)
    for name, inner in given.items():
        here = f"{field}.{name}"
        if not isinstance(name, str) or not _NAME.match(name):
            raise Invalid(
                f"{name!r} in {field} is no name of a parameter: letters, digits, '_', '.', '-'",
                field=field,
                value=name,
            )
        if not isinstance(inner, Mapping):
            raise Invalid(
                f"{here} must be a mapping such as {{value: 1}} or {{min: 0.0, max: 1.0}}, "
                f"not {inner!r}",
                field=here,
                value=inner,
            )
        if "parameters" in inner and _distribution_of(inner) is None:
            _only(here, inner, ("parameters",))
            yield from _each(f"{here}.parameters", (*path, name), inner["parameters"])
        else:
            yield _parameter(here, (*path, name), inner)


def _parameter(field: str, path: Path, given: Mapping[str, Any]) -> Parameter:
    name = given.get("distribution") or _distribution_of(given)
    if name is None:
        raise Invalid(
            f"{field} says neither 'value' nor 'values', nor 'min' and 'max', nor a 'distribution'",
            field=field,
            value=dict(given),
        )
    if not isinstance(name, str) or name not in _DISTRIBUTIONS:
        known = ", ".join(_DISTRIBUTIONS)
        raise Invalid(
            f"{field}.distribution {name!r} is not known (there are: {known})",
            field=f"{field}.distribution",
            value=name,
        )
    kind, is_quantized, own = _DISTRIBUTIONS[name]
    _only(field, given, ("distribution", *own, *(("q",) if is_quantized else ())))
    if kind in {Kind.CONSTANT, Kind.CHOICE}:
        return _choice(field, path, name, given)
    numbers = _numbers(field, name, given, own)
    q = _number(f"{field}.q", given.get("q", _DEFAULTS["q"])) if is_quantized else None
    if q is not None and q <= 0:
        raise Invalid(f"{field}.q must be above 0, not {q}", field=f"{field}.q", value=q)
    if own != _RANGE:
        return Parameter(path=path, kind=kind, q=q, **numbers)
    low, high = _range(field, name, numbers["min"], numbers["max"])
    return Parameter(path=path, kind=kind, low=low, high=high, q=q)


def _distribution_of(given: Mapping[str, Any]) -> str | None:
    """Return the distribution that is meant where none is named."""
    if "value" in given:
        return "constant"
    if "values" in given:
        return "categorical_w_probabilities" if "probabilities" in given else "categorical"
    if "min" in given and "max" in given:
        is_whole = all(isinstance(given[key], int) for key in _RANGE)
        return "int_uniform" if is_whole else "uniform"
    return None


def _choice(field: str, path: Path, name: str, given: Mapping[str, Any]) -> Parameter:
    if name == "constant":
        if "value" not in given:
            raise Invalid(f"{field} is constant, but has no 'value'", field=f"{field}.value")
        return Parameter(path=path, kind=Kind.CONSTANT, values=(given["value"],))
    values = given.get("values")
    if not isinstance(values, list) or not 0 < len(values) <= VALUES_LIMIT:
        raise Invalid(
            f"{field}.values must be a list of 1 to {VALUES_LIMIT} values",
            field=f"{field}.values",
            value=values,
        )
    weights = given.get("probabilities")
    if name == "categorical":
        return Parameter(path=path, kind=Kind.CHOICE, values=tuple(values))
    if not isinstance(weights, list) or len(weights) != len(values):
        raise Invalid(
            f"{field}.probabilities must be a list of {len(values)} numbers, one for each value",
            field=f"{field}.probabilities",
            value=weights,
        )
    shares = tuple(_number(f"{field}.probabilities", one) for one in weights)
    if min(shares) < 0 or sum(shares) <= 0:
        raise Invalid(
            f"{field}.probabilities must not be below 0, and not all of them 0",
            field=f"{field}.probabilities",
            value=weights,
        )
    return Parameter(path=path, kind=Kind.CHOICE, values=tuple(values), weights=shares)


def _numbers(
    field: str, name: str, given: Mapping[str, Any], own: tuple[str, ...]
) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for key in own:
        value = given.get(key, _DEFAULTS.get(key))
        if value is None:
            raise Invalid(f"{field} is {name}, but has no {key!r}", field=f"{field}.{key}")
        numbers[key] = _number(f"{field}.{key}", value)
        if key in {"sigma", "a", "b"} and numbers[key] <= 0:
            raise Invalid(
                f"{field}.{key} must be above 0, not {value}", field=f"{field}.{key}", value=value
            )
    return numbers


def _range(field: str, name: str, low: float, high: float) -> tuple[float, float]:
    """Return the limits; those of logarithms as exponents."""
    if low > high:
        raise Invalid(
            f"{field}.min {low} is above {field}.max {high}", field=f"{field}.min", value=low
        )
    if name == "int_uniform" and not (isinstance(low, int) and isinstance(high, int)):
        raise Invalid(
            f"{field} is int_uniform: min and max must be whole numbers, not {low} and {high}",
            field=field,
            value=low,
        )
    if "log" not in name:
        return low, high
    if name.endswith("_values"):
        if low <= 0:
            raise Invalid(
                f"{field}.min must be above 0 for {name}, not {low}",
                field=f"{field}.min",
                value=low,
            )
        return math.log(low), math.log(high)
    if max(abs(low), abs(high)) > EXPONENT_LIMIT:
        raise Invalid(
            f"{field}: min and max of {name} are exponents of e, from -{EXPONENT_LIMIT:.0f} to "
            f"{EXPONENT_LIMIT:.0f}; for the values themselves say {name}_values",
            field=field,
            value=high,
        )
    return (-high, -low) if name.startswith("inv_") else (low, high)


def _number(field: str, value: object) -> float | int:
    if not is_number(value, limit=NUMBER_LIMIT):
        hint = f" (the limit is {NUMBER_LIMIT:g})" if is_number(value) else ""
        if isinstance(value, str) and _reads(float, value):
            hint = ": YAML reads it as text, write it with a point, such as 1.0e-5"
        shown = f"{value!r:.{SHOWN_LIMIT}}"
        raise Invalid(f"{field} must be a number, not {shown}{hint}", field=field, value=value)
    return value  # type: ignore[return-value] # a number, just seen


def _reads(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def _only(field: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise Invalid(
                f"{field} has no {key!r} (it may have: {', '.join(known)})",
                field=f"{field}.{key}",
                value=given[key],
            )
