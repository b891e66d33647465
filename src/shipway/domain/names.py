"""Checks the names that people give to entities, projects, queues, jobs and runs."""

from __future__ import annotations

import re

from shipway.domain.errors import Invalid

NAME_LIMIT = 128  # characters of a project, job or run id
QUEUE_NAME_LIMIT = 64  # wandb's limit, kept
TITLE_LIMIT = 512  # characters of a display name

DEFAULT_QUEUE = "default"
DEFAULT_PROJECT = "uncategorized"
DEFAULT_QUEUE_PROJECT = "model-registry"  # wandb's name for "all queues of an entity"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]*\Z")


def check_name(value: object, *, field: str, limit: int = NAME_LIMIT) -> str:
    """Return a name of letters, digits, `_ - .` and inner spaces; raise `Invalid` otherwise."""
    if not isinstance(value, str):
        raise Invalid(f"{field} must be text, not {type(value).__name__}", field=field, value=value)
    if not value or len(value) > limit or not _NAME.match(value) or value != value.strip():
        raise Invalid(
            f"{field} {value[:80]!r} is not a name: use 1 to {limit} letters, digits, '_', '-', "
            "'.' and inner spaces, beginning with a letter, a digit or '_'",
            field=field,
            value=value,
        )
    return value


def check_title(value: object, *, field: str) -> str:
    """Return a display name: one line of text, any characters."""
    if not isinstance(value, str):
        raise Invalid(f"{field} must be text, not {type(value).__name__}", field=field, value=value)
    if not value.strip() or len(value) > TITLE_LIMIT or not value.isprintable():
        raise Invalid(
            f"{field} must be 1 to {TITLE_LIMIT} printable characters on one line",
            field=field,
            value=value,
        )
    return value


def fold(name: str) -> str:
    """Return the form in which projects and entities are matched: without case."""
    return name.casefold()
