"""Reads locks: which form they have, and which of their packages are folders of the source."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from shipway.plugins.errors import PermanentError

_HEAD = re.compile(rb"\A# shipway lock (\{.*\})\n")
_NAME = re.compile(r"[-_.]+")


class Form(StrEnum):
    """How a lock is written, and so how it is installed."""

    UV = "uv.lock"  # uv sync
    PYLOCK = "pylock.toml"  # uv pip sync
    REQUIREMENTS = "requirements.txt"  # uv pip install --no-deps
    NONE = "none"  # nothing to install


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """All that a set of dependencies was resolved to."""

    form: Form
    content: bytes  # without our head line
    python: str = ""  # the version that it was resolved for, where we did that: "3.11"
    local: tuple[str, ...] = ()  # folders and archives of the source, relative to the tree

    def to_bytes(self) -> bytes:
        """Return what is pinned on an item: the lock, with a head line that tells its form."""
        head = {"form": self.form, "local": list(self.local), "python": self.python}
        return b"# shipway lock " + json.dumps(head).encode() + b"\n" + self.content


def from_bytes(data: bytes) -> Lock:
    """Read a pinned lock; one without our head line is taken for what it looks like."""
    found = _HEAD.match(data)
    if found is not None:
        try:
            head = json.loads(found[1])
            return Lock(
                form=Form(head["form"]),
                content=data[found.end() :],
                python=str(head["python"]),
                local=tuple(map(str, head["local"])),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PermanentError(f"the pinned lock has a broken head line: {error}") from error
    if re.search(rb"(?m)^lock-version = ", data):
        return Lock(form=Form.PYLOCK, content=data)
    if re.search(rb"(?m)^version = \d+$", data):
        return Lock(form=Form.UV, content=data)
    return Lock(form=Form.REQUIREMENTS, content=data)


def normal(name: str) -> str:
    """Return a distribution's name as it is compared."""
    return _NAME.sub("-", name).lower()


def key(lock: Lock) -> str:
    """Return the digest of what a lock installs: a new version of the project changes nothing."""
    content = lock.content
    if lock.form is Form.UV:
        packages = parse(lock)["package"]
        for package in packages:
            if _local_path(package.get("source", {})) is not None:
                package.pop("version", None)
        content = json.dumps(packages, sort_keys=True, default=str).encode()
    return hashlib.sha256(f"{lock.form}\n".encode() + content).hexdigest()


def parse(lock: Lock) -> dict[str, Any]:
    """Return a TOML lock's content; raise `PermanentError` where it has none."""
    try:
        content = tomllib.loads(lock.content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PermanentError(f"{lock.form} is not valid TOML: {error}") from error
    content.setdefault("package", [])
    return content


def local_packages(
    lock: Lock, member: str | None, *, extras: Iterable[str], base: str
) -> tuple[str, ...]:
    """Return the paths, relative to the tree, of the local packages that `member` needs.

    `base` is the lock's folder in the tree; without a member it is all of the workspace's.
    """
    packages = {package["name"]: package for package in parse(lock)["package"]}
    local = {
        name: path
        for name, package in packages.items()
        if (path := _local_path(package.get("source", {}))) is not None
    }
    reached = _reached(packages, normal(member), tuple(extras)) if member else list(local)
    found = [
        within(base, local[name])
        for name in reached
        if name in local and "virtual" not in packages[name]["source"]
    ]
    return tuple(found)


def without_local(lock: Lock, base: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a pylock.toml less its local packages, and their paths relative to the tree."""
    head, *blocks = re.split(r"(?m)^(?=\[\[packages\]\]$)", lock.content.decode())
    kept, local = [head], []
    for block in blocks:
        package = tomllib.loads(block)["packages"][0]
        path = package.get("directory", {}).get("path") or package.get("archive", {}).get("path")
        if path is None:
            kept.append(block)
        else:
            local.append(within(base, path))
    return "".join(kept).encode(), tuple(local)


def within(base: str, path: str) -> str:
    """Return a path relative to the tree; raise `PermanentError` where it leads out of it."""
    joined = os.path.normpath(Path(base) / path)
    if joined.startswith("..") or os.path.isabs(joined):  # noqa: PTH117 - text, not a file
        raise PermanentError(
            f"the lock names {path!r}, which lies outside of the source;"
            " an agent has only what was submitted: move it inside, or depend on a release of it"
        )
    return joined


def _local_path(source: Mapping[str, Any]) -> str | None:
    for kind in ("editable", "directory", "virtual", "path"):
        if kind in source:
            return str(source[kind])
    return None


def _reached(packages: Mapping[str, Any], member: str, extras: tuple[str, ...]) -> Iterator[str]:
    """Yield a package and all it depends on, in a fixed order; markers are not looked at."""
    seen: set[str] = set()
    waiting = [member]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in packages:
            continue
        seen.add(name)
        yield name
        package = packages[name]
        needs = list(package.get("dependencies", []))
        for extra, more in package.get("optional-dependencies", {}).items():
            if name != member or extra in extras:
                needs += more
        if name == member:
            for more in package.get("dev-dependencies", {}).values():
                needs += more
        waiting += [str(need["name"]) for need in reversed(needs)]
