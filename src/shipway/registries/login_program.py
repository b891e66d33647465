"""Asks a program of this machine for a login: a credential helper, or a cloud's command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from shipway.engines.login_files import Helper
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.registry import Credentials

ANSWER_LIMIT = 1 << 20  # characters
_SAID_LIMIT = 300  # characters of its own words that an error repeats
_UNKNOWN = "credentials not found"  # what helpers say of a registry that they know nothing of


def ask_helper(helper: Helper, env: Mapping[str, str], *, limit_s: float) -> Credentials | None:
    """Return the login that a helper has for a registry, or None."""
    name = f"docker-credential-{helper.name}"
    missing = (
        f"the login of {helper.server} is kept by the program {name}, which is not in PATH: "
        "install it, or take its name out of docker's config.json"
    )
    done = _run([name, "get"], env, missing=missing, input=helper.server, limit_s=limit_s)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        if _UNKNOWN in said.lower():
            return None
        raise PermanentError(f"{name} gives no login for {helper.server}: {said[:_SAID_LIMIT]}")
    try:
        value = json.loads(done.stdout[:ANSWER_LIMIT])
        username, secret = value["Username"], value["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        username = secret = None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise PermanentError(f"{name} gives no login for {helper.server}: its answer is no login")
    return Credentials(username=username, password=secret) if username or secret else None


def ask_cloud(
    argv: Sequence[str], env: Mapping[str, str], *, host: str, install: str, limit_s: float
) -> str:
    """Return the password that a cloud's command line prints for a registry."""
    missing = (
        f"the registry {host} takes a login of {argv[0]!r}, which is not in PATH: {install}, "
        f"or log in with `docker login {host}`"
    )
    done = _run(argv, env, missing=missing, input="", limit_s=limit_s)
    password = done.stdout.strip()
    if done.returncode or not password or not password.isprintable():
        said = done.stderr.strip()[-_SAID_LIMIT:] or f"code {done.returncode}, and no password"
        raise PermanentError(f"`{' '.join(argv)}` gives no login for {host}: {said}")
    return password


def _run(
    argv: Sequence[str], env: Mapping[str, str], *, missing: str, input: str, limit_s: float
) -> subprocess.CompletedProcess[str]:
    program = shutil.which(argv[0], path=env.get("PATH", os.defpath))
    if program is None:
        raise PermanentError(missing)
    try:
        return subprocess.run(
            [program, *argv[1:]],
            input=input,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit_s,
            env=dict(env),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TemporaryError(f"`{' '.join(argv)}` did not end within {limit_s:.3g} s") from None
    except OSError as error:
        raise PermanentError(f"cannot start {program}: {error.strerror}") from error
