"""Reads the Mongo-like filters and the orders that clients send, as conditions on runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shipway.domain.errors import Invalid
from shipway.server.graphql.translate import reader_of
from shipway.service.runs import RunView

DEPTH_LIMIT = 20
CONDITIONS_LIMIT = 200
PATTERN_LIMIT = 200  # characters of a regular expression
SEARCHED_LIMIT = 1_000  # characters of a text that one is tried on

Condition = Callable[[Any], bool]  # of a run, or whatever a reader reads
Reader = Callable[[str], Callable[[Any], Any]]
_RISKY = re.compile(r"\([^)]*[*+{][^)]*\)\s*[*+{]|\\[1-9]")  # what may take for ever


def predicate(text: str | None, *, reader: Reader = reader_of) -> Condition:
    """Return the condition that a filter's JSON means; a reader knows the keys."""
    if not text:
        return lambda _: True
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise Invalid("filters must be a JSON object", field="filters", value=text) from None
    return _all_of(value or {}, _Budget(reader))


def keeps_all(text: str | None) -> bool:
    """Tell whether a filter's JSON leaves everything, as those of clients that ask for none do."""
    return not text or text.strip() in {"{}", "null"}


def is_by_age(order: str | None) -> bool:
    """Tell whether an order is that in which runs were made, from either end."""
    return (order or "").lstrip("+-") in {"", "created_at", "createdAt"}


def ordered(views: Sequence[RunView], order: str | None) -> list[RunView]:
    """Return runs in an order like `+created_at`; those without a value come last."""
    key = order or "-created_at"
    is_up = key.startswith("+")
    if is_by_age(key):
        return sorted(views, key=lambda view: view.run.seq, reverse=not is_up)
    path = key.lstrip("+-")
    read = reader_of(path)
    found = [(read(view), view) for view in views]
    present = [(value, view) for value, view in found if _is_real(value)]
    present.sort(key=lambda pair: _rank(pair[0]), reverse=not is_up)
    return [view for _, view in present] + [view for value, view in found if not _is_real(value)]


class _Budget:
    """Counts what a filter asks for."""

    def __init__(self, reader: Reader) -> None:
        self.left = CONDITIONS_LIMIT
        self.reader = reader

    def spend(self, depth: int) -> None:
        self.left -= 1
        if self.left < 0 or depth > DEPTH_LIMIT:
            raise Invalid(
                f"a filter has at most {CONDITIONS_LIMIT} conditions, {DEPTH_LIMIT} deep",
                field="filters",
            )


def _all_of(value: Any, budget: _Budget, depth: int = 0) -> Condition:
    budget.spend(depth)
    if not isinstance(value, Mapping):
        raise Invalid(f"{value!r} is no filter: an object is one", field="filters", value=value)
    parts = [_one(key, wanted, budget, depth + 1) for key, wanted in value.items()]
    return lambda view: all(part(view) for part in parts)


def _one(key: str, wanted: Any, budget: _Budget, depth: int) -> Condition:
    budget.spend(depth)
    if key in {"$and", "$or", "$nor"}:
        if not isinstance(wanted, list):
            raise Invalid(f"{key} takes a list of filters", field=key, value=wanted)
        parts = [_all_of(one, budget, depth + 1) for one in wanted]
        if key == "$and":
            return lambda view: all(part(view) for part in parts)
        is_any = key == "$or"
        return lambda view: any(part(view) for part in parts) is is_any
    if key == "$not":
        part = _all_of(wanted, budget, depth + 1)
        return lambda view: not part(view)
    if key.startswith("$"):
        raise Invalid(f"a filter's operator {key!r} is not known", field=key)
    read, test = budget.reader(key), _test(key, wanted)
    return lambda view: test(read(view))


def _test(key: str, wanted: Any) -> Callable[[Any], bool]:
    if not isinstance(wanted, Mapping) or not any(name.startswith("$") for name in wanted):
        return lambda found: _equals(found, wanted)
    tests = []
    for operator, operand in wanted.items():
        make = _OPERATORS.get(operator)
        if make is None:
            known = ", ".join(_OPERATORS)
            raise Invalid(
                f"the operator {operator!r} of {key!r} is not known (there are: {known})",
                field=key,
                value=operator,
            )
        tests.append(make(key, operand))
    return lambda found: all(test(found) for test in tests)


def _compare(accept: Callable[[Any, Any], bool]) -> Callable[[str, Any], Callable[[Any], bool]]:
    def make(_: str, operand: Any) -> Callable[[Any], bool]:
        def test(found: Any) -> bool:
            if isinstance(found, str) and isinstance(operand, str):
                return accept(found, operand)
            return _is_number(found) and _is_number(operand) and accept(found, operand)

        return test

    return make


def _within(key: str, operand: Any) -> Callable[[Any], bool]:
    if not isinstance(operand, list):
        raise Invalid(f"$in and $nin of {key!r} take a list", field=key, value=operand)
    return lambda found: any(_equals(found, one) for one in operand)


def _outside(key: str, operand: Any) -> Callable[[Any], bool]:
    inside = _within(key, operand)
    return lambda found: not inside(found)


def _matches(key: str, operand: Any) -> Callable[[Any], bool]:
    if not isinstance(operand, str) or len(operand) > PATTERN_LIMIT or _RISKY.search(operand):
        raise Invalid(
            f"the pattern of {key!r} must be text of at most {PATTERN_LIMIT} characters, without "
            "repeated groups",
            field=key,
            value=operand,
        )
    try:
        pattern = re.compile(operand)
    except (re.error, RecursionError) as error:
        raise Invalid(
            f"the pattern of {key!r} is none: {error}", field=key, value=operand
        ) from None
    return lambda found: any(
        isinstance(one, str) and pattern.search(one[:SEARCHED_LIMIT]) is not None
        for one in (found if isinstance(found, list) else [found])
    )


def _equals(found: Any, wanted: Any) -> bool:
    if isinstance(found, list) and not isinstance(wanted, list):
        return wanted in found
    if isinstance(found, bool) is not isinstance(wanted, bool):
        return False
    return bool(found == wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _rank(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return (0, float(value) if abs(value) < 1e300 else math.copysign(math.inf, value), "")
    return (1, 0.0, value if isinstance(value, str) else json.dumps(value))


_OPERATORS: Mapping[str, Callable[[str, Any], Callable[[Any], bool]]] = {
    "$eq": lambda _, operand: lambda found: _equals(found, operand),
    "$ne": lambda _, operand: lambda found: not _equals(found, operand),
    "$gt": _compare(lambda found, operand: found > operand),
    "$gte": _compare(lambda found, operand: found >= operand),
    "$lt": _compare(lambda found, operand: found < operand),
    "$lte": _compare(lambda found, operand: found <= operand),
    "$in": _within,
    "$nin": _outside,
    "$exists": lambda _, operand: lambda found: (found is not None) is bool(operand),
    "$regex": _matches,
}
