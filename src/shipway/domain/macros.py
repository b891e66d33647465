"""Fills `${…}` from an allow-list of facts about a launch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MACROS = frozenset(
    {"project_name", "entity_name", "run_id", "run_name", "image_uri", "author"}
)  # all that may be filled; never the agent's environment

_MACRO = re.compile(r"\$\{(\w+)\}")


def fill(value: Any, facts: Mapping[str, str | None]) -> Any:
    """Return a copy of a JSON value with the macros in its texts filled, keys left alone.

    A known macro without a value becomes empty text; an unknown one is left as it is.
    """
    assert set(facts) <= MACROS
    if isinstance(value, str):
        return _MACRO.sub(lambda match: _filled(match, facts), value)
    if isinstance(value, Mapping):
        return {key: fill(inner, facts) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fill(inner, facts) for inner in value]
    return value


def _filled(match: re.Match[str], facts: Mapping[str, str | None]) -> str:
    name = match.group(1)
    return (facts[name] or "") if name in facts else match.group(0)
