"""Reads the files in which docker and podman keep the logins of registries."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shipway.domain.image_ref import DEFAULT_REGISTRY, ImageRef
from shipway.plugins.errors import PermanentError
from shipway.plugins.registry import IDENTITY, Credentials

FILE_LIMIT = 1 << 20  # bytes of one file of logins
HUB_KEY = "https://index.docker.io/v1/"  # under which docker keeps the login of Docker Hub
_HUB = frozenset({DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io"})
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_API = frozenset({"", "v1", "v2"})  # what old keys have after their host


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """A program that knows a login: `docker-credential-NAME`."""

    name: str
    server: str  # what it is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFile:
    """One file of logins."""

    path: Path
    values: Mapping[str, Any] = field(repr=False)  # the whole file

    @property
    def auths(self) -> Mapping[str, Any]:
        """The logins themselves, by host or by host and path."""
        return _mapping(self.values.get("auths"))

    @property
    def helpers(self) -> Mapping[str, Any]:
        """The names of helpers, by host."""
        return _mapping(self.values.get("credHelpers"))

    def logins(self, ref: ImageRef) -> Iterator[Helper | Credentials]:
        """Yield what it has for an image's registry, best first."""
        server = HUB_KEY if is_hub(ref.host) else ref.host
        named = next((name for key, name in self.helpers.items() if place(key) == host(ref)), None)
        name = self.values.get("credsStore") if named is None else named
        if name:
            yield Helper(name=self._checked(name), server=server)
        auths = {place(key): value for key, value in self.auths.items()}
        for wanted in _places(ref):
            login = self._read(wanted, _mapping(auths.get(wanted)))
            if login is not None:
                yield login
                return

    def _read(self, wanted: str, entry: Mapping[str, Any]) -> Credentials | None:
        if entry.get("identitytoken"):
            return Credentials(username=IDENTITY, password=str(entry["identitytoken"]))
        if entry.get("auth"):
            try:
                text = base64.b64decode(str(entry["auth"]), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                text = ""
            name, colon, password = text.rstrip("\0").partition(":")
            if not colon:
                raise PermanentError(
                    f"the login of {wanted} in {self.path} cannot be read: log in again with "
                    f"`docker login {wanted}` or `podman login {wanted}`"
                )
            return Credentials(username=name, password=password)
        if entry.get("username"):
            return Credentials(
                username=str(entry["username"]), password=str(entry.get("password", ""))
            )
        return None

    def _checked(self, name: object) -> str:
        if not isinstance(name, str) or not _HELPER.fullmatch(name):
            raise PermanentError(
                f"{self.path} names the credential helper {name!r}: it must be one word, such as "
                "secretservice for the program docker-credential-secretservice"
            )
        return name


def read_login_files(env: Mapping[str, str]) -> list[LoginFile]:
    """Return the files that are there, docker's first; raise for one that is no JSON object."""
    return [file for path in (*docker_files(env), *podman_files(env)) if (file := read(path))]


def docker_folder(env: Mapping[str, str]) -> Path | None:
    """Return the folder of docker's settings."""
    if env.get("DOCKER_CONFIG"):
        return Path(env["DOCKER_CONFIG"])
    return Path(env["HOME"], ".docker") if env.get("HOME") else None


def docker_files(env: Mapping[str, str]) -> list[Path]:
    """Return where docker keeps logins."""
    folder = docker_folder(env)
    return [] if folder is None else [folder / "config.json"]


def podman_files(env: Mapping[str, str]) -> list[Path]:
    """Return where podman looks for logins, in its order."""
    if env.get("REGISTRY_AUTH_FILE"):
        return [Path(env["REGISTRY_AUTH_FILE"])]
    found = []
    if env.get("XDG_RUNTIME_DIR"):
        found.append(Path(env["XDG_RUNTIME_DIR"], "containers/auth.json"))
    config = env.get("XDG_CONFIG_HOME") or (f"{env['HOME']}/.config" if env.get("HOME") else "")
    if config:
        found.append(Path(config, "containers/auth.json"))
    return found


def read(path: Path) -> LoginFile | None:
    """Return a file of logins, or None where it is not there or not for us."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError:
        return None
    try:
        values = json.loads(data[:FILE_LIMIT] or b"{}")
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or len(data) > FILE_LIMIT:
        raise PermanentError(f"{path}, where logins of registries are kept, is no JSON object")
    return LoginFile(path=path, values=values)


def is_hub(name: str) -> bool:
    """Tell whether a host is Docker Hub under one of its names."""
    return name in _HUB


def host(ref: ImageRef) -> str:
    """Return the host under which the login of an image's registry is looked for."""
    return DEFAULT_REGISTRY if is_hub(ref.host) else ref.host


def place(key: str) -> str:
    """Return what a key stands for: a host, or, in podman's files, a host and a path."""
    name, _, path = key.partition("://")[2 if "://" in key else 0].partition("/")
    name = DEFAULT_REGISTRY if is_hub(name) else name
    return name if path.strip("/") in _API else f"{name}/{path.strip('/')}"


def _places(ref: ImageRef) -> list[str]:
    """Return the keys that hold for an image, the narrowest first."""
    parts = [host(ref), *ref.repository.split("/")]
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
