"""JSON Schemas of resource arguments, and the check against them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from shipway.domain.errors import Invalid


def shipped() -> dict[str, dict[str, Any]]:
    """Return the schemas in this package, by resource."""
    return {
        entry.name.removesuffix(".json"): json.loads(entry.read_text("utf-8"))
        for entry in files(__name__).iterdir()
        if entry.name.endswith(".json")
    }


def check(schema: Mapping[str, Any], value: Any, path: str) -> None:
    """Raise `Invalid` that names the path of the first bad key."""
    if not value:
        return
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - 60 ms, and most items need none
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - as above

    error = best_match(Draft202012Validator(dict(schema)).iter_errors(value))
    if error is None:
        return
    where = ".".join([path, *(str(part) for part in error.absolute_path)])
    if error.validator == "additionalProperties":
        key = _unknown_key(error.schema, error.instance)
        known = ", ".join(error.schema.get("properties", ()))
        raise Invalid(
            f"{where} has the unknown key {key!r} (known: {known})",
            field=f"{where}.{key}",
            value=error.instance[key],
        )
    if "propertyNames" in error.absolute_schema_path:  # then the path ends above the bad name
        where += f".{error.instance}"
    raise Invalid(f"{where}: {error.message}", field=where, value=error.instance)


def _unknown_key(schema: Mapping[str, Any], value: Mapping[str, Any]) -> str:
    patterns = [re.compile(pattern) for pattern in schema.get("patternProperties", ())]
    known = schema.get("properties", ())
    return next(
        key
        for key in value
        if key not in known and not any(pattern.search(key) for pattern in patterns)
    )
