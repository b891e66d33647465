"""Turns a launch's parameters into arguments of its program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shipway.domain.errors import Invalid


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise `Invalid` for a name that cannot be an option of a command line."""
    for name in parameters:
        if not name or name.startswith("-") or "=" in name or not name.isprintable() or " " in name:
            raise Invalid(
                f"parameters has the name {name!r}, which cannot be an option: "
                "write it without leading dashes, '=' and spaces",
                field="parameters",
                value=name,
            )


def to_args(parameters: Mapping[str, Any]) -> list[str]:
    """Return `--name value` for each parameter, in order.

    True and False become `true` and `false`, None is left out, lists and dicts become JSON, and
    text that begins with `-` is joined by `=` so that no parser takes it for an option.
    """
    args: list[str] = []
    for name, value in parameters.items():
        if value is None:
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if text.startswith("-"):
            args.append(f"--{name}={text}")
        else:
            args += [f"--{name}", text]
    return args


def to_config(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as values of the run's config; None is left out."""
    return {name: value for name, value in parameters.items() if value is not None}
