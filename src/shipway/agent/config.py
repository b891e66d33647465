"""Reads an agent's config file: wandb's keys and ours; an unknown key is refused by name."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shipway.agent.bounds import HOUR_S, Bounds
from shipway.agent.container_config import read_container_policy
from shipway.agent.lease import GRACE_S
from shipway.agent.state import UNLIMITED
from shipway.domain.agent import RunAs
from shipway.domain.errors import Invalid
from shipway.domain.names import DEFAULT_QUEUE, QUEUE_NAME_LIMIT, check_name
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.source import SourcePolicy

_WANDB_ONLY = frozenset(
    {"max_schedulers", "verbosity", "environment", "registry", "builder"}
)  # read and kept, but nothing of this release hangs on them
GB = 10**9
_PLACES = ("environment", "registry", "builder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What an agent's owner decided: the server cannot widen it."""

    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    entity: str | None = None
    max_jobs: int = 1  # programs at once; -1 is unlimited
    run_as: RunAs = RunAs.SELF
    resources: tuple[str, ...] = ()  # runners that may be used; none named: all installed ones
    pass_env: tuple[str, ...] = ()  # the agent's variables that programs may see
    grace_s: float = GRACE_S  # between SIGTERM and SIGKILL, for items that say nothing
    git_hosts: tuple[str, ...] = ("*",)
    git_protocols: tuple[str, ...] = ("https", "ssh")
    container: ContainerPolicy = field(default_factory=ContainerPolicy)
    secure_mode: bool = False  # is `is_strict` of `container`
    keep_work_h: float = 24.0  # unused folders that wait for another attempt at their tree
    keep_failed_h: float = 168.0  # folders of attempts that failed
    keep_failed: int = 20  # of those, the newest
    environments_gb: float = 20.0
    sources_gb: float = 10.0
    wandb: Mapping[str, Any] = field(default_factory=dict)  # their keys that change nothing here

    @property
    def policy(self) -> SourcePolicy:
        """What sources may be fetched."""
        return SourcePolicy(git_hosts=self.git_hosts, git_protocols=self.git_protocols)

    @property
    def repository(self) -> str | None:
        """Where images are pushed to that are built here: wandb's `builder.destination`."""
        found = (self.wandb.get("builder") or {}).get("destination")
        return str(found) if found else None

    @property
    def bounds(self) -> Bounds:
        """How much is kept, and for how long."""
        return Bounds(
            keep_work_s=self.keep_work_h * HOUR_S,
            keep_failed_s=self.keep_failed_h * HOUR_S,
            keep_failed=self.keep_failed,
            environments=int(self.environments_gb * GB),
            sources=int(self.sources_gb * GB),
        )


def load_config(path: Path | None, flags: Mapping[str, Any]) -> Config:
    """Read a config file, if any, and let the flags that were given win."""
    values = dict(_read(path)) if path is not None else {}
    where = str(path) if path is not None else "the flags"
    given = {name: value for name, value in flags.items() if value is not None}
    return parse_config(values | given, where=where)


def parse_config(values: Mapping[str, Any], *, where: str) -> Config:
    """Check every key's name and type."""
    known = frozenset(_READERS) | _WANDB_ONLY | {"stopped_run_timeout"}
    for key in values:
        if key not in known:
            raise Invalid(
                f"agent config: {key!r} in {where} is no known key "
                f"(known: {', '.join(sorted(known))})",
                field=key,
                value=values[key],
            )
    wandb: dict[str, Any] = {}
    checked: dict[str, Any] = {"wandb": wandb}
    for key, value in values.items():
        if value is None:
            continue
        if key in _WANDB_ONLY:
            wandb[key] = _place(key, value) if key in _PLACES else value
        elif key == "stopped_run_timeout":
            checked.setdefault("grace_s", _seconds(key, value))
        else:
            checked[key] = _READERS[key](key, value)
    policy = checked.get("container", ContainerPolicy())
    checked["container"] = replace(policy, is_strict=checked.get("secure_mode", False))
    return Config(**checked)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid(
            f"agent config: {path} cannot be read: {error.strerror}", field="config"
        ) from error
    try:
        value = _parse(path, text)
    except ValueError as error:  # of every parser below
        raise Invalid(
            f"agent config: {path} is not well formed: {error}", field="config"
        ) from error
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Invalid(f"agent config: {path} must hold keys and values", field="config")
    return value


def _parse(path: Path, text: str) -> Any:
    if path.suffix == ".toml":
        return tomllib.loads(text)
    if path.suffix == ".json":
        return json.loads(text)
    try:
        import yaml  # noqa: PLC0415 - rare: wandb's format
    except ImportError:
        try:
            return json.loads(text)  # every JSON text is YAML too
        except ValueError:
            raise Invalid(
                f"agent config: {path} is YAML, and reading that needs the package pyyaml where "
                "the agent runs; or write the file as .toml or .json",
                field="config",
            ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _texts(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise _wrong(key, value, "a list of texts")
    return tuple(value)


def _queues(key: str, value: object) -> tuple[str, ...]:
    names = _texts(key, value)
    if not names:
        raise _wrong(key, value, "at least one queue's name")
    return tuple(check_name(name, field=key, limit=QUEUE_NAME_LIMIT) for name in names)


def _name(key: str, value: object) -> str:
    return check_name(value, field=key)


def _slots(key: str, value: object) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, int) or not is_number or (value < 1 and value != UNLIMITED):
        raise _wrong(key, value, "a number from 1 up, or -1 for no limit")
    return value


def _run_as(key: str, value: object) -> RunAs:
    try:
        return RunAs(str(value))
    except ValueError:
        raise _wrong(key, value, f"one of {', '.join(RunAs)}") from None


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, value, "true or false")
    return value


def _seconds(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _wrong(key, value, "a number of seconds, 0 or more")
    return float(value)


def _amount(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise _wrong(key, value, "a number, 0 or more")
    return float(value)


def _count(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _wrong(key, value, "a whole number, 0 or more")
    return value


def _place(key: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(key, value, "a mapping")
    return value


def _wrong(key: str, value: object, wanted: str) -> Invalid:
    return Invalid(f"agent config: {key} must be {wanted}, not {value!r}", field=key, value=value)


_READERS: Mapping[str, Callable[[str, object], Any]] = {
    "queues": _queues,
    "entity": _name,
    "max_jobs": _slots,
    "run_as": _run_as,
    "resources": _texts,
    "pass_env": _texts,
    "grace_s": _seconds,
    "git_hosts": _texts,
    "git_protocols": _texts,
    "container": read_container_policy,
    "secure_mode": _flag,
    "keep_work_h": _amount,
    "keep_failed_h": _amount,
    "keep_failed": _count,
    "environments_gb": _amount,
    "sources_gb": _amount,
}
