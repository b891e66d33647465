"""What an agent's owner lets containers be: the server cannot widen it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPolicy:
    """The `container` section of an agent's config; patterns are those of `fnmatch`."""

    engine: str | None = None  # docker, podman, or a program's path; None: the first that answers
    network: str | None = None  # default and most; None: host for a server on loopback, or bridge
    images: tuple[str, ...] = ("*",)  # patterns of `host/repository`, docker.io written out
    mounts: tuple[str, ...] = ()  # patterns of folders of this machine that a queue may mount
    devices: tuple[str, ...] = ()  # patterns of devices below /dev that a queue may pass on
    users: tuple[str, ...] = ("*",)  # users that a container may be run as, by name or number
    is_strict: bool = (
        False  # `secure_mode`: no entry point, mounts, devices, host network asked for
    )
