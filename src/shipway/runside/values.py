"""Turns what a program logs into JSON values, or says what cannot be one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DEPTH_LIMIT = 32  # of lists and dicts inside one another
_MISSING = object()


def plain(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return a copy with JSON values; raise `TypeError` that names the key and the type."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{what} takes a dict of names and values, not {_kind(values)}")
    return {_key(key, what): _plain(value, str(key), 0) for key, value in values.items()}


def _plain(value: Any, key: str, depth: int) -> Any:  # noqa: PLR0911 - one for each type
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _float(value)
    if depth >= DEPTH_LIMIT:
        raise TypeError(f"{key!r} is nested deeper than {DEPTH_LIMIT} levels")
    if isinstance(value, Mapping):
        return {
            _key(name, key): _plain(one, f"{key}.{name}", depth + 1) for name, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(one, f"{key}[{index}]", depth + 1) for index, one in enumerate(value)]
    item = _item(value)
    if item is not _MISSING:
        return _plain(item, key, depth + 1)
    hint = "; log .tolist() of it" if hasattr(value, "tolist") else ""
    raise TypeError(
        f"{key!r} is {_kind(value)}: numbers, booleans, text, None, lists and dicts of those,"
        f" and single numbers of array libraries can be logged{hint}"
    )


def _item(value: Any) -> Any:
    """Return what a scalar of numpy, jax or torch holds; arrays of one number count too."""
    size = getattr(value, "size", None)
    count = size if isinstance(size, int) else getattr(value, "numel", lambda: 1)()
    item = getattr(value, "item", None)
    if item is None or not hasattr(value, "dtype") or count != 1:
        return _MISSING
    try:
        held = item()
    except (TypeError, ValueError, RuntimeError):
        return _MISSING
    return held if isinstance(held, (bool, int, float, str)) else _MISSING


def _float(value: float) -> float:
    number = float(value)  # a subclass may print itself differently
    return number if not math.isnan(number) else math.nan


def _key(key: object, what: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{what} has the name {key!r}, which is {_kind(key)}: names are text")
    return str(key)


def _kind(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"
