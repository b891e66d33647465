"""Finds the Python interpreters of this machine, and the one that a program needs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from shipway.builders.needs.versions import Version, Wanted, allows
from shipway.plugins.errors import PermanentError

OLDEST: Version = (3, 8)  # what the run-side package needs
PROBE_S = 20.0  # an interpreter that does not answer within this is left out
_NAME = re.compile(r"(python3?(\.\d+)?t?|pypy3?(\.\d+)?)")
_USUAL = ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")
# Run by the interpreter itself, so it must suit the oldest: what it prints names the build, not
# the place. Running the file behind all links leaves a virtual environment for its base.
_PROBE = """
import json, platform, sys, sysconfig
v = sys.version_info
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": [v[0], v[1], v[2]],
    "is_final": v[3] == "final",
    "is_free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "is_virtual": sys.prefix != getattr(sys, "base_prefix", sys.prefix),
    "build": [sys.version, str(sysconfig.get_config_var("SOABI")), list(platform.libc_ver())],
    "platform": sysconfig.get_platform(),
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """One interpreter, as it described itself."""

    path: str
    implementation: str
    version: Version
    is_final: bool
    is_free_threaded: bool
    build: str  # digest of version, compiler, ABI and C library: equal builds, equal words
    platform: str

    def __str__(self) -> str:
        names = {"cpython": "CPython", "pypy": "PyPy"}
        text = ".".join(map(str, self.version)) + ("t" if self.is_free_threaded else "")
        return f"{names.get(self.implementation, self.implementation)} {text}"

    @property
    def short(self) -> str:
        """Return the version that locks are resolved for: "3.11"."""
        return f"{self.version[0]}.{self.version[1]}"


def installed(machine: Mapping[str, str], memory: Path) -> list[Python]:
    """Return this machine's interpreters, best first; `memory` keeps what they said of themselves.

    Best is: a release, CPython, the newest, and of two equal ones that which stands first in PATH.
    """
    known = _remembered(memory)
    now: dict[str, dict[str, object] | None] = {}
    for path in _candidates(machine):
        stamp = _stamp(path)
        now[stamp] = known[stamp] if stamp in known else _probe(path)
    if now != known:
        _remember(memory, now)
    found = [_python(facts) for facts in now.values() if facts is not None]
    return sorted((one for one in found if one.version >= OLDEST), key=_rank)


def choose(found: Sequence[Python], wanted: Sequence[Wanted]) -> Python:
    """Return the best interpreter for the first wish that can be met (any, where there is none)."""
    for wish in wanted:
        for python in found:
            if _meets(python, wish):
                return python
    names = ", ".join(dict.fromkeys(map(str, found))) or "none"
    if wanted:
        texts = " or ".join(f"{wish.text!r}" for wish in wanted)
        raise PermanentError(
            f"no Python {texts} ({wanted[0].origin}) is installed where the agent runs"
            f" (found: {names}); install it there, or ask for one of those"
        )
    for python in found:
        return python
    raise PermanentError("no Python of version 3.8 or later is installed where the agent runs")


def _meets(python: Python, wish: Wanted) -> bool:
    if wish.implementation is not None and python.implementation != wish.implementation:
        return False
    if wish.is_free_threaded != python.is_free_threaded:
        return False
    return allows(wish.specifiers, python.version)


def _rank(python: Python) -> tuple[bool, bool, bool, tuple[int, ...]]:
    newest_first = tuple(-part for part in python.version)
    is_other = python.implementation != "cpython"
    return (not python.is_final, is_other, python.is_free_threaded, newest_first)


def _candidates(machine: Mapping[str, str]) -> Iterator[str]:
    seen: set[str] = set()
    for folder in _folders(machine):
        try:
            names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - names only, a hot path
        except OSError:
            continue
        for name in names:
            path = os.path.realpath(f"{folder}/{name}") if _NAME.fullmatch(name) else ""
            if path and path not in seen and os.access(path, os.X_OK):
                seen.add(path)
                yield path


def _folders(machine: Mapping[str, str]) -> Iterator[str]:
    home = Path(machine.get("HOME") or "/nonexistent")
    for folder in machine.get("PATH", os.defpath).split(os.pathsep):
        # A shim is a shell script that picks a Python by rules of its own.
        if folder and Path(folder).name != "shims":
            yield folder
    data = Path(machine.get("XDG_DATA_HOME") or home / ".local/share")
    roots = (
        Path(machine.get("PYENV_ROOT") or home / ".pyenv") / "versions",
        Path(machine.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python"),
        Path("/Library/Frameworks/Python.framework/Versions"),
    )
    for root in roots:
        try:
            versions = sorted(os.listdir(root))  # noqa: PTH208 - names only
        except OSError:
            continue  # not there, or a setting that came from another user's shell
        yield from (str(root / version / "bin") for version in versions)
    yield from _USUAL
    yield str(Path(sys.base_prefix) / "bin")  # the agent's own, without its packages


def _stamp(path: str) -> str:
    stat = os.stat(path)  # noqa: PTH116 - hot path, plain text
    return f"{path}|{stat.st_size}|{stat.st_mtime_ns}"


def _probe(path: str) -> dict[str, object] | None:
    try:
        done = subprocess.run(
            [path, "-I", "-S", "-c", _PROBE],
            capture_output=True,
            check=True,
            timeout=PROBE_S,
            env={"PATH": os.defpath},
            cwd="/",
        )
        facts = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None  # broken, or older than -I; it cannot serve either way
    if facts.pop("is_virtual"):
        return None
    build = json.dumps(facts.pop("build")).encode()
    return {**facts, "path": path, "build": hashlib.sha256(build).hexdigest()}


def _python(facts: Mapping[str, object]) -> Python:
    version = facts["version"]
    assert isinstance(version, list)
    return Python(**{**facts, "version": tuple(version)})  # type: ignore[arg-type] # read from JSON


def _remembered(memory: Path) -> dict[str, dict[str, object] | None]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(memory: Path, known: Mapping[str, object]) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    fresh = memory.with_name(f"{memory.name}.{os.getpid()}.{threading.get_ident()}")
    fresh.write_text(json.dumps(known))
    fresh.replace(memory)


def describe(python: Python) -> dict[str, object]:
    """Return what of an interpreter goes into an environment's digest."""
    facts = asdict(python)
    del facts["path"]  # two equal builds at two places make equal environments
    return facts
