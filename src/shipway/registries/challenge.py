"""Reads what a registry wants of those that it does not know: `WWW-Authenticate`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

HEADER_LIMIT = 8_000  # characters that are looked at
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - a word of HTTP's grammar
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=[\s,]|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way to log in that a registry takes."""

    scheme: str  # bearer or basic, in small letters
    parameters: Mapping[str, str]  # realm, service, scope, …


def read_challenges(header: str) -> list[Challenge]:
    """Return the ways that a header names, as far as it can be read."""
    text = header[:HEADER_LIMIT]
    found: list[tuple[str, dict[str, str]]] = []
    at = 0
    while at < len(text):
        if found and (match := _PARAMETER.match(text, at)):
            value = match[2]
            if value.startswith('"'):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            found[-1][1].setdefault(match[1].lower(), value)
        elif match := _SCHEME.match(text, at):
            found.append((match[1].lower(), {}))
        else:
            break
        at = match.end()
    return [Challenge(scheme=scheme, parameters=values) for scheme, values in found]
