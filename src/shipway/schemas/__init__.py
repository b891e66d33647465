"""JSON Schemas of resource arguments, and the check against them."""

from __future__ import annotations

import json
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
    raise Invalid(f"{where}: {error.message}", field=where, value=error.instance)
