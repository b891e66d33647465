"""Hears whether the kernel killed a container because its memory ran out; standard library only."""

from __future__ import annotations

import os
import select


class OomWatch:
    """Hears of kernel kills in a container's memory group.

    Podman's own `OOMKilled` is never true, and the group is gone with its container: so it is
    listened to while that lives.
    """

    def __init__(self, id_file: str) -> None:
        self.id_file = id_file  # where the engine writes the container's id
        self.is_on = False
        self.event = -1  # version 1: counts notices of the group
        self.file = -1  # version 2: its memory.events
        self.before = 0

    def begin(self) -> None:
        """Listen to the container's group as soon as one below this process is in it."""
        try:
            with open(self.id_file, encoding="ascii") as file:  # noqa: PTH123 - half the cost of Path
                cid = file.read().strip()
        except OSError:
            return
        for pid in grandchildren(os.getpid()) if cid else ():
            group = memory_group(pid)
            if cid in group and "conmon" not in group:
                self.listen(group)
                self.is_on = True
                return

    def listen(self, group: str) -> None:
        """Ask the kernel for notices of a group."""
        try:
            if os.path.exists(f"{group}/memory.events"):  # noqa: PTH110 - half the cost of Path
                self.file = os.open(f"{group}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
                return
            control = os.open(f"{group}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            self.event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            with open(f"{group}/cgroup.event_control", "w", encoding="ascii") as file:  # noqa: PTH123 - as above
                file.write(f"{self.event} {control}")
            self.before = oom_kills()
        except OSError:
            self.event = -1

    def has_fired(self) -> bool:
        """Tell whether the kernel killed in the group; a removed version 1 group notifies, too."""
        if self.file >= 0:
            ready = select.poll()
            ready.register(self.file, select.POLLPRI)
            return bool(ready.poll(0))
        try:
            return self.event >= 0 and os.eventfd_read(self.event) > 0 and oom_kills() > self.before
        except BlockingIOError:
            return False


def grandchildren(pid: int) -> list[int]:
    """Return the children of a process's children: a container's first process is conmon's."""
    found = []
    for child in _children(pid):
        found += _children(child)
    return found


def memory_group(pid: int) -> str:
    """Return the folder of a process's memory control group, or nothing."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:  # noqa: PTH123 - as above
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, names, path = line.split(":", 2)
        if "memory" in names.split(","):
            return f"/sys/fs/cgroup/memory{path}"
    unified = [line.split(":", 2)[2] for line in lines if line.startswith("0::")]
    return f"/sys/fs/cgroup{unified[0]}" if unified else ""


def oom_kills() -> int:
    """Return how often the kernel has killed for want of memory since the machine's start."""
    with open("/proc/vmstat", encoding="ascii") as file:  # noqa: PTH123 - as above
        lines = [line for line in file if line.startswith("oom_kill ")]
    return int(lines[0].split()[1]) if lines else 0


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:  # noqa: PTH123 - as above
            return [int(number) for number in file.read().split()]
    except OSError:
        return []
