"""What the registries of clouds share: hosts of their own, and a program that knows the login."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from shipway.domain.image_ref import ImageRef
from shipway.plugins.registry import Credentials, Manifest
from shipway.registries.login_program import ask_cloud
from shipway.registries.registry_client import RegistryClient


class CloudRegistry(ABC):
    """A registry of one cloud: each says its hosts, whom to ask, and as whom that logs in."""

    hosts: ClassVar[re.Pattern[str]]
    user: ClassVar[str]
    install: ClassVar[str]  # what to do where the program is missing

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._client = RegistryClient(env, cloud=self._login)

    @classmethod
    def serves(cls, host: str) -> bool:
        """Tell whether a host is one of the cloud's."""
        return cls.hosts.fullmatch(host) is not None

    def credentials(self, ref: ImageRef) -> Credentials | None:
        """Return docker's or podman's login for it, else the one that the cloud's program says."""
        return self._client.credentials(ref)

    def manifest(self, ref: ImageRef, *, timeout_s: float = 10.0) -> Manifest | None:
        """Return what the name stands for now, or None."""
        return self._client.manifest(ref, timeout_s=timeout_s)

    @abstractmethod
    def question(self, host: re.Match[str]) -> list[str]:
        """Return the command line that prints the password for a host."""

    def _login(self, ref: ImageRef, limit_s: float) -> Credentials:
        found = self.hosts.fullmatch(ref.host)
        assert found is not None
        argv = self.question(found)
        password = ask_cloud(argv, self._env, host=ref.host, install=self.install, limit_s=limit_s)
        return Credentials(username=self.user, password=password)
