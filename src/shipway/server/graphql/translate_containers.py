"""Puts a container's arguments into the options of `docker run` that wandb's agents write."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from shipway.domain.queue import LOCAL_CONTAINER

_SAME = ("cpus", "memory", "user", "workdir", "network", "hostname", "pull", "platform", "init")
_RENAMED: Mapping[str, str] = {
    "memory_swap": "memory-swap",
    "shm_size": "shm-size",
    "pids_limit": "pids-limit",
    "read_only": "read-only",
}
_KEPT = ("builder",)  # their agent reads it itself


def docker_options(by_resource: Mapping[str, Any], *, is_quoted: bool) -> dict[str, Any]:
    """Return resource arguments as wandb's agent passes them on; `is_quoted` for one in a shell.

    What docker has no option for, such as a limit of time, its agents do not know.
    """
    args = by_resource.get(LOCAL_CONTAINER)
    if not isinstance(args, Mapping) or not args:
        return dict(by_resource)
    options: dict[str, Any] = {}
    for key, value in args.items():
        if key in _SAME or key in _RENAMED:
            if value is not False:  # their agent would write `--init False`
                options[_RENAMED.get(key, key)] = value
        elif key in _LISTS:
            option, words = _LISTS[key]
            options[option] = words(value)
        elif key in _KEPT:
            options[key] = value
    if is_quoted:
        options = {key: _quoted(value) for key, value in options.items()}
    return {**by_resource, LOCAL_CONTAINER: options}


def _pairs(value: Mapping[str, Any]) -> list[str]:
    return [f"{name}={text}" for name, text in value.items()]


def _volumes(value: list[Mapping[str, Any]]) -> list[str]:
    return [
        f"{one['source']}:{one['target']}:{'ro' if one.get('read_only', True) else 'rw'}"
        for one in value
    ]


def _gpus(value: Any) -> Any:
    return f'"device={",".join(value)}"' if isinstance(value, list) else value


def _ulimits(value: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}={one['soft']}:{one['hard']}" if isinstance(one, Mapping) else f"{name}={one}"
        for name, one in value.items()
    ]


def _quoted(value: Any) -> Any:
    if isinstance(value, str):
        return shlex.quote(value)
    return [_quoted(one) for one in value] if isinstance(value, list) else value


_LISTS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "env": ("env", _pairs),
    "labels": ("label", _pairs),
    "mounts": ("volume", _volumes),
    "devices": ("device", list),
    "gpus": ("gpus", _gpus),
    "ulimits": ("ulimit", _ulimits),
    "tmpfs": ("tmpfs", lambda value: [f"{path}:size={size}" for path, size in value.items()]),
}
