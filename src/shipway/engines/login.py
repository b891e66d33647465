"""Lends a login to an engine's commands by private files: no secret is on a command line."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shipway.domain.image_ref import ImageRef
from shipway.engines.engine import Engine, EngineRefused
from shipway.engines.login_files import (
    HUB_KEY,
    LoginFile,
    docker_files,
    docker_folder,
    host,
    is_hub,
    place,
    podman_files,
    read,
)
from shipway.plugins.errors import PermanentError, PluginError
from shipway.plugins.registry import IDENTITY, Credentials, Registry


@contextmanager
def lent_login(engine: Engine, ref: ImageRef, registry: Registry) -> Iterator[Mapping[str, str]]:
    """Yield the variables with which an engine's commands are logged in to an image's registry.

    Give them as `env` to `Engine.run` or `stream`. Where no login is known, the engine is left to
    its own; where one could not be had, that is told once the engine is refused.
    """
    missing: PluginError | None = None
    login: Credentials | None = None
    try:
        login = registry.credentials(ref)
    except PluginError as error:
        missing = error
    folder = Path(tempfile.mkdtemp(prefix="shipway-login-"))  # mode 0700
    try:
        yield {} if login is None else _variables(folder, engine, ref, login)
    except EngineRefused as error:
        if missing is None:
            raise
        raise PermanentError(f"{error}; no login was sent: {missing}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def with_login(
    found: Sequence[Mapping[str, Any]], ref: ImageRef, login: Credentials, *, is_docker: bool
) -> dict[str, Any]:
    """Return the values of a file of logins with this one: the first file found ranks highest."""
    values: dict[str, Any] = {}
    for file in reversed([LoginFile(path=Path(), values=values) for values in found]):
        for key, value in file.values.items():
            is_merged = key in ("auths", "credHelpers") and isinstance(values.get(key), dict)
            values[key] = {**values[key], **value} if is_merged else value
    own = LoginFile(path=Path(), values=values)
    key = HUB_KEY if is_docker and is_hub(ref.host) else host(ref)
    helpers = {name: value for name, value in own.helpers.items() if place(name) != host(ref)}
    if is_docker and values.get("credsStore"):
        helpers[key] = ""  # no helper for this one: the file itself
    auths = {
        name: value
        for name, value in own.auths.items()
        if place(name).partition("/")[0] != host(ref)
    }
    return {**values, "auths": {**auths, key: _entry(login)}, "credHelpers": helpers}


def _variables(folder: Path, engine: Engine, ref: ImageRef, login: Credentials) -> dict[str, str]:
    if engine.name == "podman":
        paths = podman_files(engine.env)
        if not engine.env.get("REGISTRY_AUTH_FILE"):
            paths += docker_files(engine.env)  # which podman reads too
        _write(folder / "auth.json", with_login(_values(paths), ref, login, is_docker=False))
        return {"REGISTRY_AUTH_FILE": str(folder / "auth.json")}
    own = docker_folder(engine.env)
    if own is not None and own.is_dir():
        for entry in own.iterdir():  # contexts, plugins, certificates
            if entry.name != "config.json":
                (folder / entry.name).symlink_to(entry.absolute())
    found = _values(docker_files(engine.env))
    _write(folder / "config.json", with_login(found, ref, login, is_docker=True))
    return {"DOCKER_CONFIG": str(folder)}


def _values(paths: Sequence[Path]) -> list[Mapping[str, Any]]:
    return [file.values for path in paths if (file := read(path))]


def _entry(login: Credentials) -> dict[str, str]:
    if login.username == IDENTITY:
        # podman wants a name beside the token
        pair, more = f"{IDENTITY}:", {"identitytoken": login.password}
    else:
        pair, more = f"{login.username}:{login.password}", {}
    return {"auth": base64.b64encode(pair.encode()).decode(), **more}


def _write(path: Path, values: Mapping[str, Any]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(values, file)
