"""Checks the fields of a draft one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.git_address import redact
from shipway.domain.image_ref import ImageRef
from shipway.domain.json_value import plain, plain_mapping
from shipway.domain.names import QUEUE_NAME_LIMIT, check_name, check_title
from shipway.domain.queue import parse_priority
from shipway.domain.source import TEXT_LIMIT, check_image, check_source

_PYTHON = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_\-]{0,63}\Z")
_RESOURCE = re.compile(r"[a-z0-9][a-z0-9\-]{0,63}\Z")
_ALIAS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}\Z")


def check_field(name: str, value: Any) -> Any:
    """Return a field's value in the domain's form; raise `Invalid` naming field and value."""
    return _CHECKS[name](value, field=name)


def check_job(value: object, *, field: str = "job") -> str:
    """Return a job's address: `entity/project/name:alias-or-version`."""
    if not isinstance(value, str):
        raise Invalid(f"{field} must be text, not {type(value).__name__}", field=field, value=value)
    path, colon, alias = value.rpartition(":")
    parts = path.split("/")
    if not colon or len(parts) != 3 or not _ALIAS.match(alias):
        raise Invalid(
            f"{field} {value[:200]!r} is not a job's address: "
            "write entity/project/name:alias, such as ada/demo/train:latest",
            field=field,
            value=value,
        )
    for part in parts:
        check_name(part, field=field)
    return value


def check_run(value: object, *, field: str = "run") -> str:
    """Return a run's path: `entity/project/id`."""
    parts = value.split("/") if isinstance(value, str) else []
    if len(parts) != 3:
        raise Invalid(
            f"{field} {value!r} is not a run: write entity/project/id", field=field, value=value
        )
    for part in parts:
        check_name(part, field=field)
    return "/".join(parts)


def _check_text(value: object, *, field: str) -> str:
    if not isinstance(value, str):
        raise Invalid(f"{field} must be text, not {type(value).__name__}", field=field, value=value)
    if not value.strip() or len(value) > TEXT_LIMIT or not value.isprintable():
        raise Invalid(
            f"{field} {value[:80]!r} must be 1 to {TEXT_LIMIT} printable characters",
            field=field,
            value=value,
        )
    return value


def _check_word(value: object, *, field: str) -> str:
    """Return text that no program could take for an option."""
    text = _check_text(value, field=field)
    if text.startswith("-"):
        raise Invalid(f"{field} {text[:80]!r} must not begin with '-'", field=field, value=value)
    return text


def _check_uri(value: object, *, field: str) -> str:
    uri = _check_word(value, field=field)
    if redact(uri) != uri:
        raise Invalid(
            f"{field} {redact(uri)!r} has a password in it: leave it out, git asks the credential "
            "helpers of its user",
            field=field,
            value=redact(uri),
        )
    return uri


def _check_pattern(value: object, *, field: str, pattern: re.Pattern[str], word: str) -> str:
    if not isinstance(value, str) or not pattern.match(value):
        raise Invalid(f"{field} {value!r} is not {word}", field=field, value=value)
    return value


def _check_words(value: object, *, field: str, is_empty_allowed: bool) -> tuple[str, ...]:
    what = "overrides.args" if field == "args" else field
    if not isinstance(value, list | tuple):
        raise Invalid(
            f"{what} must be a list of strings, not {type(value).__name__}",
            field=what,
            value=value,
        )
    if not value and not is_empty_allowed:
        raise Invalid(
            f"{what} is empty: name the program, such as ['main.py']", field=what, value=value
        )
    for index, word in enumerate(value):
        if not isinstance(word, str):
            raise Invalid(
                f"{what} must be a list of strings; [{index}] is {word!r}, a {type(word).__name__}",
                field=f"{what}[{index}]",
                value=word,
            )
    words = tuple(plain(list(value), what))
    if not is_empty_allowed and not words[0].strip():
        raise Invalid(f"{what}[0] is empty: name the program", field=f"{what}[0]", value=words[0])
    return words


def _check_args_by_resource(value: object, *, field: str) -> dict[str, Any]:
    by_resource = plain_mapping(value, field)
    for name, args in by_resource.items():
        if args is not None and not isinstance(args, Mapping):
            raise Invalid(
                f"{field}.{name} must be a dict of that resource's arguments, "
                f"not {type(args).__name__}",
                field=f"{field}.{name}",
                value=args,
            )
    return by_resource


def _check_flag(value: object, *, field: str) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"{field} must be True or False, not {value!r}", field=field, value=value)
    return value


def _check_dockerfile(value: object, *, field: str) -> str:
    path = _check_word(value, field=field)
    if path.startswith("/") or ".." in path.split("/"):
        raise Invalid(
            f"{field} {path!r} must be a relative path without '..'", field=field, value=value
        )
    return path


def _check_repository(value: object, *, field: str) -> str:
    ref = ImageRef.parse(_check_word(value, field=field), field=field)
    if ref.tag or ref.digest:
        raise Invalid(
            f"{field} {value!r} names a tag or a digest: write host/path alone, tags are ours",
            field=field,
            value=value,
        )
    return ref.name


_CHECKS: Mapping[str, Callable[..., Any]] = {
    "queue": partial(check_name, limit=QUEUE_NAME_LIMIT),
    "project_queue": check_name,
    "queue_entity": check_name,
    "source": lambda value, field: check_source(value),  # noqa: ARG005 - one form for all checks
    "job": check_job,
    "run": check_run,
    "docker_image": check_image,
    "uri": _check_uri,
    "version": _check_word,
    "entity": check_name,
    "project": check_name,
    "name": check_title,
    "run_id": check_name,
    "author": check_title,
    "sweep_id": check_name,
    "priority": lambda value, field: parse_priority(value),  # noqa: ARG005 - one form for all
    "resource": partial(
        _check_pattern, pattern=_RESOURCE, word="a resource's name, such as 'local-process'"
    ),
    "resource_args": _check_args_by_resource,
    "template_variables": plain_mapping,
    "entry_point": partial(_check_words, is_empty_allowed=False),
    "args": partial(_check_words, is_empty_allowed=True),
    "run_config": plain_mapping,
    "parameters": plain_mapping,
    "files": plain_mapping,
    "artifacts": plain_mapping,
    "dockerfile": _check_dockerfile,
    "repository": _check_repository,
    "python": partial(_check_pattern, pattern=_PYTHON, word="a Python, such as '3.11' or 'pypy3'"),
    "refresh": _check_flag,
}
