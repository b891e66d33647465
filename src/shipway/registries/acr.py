"""Speaks to Azure's Container Registry, with the login of the az command line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shipway.domain.image_ref import ImageRef
from shipway.plugins.registry import Credentials, Manifest
from shipway.registries.login_program import ask_cloud
from shipway.registries.registry_client import RegistryClient

_HOST = re.compile(r"(?P<name>[a-z0-9]+)(?:-[a-z0-9]+)?\.azurecr\.(?:io|cn|us)")
_INSTALL = "install the Azure command line"
_USER = "00000000-0000-0000-0000-000000000000"  # whose password is a token


class AzureRegistry:
    """The registry plugin `acr`."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._client = RegistryClient(env, cloud=self._login)

    @classmethod
    def serves(cls, host: str) -> bool:
        """Tell whether a host is one of the cloud's."""
        return _HOST.fullmatch(host) is not None

    def credentials(self, ref: ImageRef) -> Credentials | None:
        """Return docker's or podman's login for it, else the one that the cloud's program says."""
        return self._client.credentials(ref)

    def manifest(self, ref: ImageRef, *, timeout_s: float = 10.0) -> Manifest | None:
        """Return what the name stands for now, or None."""
        return self._client.manifest(ref, timeout_s=timeout_s)

    def _login(self, ref: ImageRef, limit_s: float) -> Credentials:
        found = _HOST.fullmatch(ref.host)
        assert found is not None
        argv = ["az", "acr", "login", "--name", found["name"], "--expose-token"]
        argv += ["--query", "accessToken", "--output", "tsv"]
        password = ask_cloud(argv, self._env, host=ref.host, install=_INSTALL, limit_s=limit_s)
        return Credentials(username=_USER, password=password)
