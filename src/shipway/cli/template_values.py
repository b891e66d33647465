"""Reads `--set-var NAME=VALUE` by what the queue says of its template variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.template import read_text, read_variables


def split_words(words: Sequence[str]) -> dict[str, str]:
    """Return names and texts, cut at the first `=`; `Invalid` for a word without one."""
    found: dict[str, str] = {}
    for word in words:
        name, is_pair, text = word.partition("=")
        if not name or not is_pair:
            raise Invalid(
                f"--set-var {word!r} is not NAME=VALUE", field="template_variables", value=word
            )
        found[name] = text
    return found


def typed(texts: Mapping[str, str], queue: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that texts stand for in a queue, as the server sends it."""
    variables = read_variables(queue["template_variables"])
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in variables:
            declared = ", ".join(variables) or "none"
            raise Invalid(
                f"queue {queue['name']!r} has no template variable {name!r} "
                f"(there are: {declared})",
                field=f"template_variables.{name}",
                value=text,
            )
        values[name] = read_text(text, variables[name])
    return values
