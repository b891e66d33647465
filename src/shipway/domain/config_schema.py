"""The JSON Schema of a run's config, as far as the values of a launch are checked against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shipway.domain.errors import Invalid

DEPTH_LIMIT = 32
WORK_LIMIT = 200_000  # parts of a schema times parts of the values: a second or two at the worst
TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def checkable(schema: object, *, field: str, depth: int = 0) -> dict[str, Any]:
    """Return what of a schema is looked at; `Invalid` names what is none.

    A launch gives some values, the program has the others: `required` says nothing here. What may
    take long, as anybody may write it, is left out: regular expressions, formats, `uniqueItems`.
    References are refused.
    """
    if not isinstance(schema, Mapping) or depth > DEPTH_LIMIT:
        raise Invalid(
            f"{field} must be a JSON Schema, at most {DEPTH_LIMIT} deep", field=field, value=schema
        )
    if "$ref" in schema:
        raise Invalid(f"{field} has a $ref: write out what it stands for", field=f"{field}.$ref")
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        where = f"{field}.{key}"
        if key in _VALUES:
            is_fit, words = _VALUES[key]
            if not is_fit(value):
                raise Invalid(f"{where} must be {words}, not {value!r}", field=where, value=value)
            kept[key] = value
        elif key in _MAPPINGS and isinstance(value, Mapping):
            kept[key] = {
                name: checkable(one, field=f"{where}.{name}", depth=depth + 1)
                for name, one in value.items()
            }
        elif key in _LISTS and isinstance(value, list) and value:
            kept[key] = [
                checkable(one, field=f"{where}.{at}", depth=depth + 1)
                for at, one in enumerate(value)
            ]
        elif key in _SCHEMAS:
            is_word = key == "additionalProperties" and isinstance(value, bool)
            kept[key] = value if is_word else checkable(value, field=where, depth=depth + 1)
        elif key in _MAPPINGS or key in _LISTS:
            raise Invalid(f"{where} is not of a JSON Schema's form", field=where, value=value)
    return kept


def check_work(schema: Mapping[str, Any], values: object, *, field: str) -> None:
    """Raise `Invalid` where to hold values to a schema would take a server too long."""
    work = _parts(schema) * _parts(values)
    if work > WORK_LIMIT:
        raise Invalid(
            f"{field} has too much to check against the job's schema: a schema's parts times the "
            f"parts of the values are {work}, the limit is {WORK_LIMIT}",
            field=field,
        )


def _parts(value: object) -> int:
    """Count the values in a JSON value, itself among them."""
    count, left = 0, [value]
    while left:
        one = left.pop()
        count += 1
        if isinstance(one, Mapping):
            left += one.values()
        elif isinstance(one, list):
            left += one
    return count


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_type(value: object) -> bool:
    words = value if isinstance(value, list) else [value]
    return bool(words) and all(word in TYPES for word in words)


_Fit = tuple[Callable[[object], bool], str]
_NUMBER: _Fit = (_is_number, "a number")
_COUNT: _Fit = (_is_count, "a number of 0 or more")
_VALUES: Mapping[str, _Fit] = {
    "type": (_is_type, f"of {', '.join(TYPES)}"),
    "enum": (lambda value: isinstance(value, list), "a list"),
    "const": (lambda _: True, "a value"),
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "exclusiveMinimum": _NUMBER,
    "exclusiveMaximum": _NUMBER,
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "minItems": _COUNT,
    "maxItems": _COUNT,
}
_MAPPINGS = frozenset({"properties"})  # of names to schemas
_LISTS = frozenset({"allOf", "anyOf", "oneOf"})  # of schemas
_SCHEMAS = frozenset({"items", "additionalProperties"})  # one schema
