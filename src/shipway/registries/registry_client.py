"""Does what all registry plugins do: finds a login, and asks for manifests with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from shipway.domain.image_ref import ImageRef
from shipway.engines.login_files import read_login_files
from shipway.plugins.errors import PluginError, TemporaryError
from shipway.plugins.registry import Credentials, Manifest
from shipway.registries.conversation import Conversation
from shipway.registries.distribution import Distribution
from shipway.registries.login_program import ask_helper
from shipway.registries.time_limit import within

LOGIN_LIMIT_S = 60.0  # for a program that says a login; those of clouds are slow

CloudLogin = Callable[[ImageRef, float], Credentials]


class RegistryClient:
    """Speaks to the registries of images for one user, who is known by the variables."""

    def __init__(self, env: Mapping[str, str], *, cloud: CloudLogin | None = None) -> None:
        self._env = env
        self._cloud = cloud

    def credentials(self, ref: ImageRef, *, limit_s: float = LOGIN_LIMIT_S) -> Credentials | None:
        """Return the login in docker's or podman's files, else the cloud's own, else None."""
        failed: PluginError | None = None
        for file in read_login_files(self._env):
            for found in file.logins(ref):
                try:
                    login = (
                        found
                        if isinstance(found, Credentials)
                        else ask_helper(found, self._env, limit_s=limit_s)
                    )
                except PluginError as error:
                    failed = failed or error
                    continue
                if login is not None:
                    return login
        if self._cloud is not None:
            return self._cloud(ref, limit_s)
        if failed is not None:
            raise failed
        return None

    def manifest(self, ref: ImageRef, *, timeout_s: float) -> Manifest | None:
        """Return what an image's name stands for, or None where there is no such image."""
        until = time.monotonic() + timeout_s
        conversation = Conversation(self._env, ref.host, until=until)

        def login() -> Credentials | None:
            return self.credentials(ref, limit_s=max(0.1, until - time.monotonic()))

        def ask() -> Manifest | None:
            try:
                return Distribution(conversation, ref, login=login).manifest()
            finally:
                conversation.close()

        late = TemporaryError(f"the registry {ref.host} does not answer within {timeout_s:g} s")
        return within(timeout_s, ask, abort=conversation.abort, late=late)
