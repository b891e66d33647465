"""Reads a launch's `config`: its spec keys, and the run's config values beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shipway.domain.errors import Invalid, NotAvailable
from shipway.domain.json_value import overlay, plain_mapping

# Spec key -> the name of the draft's field that takes its text.
_TEXTS: Mapping[str, str] = {
    "uri": "uri",
    "job": "job",
    "entity": "entity",
    "project": "project",
    "name": "name",
    "author": "author",
    "run_id": "run_id",
    "sweep_id": "sweep_id",
    "queue_entity": "queue_entity",
    "image_uri": "docker_image",
    "python_version": "python",
    "resource": "resource",
}
_DICTS = frozenset(
    {"resource_args", "docker", "git", "overrides", "registry", "builder", "template_variables"}
)
_SERVER_KEYS = frozenset({"_wandb_api_key", "_resume_count"})  # wandb's server puts them in
SPEC_KEYS = frozenset(_TEXTS) | _DICTS | _SERVER_KEYS | {"additional_services"}

_OVERRIDES = frozenset(
    {"args", "run_config", "artifacts", "files", "entry_point", "dockerfile", "working_dir"}
)
_REGISTRY = frozenset({"url"})
_DOCKER = frozenset({"docker_image", "user_id"})
_GIT = frozenset({"version", "repo"})
_DEFAULT_USER_ID = 1000
_OFTEN_MISTYPED = ("overrides", "resource_args", "template_variables")
_NEAR = 2  # edit distance at which a key counts as mistyped


def read_config(config: object) -> dict[str, Any]:
    """Return draft fields (text, lists, dicts) that a `config` sets; never changes it.

    Spec keys are wandb's own; every other key is a value of the run's config. Raises `Invalid`
    for a spec key of the wrong type and for a near miss of a spec key, `NotAvailable` for what
    this release does not do.
    """
    plain = plain_mapping(config, "config")
    fields: dict[str, Any] = {}
    free: dict[str, Any] = {}
    for key, value in plain.items():
        if key not in SPEC_KEYS:
            _refuse_near_miss(key)
            free[key] = value
        elif value is not None:
            _check_type(key, value)
            if key in _TEXTS:
                fields[_TEXTS[key]] = value
    _read_docker(plain.get("docker") or {}, fields)
    _read_git(plain.get("git") or {}, fields)
    _read_overrides(plain.get("overrides") or {}, fields)
    _refuse_unavailable(plain)
    registry = plain.get("registry") or {}
    _check_keys("registry", registry, _REGISTRY)
    if registry.get("url"):
        fields["repository"] = registry["url"]
    for key in ("resource_args", "template_variables"):
        if plain.get(key):
            fields[key] = plain[key]
    run_config = overlay(free, fields.get("run_config", {}))
    if run_config:
        fields["run_config"] = run_config
    return fields


def distance(left: str, right: str) -> int:
    """Return the edit distance of two words; a swap of neighbours counts as one edit."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(right, 1):
            best = min(before[j - 1] + (a != b), before[j] + 1, row[j - 1] + 1)
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                best = min(best, last[j - 2] + 1)
            row.append(best)
    return row[-1]


def _refuse_near_miss(key: str) -> None:
    for right in _OFTEN_MISTYPED:
        if abs(len(key) - len(right)) <= _NEAR and distance(key, right) <= _NEAR:
            raise Invalid(
                f"config has the key {key!r}: did you mean {right!r}? " + _hint(key, "a value"),
                field=f"config.{key}",
                value=key,
            )


def _check_type(key: str, value: object) -> None:
    if key in _SERVER_KEYS:
        raise Invalid(f"config.{key} is set by a server, not by a submitter", field=f"config.{key}")
    if key in _TEXTS:
        right, word = isinstance(value, str), "text"
    elif key in _DICTS:
        right, word = isinstance(value, Mapping), "a dict"
    else:
        right, word = isinstance(value, list), "a list"
    if not right:
        raise Invalid(
            f"config.{key} is a key of the launch spec and must be {word}, "
            f"not {type(value).__name__}. {_hint(key, value)}",
            field=f"config.{key}",
            value=value,
        )


def _hint(key: str, value: object) -> str:
    shown = repr(value) if isinstance(value, int | float) else "…"
    return (
        "A value of the run's config by that name goes into overrides.run_config: "
        f"config={{'overrides': {{'run_config': {{{key!r}: {shown}}}}}}}"
    )


def _read_docker(docker: Mapping[str, Any], fields: dict[str, Any]) -> None:
    _check_keys("docker", docker, _DOCKER)
    if docker.get("user_id", _DEFAULT_USER_ID) not in (None, _DEFAULT_USER_ID):
        raise NotAvailable(
            "config.docker.user_id is not available in this release: leave it out",
            details={"field": "config.docker.user_id"},
        )
    image = docker.get("docker_image")
    if image:
        _agree(fields, "docker_image", image, "config.docker.docker_image", "config.image_uri")


def _read_git(git: Mapping[str, Any], fields: dict[str, Any]) -> None:
    _check_keys("git", git, _GIT)
    if git.get("version"):
        fields["version"] = git["version"]
    if git.get("repo"):
        _agree(fields, "uri", git["repo"], "config.git.repo", "config.uri")


def _read_overrides(overrides: Mapping[str, Any], fields: dict[str, Any]) -> None:
    _check_keys("overrides", overrides, _OVERRIDES)
    for key in ("args", "entry_point", "dockerfile"):
        if overrides.get(key) is not None:
            fields[key] = overrides[key]
    for key in ("run_config", "artifacts", "files"):
        if overrides.get(key) is not None:
            fields[key] = plain_mapping(overrides[key], f"config.overrides.{key}")
    if overrides.get("working_dir"):
        raise NotAvailable(
            "config.overrides.working_dir is not available in this release: "
            "name the directory in the uri, as …#subdirectory=DIR",
            details={"field": "config.overrides.working_dir"},
        )


def _refuse_unavailable(config: Mapping[str, Any]) -> None:
    for key in ("additional_services", "builder"):
        if config.get(key):
            raise NotAvailable(
                f"config.{key} is not available in this release: leave it out",
                details={"field": f"config.{key}"},
            )


def _check_keys(name: str, value: Mapping[str, Any], known: frozenset[str]) -> None:
    for key in value:
        if key not in known:
            raise Invalid(
                f"config.{name} has the unknown key {key!r} (known: {', '.join(sorted(known))})",
                field=f"config.{name}.{key}",
                value=value[key],
            )


def _agree(fields: dict[str, Any], field: str, value: object, path: str, other: str) -> None:
    if field in fields and fields[field] != value:
        raise Invalid(
            f"{path} is {value!r} but {other} is {fields[field]!r}: give one of them",
            field=path,
            value=value,
        )
    fields[field] = value
