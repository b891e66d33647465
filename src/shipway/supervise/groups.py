"""Makes control groups for slots where the machine lets us, reads their counts of OOM kills."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path

_PREFIX = "shipway-"


def own_group() -> str:
    """Return the folder of this process's version 2 group, or nothing."""
    mount = _mount("cgroup2", "")
    path = _membership("0::")
    return mount + path.rstrip("/") if mount and path is not None else ""


def make_group(parent: str, home: str, generation: int, number: int) -> str:
    """Make a slot's own group and move this process into it; nothing where that fails."""
    group = group_path(parent, home, generation, number)
    if not group:
        return ""
    try:
        os.makedirs(group, exist_ok=True)  # noqa: PTH103 - half the cost of Path
        with open(f"{group}/cgroup.procs", "wb", buffering=0) as file:  # noqa: PTH123 - as above
            file.write(b"0")
    except OSError:
        with suppress(OSError):
            os.rmdir(group)  # noqa: PTH106 - as above
        return ""
    return group


def group_path(parent: str, home: str, generation: int, number: int) -> str:
    """Return the folder that a slot's own group has, if it could be made."""
    return f"{parent}/{_stem(home)}g{generation}-{number}" if parent else ""


def kill_group(group: str) -> None:
    """Kill every process of a group, where that is possible."""
    if not group:
        return
    with suppress(OSError), open(f"{group}/cgroup.kill", "wb", buffering=0) as file:  # noqa: PTH123 - as above
        file.write(b"1")


def leave_group(group: str, parent: str) -> None:
    """Move this process out of its own group and remove that, where both are possible."""
    if not group:
        return
    with suppress(OSError):
        with open(f"{parent}/cgroup.procs", "wb", buffering=0) as file:  # noqa: PTH123 - as above
            file.write(b"0")
        os.rmdir(group)  # noqa: PTH106 - as above


def remove_groups(parent: str, home: str) -> None:
    """Remove the empty groups that earlier supervisors of this home left behind."""
    if not parent:
        return
    for path in Path(parent).glob(f"{_stem(home)}*"):
        with suppress(OSError):
            path.rmdir()


def group_oom_file() -> str:
    """Return the file that counts the OOM kills of this process's memory group, or nothing."""
    for path in (f"{own_group()}/memory.events", _version_1_file()):
        if path and os.path.exists(path):  # noqa: PTH110 - half the cost of Path
            return path
    return ""


def own_oom_file(group: str) -> str:
    """Return the file that counts the OOM kills of a slot's own group, or nothing."""
    path = f"{group}/memory.events"
    return path if group and os.path.exists(path) else ""  # noqa: PTH110 - half the cost of Path


def count_of(path: str, field: bytes = b"oom_kill") -> int:
    """Return a field of a kernel file of `name value` lines; 0 where there is none."""
    if not path:
        return 0
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - half the cost of Path
            for line in file.read().splitlines():
                if line.startswith(field + b" "):
                    return int(line.split()[1])
    except OSError:
        return 0
    return 0


def _stem(home: str) -> str:
    return f"{_PREFIX}{zlib.crc32(home.encode()):08x}-"


def _version_1_file() -> str:
    mount, path = _mount("cgroup", "memory"), _membership(":memory:")
    if not mount or path is None:
        return ""
    return f"{mount}{path.rstrip('/')}/memory.oom_control"


def _mount(kind: str, option: str) -> str:
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, place, found, options, *_ = line.split()
        if found == kind and (not option or option in options.split(",")):
            return place
    return ""


def _membership(key: str) -> str | None:
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        if key in line:
            return line.split(":", 2)[2]
    return None
