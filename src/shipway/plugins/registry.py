"""What a registry plugin does: say who we are, and what an image's name stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shipway.domain.image_ref import ImageRef
from shipway.plugins.find import find, installed

GROUP = "shipway.registries"
ANY = "oci"  # the plugin for every host that no other one knows
IDENTITY = "<token>"  # docker's user name for a password that is an identity token


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A login for one registry; `IDENTITY` as its user name says that it is an identity token."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a name stands for at one moment."""

    digest: str  # of the manifest, or of the index where there are several platforms
    platforms: tuple[str, ...] = ()  # linux/amd64, …; empty where the registry does not say


class Registry(Protocol):
    """One kind of container registry; it is made with the variables of whoever uses it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """Keep the variables: home, DOCKER_CONFIG, REGISTRY_AUTH_FILE, proxies, CA files."""

    @classmethod
    def serves(cls, host: str) -> bool:
        """Tell by its host whether this plugin knows a registry."""

    def credentials(self, ref: ImageRef) -> Credentials | None:
        """Return a login for it; None where none is known: it is tried without.

        Raises where one should be had and is not: a program is missing, or says no.
        """

    def manifest(self, ref: ImageRef, *, timeout_s: float = 10.0) -> Manifest | None:
        """Return what the name stands for now, or None where the registry has no such image."""


def registry_for(ref: ImageRef, env: Mapping[str, str]) -> Registry:
    """Return the plugin for an image's registry: one that knows its host, else `oci`."""
    for name in installed(GROUP):
        if name != ANY:
            plugin: type[Registry] = find(GROUP, name)
            if plugin.serves(ref.host):
                return plugin(env)
    plugin = find(GROUP, ANY)
    return plugin(env)
