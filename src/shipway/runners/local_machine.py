"""Reads what the machine says of time, of processes and of this boot."""

from __future__ import annotations

import os
import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_FIELD = 19  # of /proc/PID/stat, counted after the command's closing parenthesis
_STATE_FIELD = 0
_PARENT_FIELD = 1


def boot_ms() -> int:
    """Return the boot clock, which also runs while the machine is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def wall_ms() -> int:
    """Return the time for people, ms UTC."""
    return time.time_ns() // 1_000_000


def read_boot_id() -> str:
    """Return what tells this boot of the machine from any other."""
    return BOOT_ID.read_text(encoding="ascii").strip()


def process_start(pid: int) -> int | None:
    """Return a process's start time in ticks since boot; None for one that is gone or a zombie."""
    fields = _stat(pid)
    if fields is None or fields[_STATE_FIELD] in (b"Z", b"X"):
        return None
    return int(fields[_START_FIELD])


def parent_of(pid: int) -> int | None:
    """Return the process that a process would report its end to; None for one that is gone."""
    fields = _stat(pid)
    return None if fields is None else int(fields[_PARENT_FIELD])


def is_process(pid: int, start: int) -> bool:
    """Tell whether that very process, not a later one with its number, is there."""
    return pid > 0 and process_start(pid) == start


def processes() -> list[int]:
    """Return the numbers of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - names only


def environment_of(pid: int) -> bytes:
    """Return a process's first environment, or nothing where it may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - half the cost of Path
            return file.read()
    except OSError:
        return b""


def group_members(group: str) -> list[int]:
    """Return the processes of a control group; none for a group that is gone."""
    try:
        with open(f"{group}/cgroup.procs", "rb") as file:  # noqa: PTH123 - half the cost of Path
            return [int(line) for line in file.read().split()]
    except OSError:
        return []


def _stat(pid: int) -> list[bytes] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - half the cost of Path
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None
