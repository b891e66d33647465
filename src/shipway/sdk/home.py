"""Finds the data directory of the embedded default."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shipway.domain.errors import Invalid

_NETWORK_TYPES = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "fuse.ceph",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "panfs",
        "smb3",
        "smbfs",
    }
)
_LOCAL_PREFIX = "/var/tmp/shipway-"  # noqa: S108 - owner and mode are checked
_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where the embedded server and agent keep everything."""

    path: Path
    notice: str = ""  # one line for people, where it is not where they would look


def choose_home(
    env: Mapping[str, str],
    *,
    explicit: str | None = None,
    file_system: Callable[[Path], str] | None = None,
) -> Home:
    """Return the data directory by argument, `SHIPWAY_HOME` and the platform's default.

    A database must not lie on a network file system: an explicit directory there is refused, the
    default is replaced by `/var/tmp/shipway-<uid>`. Nothing is created but that replacement.
    """
    type_of = file_system or file_system_of
    given = explicit or env.get("SHIPWAY_HOME")
    if given:
        path = Path(given).expanduser().absolute()
        found = type_of(path)
        if found in _NETWORK_TYPES:
            raise Invalid(
                f"SHIPWAY_HOME {str(path)!r} is on a network file system ({found}), where a "
                "database is not safe: name a directory on a local disk, such as "
                f"{_LOCAL_PREFIX}{_uid()}",
                field="SHIPWAY_HOME",
                value=str(path),
            )
        return Home(path=path)
    path = default_home(env)
    found = type_of(path)
    if found not in _NETWORK_TYPES:
        return Home(path=path)
    local = Path(f"{_LOCAL_PREFIX}{_uid()}")
    _own(local)
    return Home(
        path=local,
        notice=f"shipway: {path} is on a network file system ({found}): using {local} instead",
    )


def default_home(env: Mapping[str, str]) -> Path:
    """Return the platform's user data directory + `shipway`."""
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "shipway"
    if sys.platform == "win32":
        local = env.get("LOCALAPPDATA")
        return (Path(local) if local else home / "AppData" / "Local") / "shipway"
    data = env.get("XDG_DATA_HOME", "")
    return (Path(data) if data.startswith("/") else home / ".local" / "share") / "shipway"


def file_system_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system that a path is or would be on; '' if unknown."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real = os.path.realpath(path)
    best, found = -1, ""
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = fields[4].encode().decode("unicode_escape")
        inside = point in ("/", real) or real.startswith(point + "/")
        if inside and len(point) >= best:  # a later mount of the same place lies on top
            best, found = len(point), right.split()[0]
    return found


def _own(path: Path) -> None:
    """Make a directory in a shared place ours alone, or refuse one that is not."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != _uid() or facts.st_mode & 0o077:
        raise Invalid(
            f"{path} must be a directory that is yours alone (mode 0700): remove it, or set "
            "SHIPWAY_HOME to a directory on a local disk",
            field="SHIPWAY_HOME",
            value=str(path),
        )


def _uid() -> int:
    return os.getuid() if sys.platform != "win32" else 0
