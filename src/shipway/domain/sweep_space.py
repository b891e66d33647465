"""The parameters of a sweep: where each may lie, and what lies at a given place."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from random import Random
from statistics import NormalDist
from typing import Any

Path = tuple[str, ...]  # a parameter's name within its groups
Values = Mapping[Path, Any]  # one value of each parameter

EXPONENT_LIMIT = 700.0  # e to the power of more is no number of a computer
EDGE = 1e-12  # a normal distribution has no value at 0 and 1 themselves


class Kind(StrEnum):
    """How a parameter's values are spread."""

    CONSTANT = "constant"  # one value
    CHOICE = "choice"  # one of a list, perhaps with weights
    INTEGER = "integer"  # whole numbers from low to high, both among them
    UNIFORM = "uniform"  # from low to high
    LOG = "log"  # e to the power of what is uniform from low to high
    NORMAL = "normal"  # around mu
    LOG_NORMAL = "log_normal"  # e to the power of what is normal around mu
    BETA = "beta"  # from 0 to 1, by a and b


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One thing that a sweep varies, or keeps."""

    path: Path
    kind: Kind
    values: tuple[Any, ...] = ()  # of a choice; of a constant its one value
    weights: tuple[float, ...] = ()  # of a choice; none: all alike
    low: float = 0.0  # of LOG: an exponent
    high: float = 1.0
    mu: float = 0.0
    sigma: float = 1.0
    a: float = 1.0
    b: float = 1.0
    q: float | int | None = None  # values are whole multiples of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """All parameters, in order of their paths."""

    parameters: tuple[Parameter, ...]

    @property
    def varied(self) -> tuple[Parameter, ...]:
        """The parameters that have more than one value."""
        return tuple(one for one in self.parameters if one.kind is not Kind.CONSTANT)

    def whole(self, values: Values) -> dict[Path, Any]:
        """Return values of all parameters, given those of the varied ones."""
        constants = {
            one.path: one.values[0] for one in self.parameters if one.kind is Kind.CONSTANT
        }
        return {**constants, **values}


def is_number(value: Any, *, limit: float = sys.float_info.max) -> bool:
    """Tell whether a value is a number within a limit: neither NaN, nor an int beyond any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= limit


def steps(parameter: Parameter) -> Sequence[Any] | None:
    """Return every value that a parameter may have, in order; None where they are endless."""
    if parameter.kind in {Kind.CONSTANT, Kind.CHOICE}:
        return None if parameter.weights else parameter.values
    if parameter.kind is Kind.INTEGER:
        return range(int(parameter.low), int(parameter.high) + 1)
    if parameter.kind is Kind.UNIFORM and parameter.q is not None:
        return _Multiples(parameter.low, parameter.high, parameter.q)
    return None


def size(space: Space) -> int | None:
    """Return how many combinations there are; None where they are endless."""
    count = 1
    for parameter in space.parameters:
        found = steps(parameter)
        if found is None:
            return None
        count *= _count(found)
    return count


def combination(space: Space, index: int) -> dict[Path, Any]:
    """Return the combination of that number; the last parameter changes first."""
    chosen: dict[Path, Any] = {}
    for parameter in reversed(space.parameters):
        found = steps(parameter)
        assert found is not None
        index, at = divmod(index, _count(found))
        chosen[parameter.path] = found[at]
    assert index == 0
    return chosen


def sample(parameter: Parameter, random: Random) -> Any:
    """Draw a value."""
    if parameter.kind is Kind.BETA:
        return _rounded(random.betavariate(parameter.a, parameter.b), parameter.q)
    return value_at(parameter, random.random())


def value_at(parameter: Parameter, place: float) -> Any:
    """Return the value below which a share of all values lies: `place` is from 0 to 1."""
    kind, low, high = parameter.kind, parameter.low, parameter.high
    if kind is Kind.CONSTANT:
        return parameter.values[0]
    if kind is Kind.CHOICE:
        return parameter.values[_chosen(parameter, place)]
    if kind is Kind.INTEGER:
        return min(int(low) + int(place * (int(high) - int(low) + 1)), int(high))
    if kind in {Kind.NORMAL, Kind.LOG_NORMAL}:
        inner = min(max(place, EDGE), 1 - EDGE)
        value = parameter.mu
        if parameter.sigma > 0:
            value = NormalDist(parameter.mu, parameter.sigma).inv_cdf(inner)
    else:  # a beta's places are its values
        value = low + place * (high - low)
    if kind in {Kind.LOG, Kind.LOG_NORMAL}:
        value = math.exp(min(value, EXPONENT_LIMIT))
    return _rounded(value, parameter.q)


def place_of(parameter: Parameter, value: Any) -> float | None:
    """Return where a value lies, the reverse of `value_at`; None where it is no number."""
    if not is_number(value, limit=math.inf if isinstance(value, float) else sys.float_info.max):
        return None
    kind = parameter.kind
    if kind in {Kind.LOG, Kind.LOG_NORMAL}:
        if value <= 0:
            return 0.0
        value = math.log(value) if value < math.inf else EXPONENT_LIMIT
    if kind in {Kind.NORMAL, Kind.LOG_NORMAL}:
        if parameter.sigma <= 0:
            return 0.5
        return NormalDist(parameter.mu, parameter.sigma).cdf(value)
    width = parameter.high - parameter.low
    place = 0.5 if width <= 0 else (value - parameter.low) / width
    return min(max(place, 0.0), 1.0)


def nested(values: Values) -> dict[str, Any]:
    """Return values in their groups, as a run's config holds them."""
    made: dict[str, Any] = {}
    for path, value in values.items():
        group = made
        for name in path[:-1]:
            group = group.setdefault(name, {})
        group[path[-1]] = value
    return made


def values_in(space: Space, config: Mapping[str, Any]) -> dict[Path, Any]:
    """Return what a config says of each parameter; those that it lacks are left out."""
    found: dict[Path, Any] = {}
    for parameter in space.parameters:
        inner: Any = config
        for name in parameter.path:
            if not isinstance(inner, Mapping) or name not in inner:
                break
            inner = inner[name]
        else:
            found[parameter.path] = inner
    return found


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are one: 3 and 3.0 are, 1 and True are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


def _count(steps: Sequence[Any]) -> int:
    """Return the length of what may be longer than `len` can say."""
    if isinstance(steps, range):
        return steps.stop - steps.start
    return steps.total if isinstance(steps, _Multiples) else len(steps)


class _Multiples(Sequence[Any]):
    """Numbers from low to below high, a step apart."""

    def __init__(self, low: float, high: float, step: float) -> None:
        self._low, self._step = Decimal(str(low)), Decimal(str(step))
        self._is_whole = isinstance(low, int) and isinstance(step, int)
        self.total = max(1, math.ceil((Decimal(str(high)) - self._low) / self._step))

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.total:
            raise IndexError(index)
        value = self._low + index * self._step
        return int(value) if self._is_whole else float(value)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(self.total))


def _chosen(parameter: Parameter, place: float) -> int:
    count = len(parameter.values)
    if not parameter.weights:
        return min(int(place * count), count - 1)
    left = place * sum(parameter.weights)
    for index, weight in enumerate(parameter.weights):
        left -= weight
        if left < 0:
            return index
    return max(index for index, weight in enumerate(parameter.weights) if weight > 0)


def _rounded(value: float, q: float | None) -> float | int:
    """Return the nearest multiple of q, without the dust of binary fractions."""
    if q is None:
        return value
    if not math.isfinite(value / q):
        return value  # so far away it is a multiple
    times = round(value / q)
    return times * q if isinstance(q, int) else float(times * Decimal(str(q)))
