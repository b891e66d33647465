"""Reads the `container` section of an agent's config: what its owner lets containers be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shipway.domain.container import Network
from shipway.domain.errors import Invalid
from shipway.plugins.container_policy import ContainerPolicy

ENGINES = ("docker", "podman")


def read_container_policy(key: str, value: object) -> ContainerPolicy:
    """Check every key's name and type."""
    if not isinstance(value, Mapping):
        raise _wrong(key, value, "a mapping")
    for name in value:
        if name not in _READERS:
            raise Invalid(
                f"agent config: {f'{key}.{name}'!r} is no known key "
                f"(known: {', '.join(f'{key}.{one}' for one in _READERS)})",
                field=f"{key}.{name}",
                value=value[name],
            )
    given = {name: one for name, one in value.items() if one is not None}
    return ContainerPolicy(
        **{name: _READERS[name](f"{key}.{name}", one) for name, one in given.items()}
    )


def _engine(key: str, value: object) -> str:
    if not isinstance(value, str) or not (value in ENGINES or value.startswith("/")):
        raise _wrong(key, value, "docker, podman, or the path of such a program")
    return value


def _network(key: str, value: object) -> str:
    if not isinstance(value, str) or value not in list(Network):
        raise _wrong(key, value, f"one of {', '.join(Network)}")
    return value


def _patterns(begin: str, what: str) -> Callable[[str, object], tuple[str, ...]]:
    def read(key: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise _wrong(key, value, f"a list of {what}")
        for at, one in enumerate(value):
            if not isinstance(one, str) or not one or not one.startswith(begin):
                raise _wrong(f"{key}[{at}]", one, f"one of {what}")
        return tuple(value)

    return read


def _wrong(key: str, value: object, wanted: str) -> Invalid:
    return Invalid(f"agent config: {key} must be {wanted}, not {value!r}", field=key, value=value)


_READERS: Mapping[str, Callable[[str, object], Any]] = {
    "engine": _engine,
    "network": _network,
    "images": _patterns("", "patterns of images, such as 'docker.io/library/*'"),
    "mounts": _patterns("/", "patterns of folders, such as '/data/*'"),
    "devices": _patterns("/dev/", "patterns of devices, such as '/dev/fuse'"),
    "users": _patterns("", "patterns of users, such as '1000'; numbers as text"),
}
