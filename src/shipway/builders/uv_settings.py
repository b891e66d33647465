"""Finds uv, and picks the variables that decide what it does and where packages come from."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from shipway.plugins.errors import PermanentError

PASSED_ON = re.compile(
    r"(?i)((http|https|all|no)_proxy|ssl_cert_(file|dir)|netrc|git_ssl_cainfo|ssh_auth_sock"
    r"|git_ssh_command|uv_(default_index|index(_.+)?|extra_index_url|find_links|no_index|offline"
    r"|keyring_provider|native_tls|system_certs|insecure_host|http_(timeout|retries)|torch_backend"
    r"|request_timeout|exclude_newer|concurrent_.+|prerelease|resolution|no_binary|no_build(_.+)?"
    r"|config_file))"
)
# pip's settings have no meaning to uv; an index set for pip only is meant for us too.
FROM_PIP = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_NO_INDEX": "UV_NO_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
}
INDEXES = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX(_URL|_STRATEGY)?|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|TORCH_BACKEND"
    r"|EXCLUDE_NEWER|PRERELEASE|RESOLUTION|NO_BINARY.*|NO_BUILD.*)"
)


def find_uv(path: str) -> Path:
    """Return uv's binary: the one of the installed wheel, else the one in `path`."""
    try:
        from uv import find_uv_bin  # noqa: PLC0415 - costs 10 ms, and only a build needs it

        return Path(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv", path=path)
    if found is None:
        raise PermanentError("uv is not installed where the agent runs; `pip install uv` there")
    return Path(found)


def uv_environment(settings: Mapping[str, str], machine: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that uv gets: `settings` by an allow-list, PATH and HOME."""
    given = {key: value for key, value in settings.items() if PASSED_ON.fullmatch(key)}
    for theirs, ours in FROM_PIP.items():
        if settings.get(theirs):
            given.setdefault(ours, settings[theirs])
    for key in ("PATH", "HOME", "LANG"):
        value = settings.get(key) or machine.get(key)
        if value:
            given[key] = value
    given.setdefault("PATH", os.defpath)
    return given


def index_settings(env: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what decides where packages come from, without the passwords."""
    chosen = [(key, value) for key, value in env.items() if INDEXES.fullmatch(key)]
    return sorted((key, re.sub(r"//[^/@\s]*@", "//", value)) for key, value in chosen)
