"""Checks what clients say of artifacts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from shipway.domain.artifact import check_artifact_name
from shipway.domain.errors import Invalid

TEXT_LIMIT = 64 << 10  # characters of a description
METADATA_LIMIT = 4 << 20  # characters of JSON
TAGS_LIMIT = 100
TTL_LIMIT_S = 1_000 * 366 * 86_400


def check_description(text: str | None) -> str | None:
    """Return a description of a bearable length."""
    if text is not None and len(text) > TEXT_LIMIT:
        raise Invalid(f"a description has at most {TEXT_LIMIT} characters", field="description")
    return text


def check_tags(tags: Sequence[str], *, known: Sequence[str] = ()) -> tuple[str, ...]:
    """Return tags, each once, after those that are there."""
    found = tuple(dict.fromkeys((*known, *unique_tags(tags))))
    check_count("tags", found, TAGS_LIMIT)
    return found


def unique_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Return tags, each once."""
    return tuple(dict.fromkeys(check_artifact_name(tag, field="tag") for tag in tags))


def end_of(begin: int, ttl_s: int) -> int | None:
    """Return when a time to live is over; 0 has no end."""
    if not 0 <= ttl_s <= TTL_LIMIT_S:
        raise Invalid(
            f"a time to live has 1 to {TTL_LIMIT_S} seconds, or none", field="ttl", value=ttl_s
        )
    return begin + 1_000 * ttl_s if ttl_s else None


def check_metadata(text: str | None) -> str | None:
    """Return the text of a JSON object of a bearable length."""
    if text is None:
        return None
    value: Any = None
    if len(text) <= METADATA_LIMIT:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, Mapping):
        raise Invalid(
            f"metadata must be a JSON object of at most {METADATA_LIMIT} characters",
            field="metadata",
        )
    return text


def check_count(name: str, values: Sequence[str], limit: int) -> None:
    """Raise `Invalid` for more than so many."""
    if len(values) > limit:
        raise Invalid(f"at most {limit} {name} are kept", field=name, value=len(values))
