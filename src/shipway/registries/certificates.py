"""Finds the certificates that a registry is trusted by, where docker and podman keep them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from shipway.http.connections import Trust

FILES_LIMIT = 50  # of one host's folder


def trust_of(host: str, env: Mapping[str, str]) -> Trust:
    """Return SSL_CERT_FILE and what the folders `certs.d/HOST` hold, the user's first."""
    authorities = [Path(env["SSL_CERT_FILE"])] if env.get("SSL_CERT_FILE") else []
    pair: tuple[Path, Path] | None = None
    for folder in _folders(env):
        try:
            files = sorted((folder / host).iterdir())[:FILES_LIMIT]
        except OSError:
            continue  # none for this host
        authorities += [path for path in files if path.suffix == ".crt"]
        for path in files:
            if path.suffix == ".cert" and path.with_suffix(".key") in files and pair is None:
                pair = (path, path.with_suffix(".key"))
    return Trust(authorities=tuple(authorities), client=pair)


def _folders(env: Mapping[str, str]) -> list[Path]:
    found = [Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d")]
    config = env.get("XDG_CONFIG_HOME") or (f"{env['HOME']}/.config" if env.get("HOME") else "")
    if config:
        found.insert(0, Path(config, "containers/certs.d"))
    if env.get("HOME"):
        found.insert(0, Path(env["HOME"], ".docker/certs.d"))
    return found
