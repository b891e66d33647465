"""Finds and signals the whole tree of processes below this one."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from contextlib import suppress

from shipway.runners.local_machine import group_members, parent_of, processes

FREEZE_ROUNDS = 50  # looks for processes that were made while the others were being stopped


def descendants(group: str, spared: Collection[int] = ()) -> list[int]:
    """Return every process below this one, and of its own control group, but for those spared."""
    me = os.getpid()
    found = _below([pid for pid in children(me) if pid not in spared])
    if group:
        found.update((pid, None) for pid in group_members(group))
        if spared:
            kin = _below(list(spared))
            found = {pid: None for pid in found if pid not in kin}
    return [pid for pid in found if pid != me and pid not in spared]


def _below(waiting: list[int]) -> dict[int, None]:
    """Return processes and all that are below them."""
    found: dict[int, None] = {}
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found[pid] = None
            waiting += children(pid)
    return found


def children(pid: int) -> list[int]:
    """Return a process's children, whichever of its threads made them."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - names only
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123 - half the cost of Path
                found += [int(number) for number in file.read().split()]
        except FileNotFoundError:
            if not _has_children_file():  # a kernel without CONFIG_PROC_CHILDREN
                return [other for other in processes() if parent_of(other) == pid]
        except OSError:
            continue
    return found


def send(pids: Collection[int], *numbers: int) -> None:
    """Send signals to processes, each to all before the next one."""
    for number in numbers:
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, number)


def freeze(group: str, spared: Collection[int] = ()) -> list[int]:
    """Stop a tree until no process of it is left that could make another one."""
    stopped: set[int] = set()
    for _ in range(FREEZE_ROUNDS):
        fresh = [pid for pid in descendants(group, spared) if pid not in stopped]
        if not fresh:
            break
        send(fresh, signal.SIGSTOP)
        stopped.update(fresh)
    return sorted(stopped)


def kill(group: str, spared: Collection[int] = ()) -> int:
    """Stop a tree, then kill it; return how many processes were found."""
    found = freeze(group, spared)
    send(found, signal.SIGKILL)
    return len(found)


def _has_children_file() -> bool:
    me = os.getpid()
    return os.path.exists(f"/proc/{me}/task/{me}/children")  # noqa: PTH110 - a look at /proc
