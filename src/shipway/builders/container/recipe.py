"""Writes the Dockerfiles of a generated image: constants, the base image, and nothing of a user."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from shipway.builders.container.packages import ENV, Packages
from shipway.builders.needs.inputs import Input
from shipway.builders.needs.versions import allows, parse
from shipway.domain.errors import Invalid
from shipway.domain.image_ref import ImageRef
from shipway.plugins.errors import PermanentError

APP = "/app"  # where the code lies, and where programs start
HOME = "/home/shipway"
USER = "1000:1000"
BUILD = "/opt/shipway/build"  # in the stage that is thrown away: what is needed for it
KEPT = f"{BUILD}/kept"  # and what is kept of it
PROJECT = "/opt/shipway/project"  # what puts the project itself on the path
PYTHONS = tuple((3, minor) for minor in (13, 12, 11, 10, 9, 14, 8))  # in order of preference
_ENVIRONMENT = f" VIRTUAL_ENV={ENV} SHIPWAY_OVERLAY={PROJECT}/site "
_ENVIRONMENT += f"PATH={PROJECT}/bin:{ENV}/bin:$PATH"
_CACHE = f"--mount=type=cache,id=shipway-uv,target={BUILD}/cache "
_MANAGED = "/opt/shipway/python"  # one that uv had to fetch
_VARIABLES = {
    "UV_PROJECT_ENVIRONMENT": ENV,
    "UV_PYTHON_INSTALL_DIR": _MANAGED,
    "UV_PYTHON_PREFERENCE": "system",
    "UV_LINK_MODE": "copy",
    "UV_COMPILE_BYTECODE": "1",
    "UV_NO_PROGRESS": "1",
    "UV_CACHE_DIR": f"{BUILD}/cache",
    "NO_COLOR": "1",
}
_LAST_PATCH = 99  # a version's newest release counts
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_.+-]+)+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MINOR = re.compile(r"==(\d+)\.(\d+)(?:\.(\d+))?(?:\.\*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to make the environment's image; the code's is this one and the code."""

    dockerfile: str
    script: str  # runs once, in a stage of which only results are kept
    args: tuple[str, ...] = ()  # names of the variables that the script sees


def base_of(base_image: str | None, chosen: Input) -> ImageRef:
    """Return what a generated image begins with: what was asked for, else a slim Python."""
    if base_image is not None:
        try:
            return ImageRef.parse(base_image, field="base image")
        except Invalid as error:
            raise PermanentError(str(error)) from None
    name = "python"
    for wish in chosen.wanted:
        if wish.is_free_threaded:
            continue
        name = "pypy" if wish.implementation == "pypy" else name
        version = _version(wish.specifiers, chosen.requires_python)
        if version is not None:
            return _slim(name, version)
    if chosen.wanted:
        asked = " or ".join(f"{wish.text} ({wish.origin})" for wish in chosen.wanted)
        known = ", ".join(f"{major}.{minor}" for major, minor in sorted(PYTHONS))
        raise PermanentError(
            f"no official Python image fits {asked}: ask for one of {known}, or name a base image"
        )
    return _slim(name, f"{PYTHONS[0][0]}.{PYTHONS[0][1]}")


def recipe(
    base: str, packages: Packages, settings: Iterable[str], *, with_cache: bool = False
) -> Recipe:
    """Return the Dockerfile of an environment and the script that its first stage runs.

    With a cache, which only BuildKit has, uv finds what other builds downloaded. uv takes files of
    one path and time for the same, as those of all sources are: where some are installed, there is
    none.
    """
    args = tuple(name for name in sorted(settings) if _NAME.fullmatch(name))
    has = packages.has_environment
    cache = _CACHE if with_cache and has and not packages.copied else ""
    lines = [
        f"FROM {base} AS packages",
        "USER 0:0",
        *(f"ARG {name}" for name in args),
        f"COPY . {BUILD}/",
        f'RUN {cache}["/bin/sh", "{BUILD}/run"]',
        "",
        f"FROM {base}",
        f"COPY --from=packages {KEPT}/ /",
        f"COPY --from=packages --chown={USER} {HOME} {HOME}",
        f"COPY --from=packages --chown={USER} {HOME} {APP}",
        f"ENV HOME={HOME} USER=shipway LOGNAME=shipway" + (_ENVIRONMENT if has else ""),
        f"WORKDIR {APP}",
        f"USER {USER}",
        "ENTRYPOINT []",
    ]
    return Recipe(dockerfile="\n".join(lines) + "\n", script=_script(packages), args=args)


def code_dockerfile(environment: str, *, start: str, has_project: bool) -> str:
    """Return the Dockerfile that adds the code to an environment's image, in its last layer.

    A folder whose name could mean something to a Dockerfile is not written: then whoever starts a
    container says where.
    """
    place = f"{APP}/{start}"
    lines = [
        f"FROM {environment}",
        *([f"COPY project/ {PROJECT}/"] if has_project else []),
        f"COPY --chown={USER} code/ {APP}/",
        *([f"WORKDIR {place}"] if start != "." and _PLAIN.fullmatch(place) else []),
    ]
    return "\n".join(lines) + "\n"


def _version(specifiers: str, requires: str) -> str | None:
    exact = _MINOR.fullmatch(specifiers)
    if exact is not None:
        return ".".join(part for part in exact.groups() if part)
    for major, minor in PYTHONS:
        version = (major, minor, _LAST_PATCH)
        if allows(specifiers, version) and (not requires or allows(requires, version)):
            return f"{major}.{minor}"
    return None


def _slim(name: str, version: str) -> ImageRef:
    assert parse(version, "") is not None
    suffix = "slim-bookworm"
    return ImageRef(registry="docker.io", repository=f"library/{name}", tag=f"{version}-{suffix}")


_USER = f"""\
mkdir -p {HOME} {KEPT}/etc {KEPT}/opt/shipway
[ -e /etc/passwd ] || : > /etc/passwd
[ -e /etc/group ] || : > /etc/group
taken=
while IFS=: read -r name mark number rest; do
    if [ "$number" = 1000 ] || [ "$name" = shipway ]; then taken=1; fi
done < /etc/passwd
if [ -z "$taken" ]; then
    echo 'shipway:x:1000:1000::{HOME}:/bin/sh' >> /etc/passwd
    echo 'shipway:x:1000:' >> /etc/group
fi
cp /etc/passwd /etc/group {KEPT}/etc/
"""
_AUTHORITY = f"""\
if [ -e {BUILD}/ca.pem ]; then
    export SSL_CERT_FILE={BUILD}/ca.pem
fi
"""
_KEEP = f"""\
for site in {ENV}/lib/*/site-packages; do
    cp {BUILD}/startup/* "$site/"
done
mv {ENV} {KEPT}/opt/shipway/
if [ -e {_MANAGED} ]; then mv {_MANAGED} {KEPT}/opt/shipway/; fi
"""


def _script(packages: Packages) -> str:
    """Return the shell script of the first stage; every word of a user's is quoted."""
    parts = ["#!/bin/sh", "set -eu", "exec 2>&1", _USER]
    if packages.has_environment:
        python = ["--python", packages.python] if packages.python else []
        commands = [("uv", "venv", "--no-project", *python, ENV), *packages.commands]
        parts += [
            f"mkdir -p {APP}",
            f"cp -R {BUILD}/lock/. {APP}/",
            *(f"export {name}={shlex.quote(value)}" for name, value in _VARIABLES.items()),
            f"export PATH={BUILD}:$PATH",
            _AUTHORITY,
            f"cd {shlex.quote(f'{APP}/{packages.folder}')}",
            "set -x",
            *(shlex.join(words) for words in commands),
            "set +x",
            _KEEP,
        ]
    return "\n".join(parts)
