"""Speaks to any registry by the OCI distribution specification."""

from __future__ import annotations

from collections.abc import Mapping

from shipway.domain.image_ref import ImageRef
from shipway.plugins.registry import Credentials, Manifest
from shipway.registries.registry_client import RegistryClient


class OciRegistry:
    """The registry plugin `oci`: logins are those of docker and podman."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._client = RegistryClient(env)

    @classmethod
    def serves(cls, host: str) -> bool:
        """Tell that it knows every registry."""
        return bool(host)

    def credentials(self, ref: ImageRef) -> Credentials | None:
        """Return the login that docker's or podman's files have, or their helpers."""
        return self._client.credentials(ref)

    def manifest(self, ref: ImageRef, *, timeout_s: float = 10.0) -> Manifest | None:
        """Return what the name stands for now, or None."""
        return self._client.manifest(ref, timeout_s=timeout_s)
