"""Copies values into plain JSON, or names the one that is none by its path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from shipway.domain.errors import Invalid

DEPTH_LIMIT = 64  # levels of objects and lists within one another
INTEGER_BITS = 4096  # of one whole number


def plain(value: object, path: str, *, depth: int = 0) -> Any:
    """Return a deep copy made of dict, list, str, int, float, bool and None only.

    Raises `Invalid` with the path of a value that strict JSON cannot carry: an object of another
    type, a key that is no text, NaN and the infinities, text with a NUL or half a surrogate pair,
    and anything nested deeper than `DEPTH_LIMIT`.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return _whole(value, path)
    if isinstance(value, float):
        return _finite(value, path)
    if depth >= DEPTH_LIMIT:
        raise Invalid(f"{path[:80]}… is nested deeper than {DEPTH_LIMIT} levels", field=path[:200])
    if isinstance(value, dict | Mapping):  # nearly always a dict, and an ABC is slow to ask
        copy = {}
        for key, inner in value.items():
            if not isinstance(key, str):
                raise Invalid(
                    f"{path} has the key {key!r}, a {type(key).__name__}: keys must be text",
                    field=path,
                    value=key,
                )
            here = f"{path}.{key}"
            copy[_text(key, here)] = plain(inner, here, depth=depth + 1)
        return copy
    if isinstance(value, list | tuple):
        return [
            plain(inner, f"{path}[{index}]", depth=depth + 1) for index, inner in enumerate(value)
        ]
    raise Invalid(
        f"{path} is of the type {type(value).__name__}, which JSON cannot carry: "
        "use text, a number, true, false, null, a list or a dict",
        field=path,
        value=value,
    )


def plain_mapping(value: object, field: str) -> dict[str, Any]:
    """Return a plain deep copy of a dict; `None` counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Invalid(
            f"{field} must be a dict, not {type(value).__name__}", field=field, value=value
        )
    copy: dict[str, Any] = plain(value, field)
    return copy


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two plain dicts: dicts deeply, all else replaces, None removes the key."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge as `merge` does, but keep None, which is to remove a key of a later merge."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = overlay(below, value)
        else:
            merged[key] = value
    return merged


def _text(value: str, path: str) -> str:
    if "\0" in value:
        raise Invalid(f"{path} holds a NUL character", field=path, value=value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Invalid(
                f"{path} is not valid Unicode text (half a surrogate pair)",
                field=path,
                value=ascii(value),
            ) from None
    return str(value)


def _whole(value: int, path: str) -> int:
    if value.bit_length() > INTEGER_BITS:
        raise Invalid(f"{path} is a number of more than {INTEGER_BITS} bits", field=path)
    return int(value)


def _finite(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise Invalid(
            f"{path} is {value}, which JSON cannot carry: write it as text, or leave it out",
            field=path,
            value=str(value),
        )
    return float(value)
