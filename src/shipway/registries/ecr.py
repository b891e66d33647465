"""Speaks to Amazon's Elastic Container Registry, with the login of the AWS command line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shipway.domain.image_ref import ImageRef
from shipway.plugins.registry import Credentials, Manifest
from shipway.registries.login_program import ask_cloud
from shipway.registries.registry_client import RegistryClient

_HOST = re.compile(
    r"[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)"
)
_INSTALL = "install the AWS command line (version 2)"


class EcrRegistry:
    """The registry plugin `ecr`."""

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
        argv = ["aws", "ecr", "get-login-password", "--region", found["region"]]
        password = ask_cloud(argv, self._env, host=ref.host, install=_INSTALL, limit_s=limit_s)
        return Credentials(username="AWS", password=password)
