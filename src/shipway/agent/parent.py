"""Notices that the process which started this one is gone."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

LOOK_EVERY_S = 1.0


def watch_parent(gone: Callable[[], None], *, pid: int | None, fd: int | None) -> None:
    """Call `gone` once when our parent is not `pid` any more, or when the pipe's end closes."""
    if pid is None and fd is None:
        return
    threading.Thread(target=_watch, args=(gone, pid, fd), name="parent", daemon=True).start()


def _watch(gone: Callable[[], None], pid: int | None, fd: int | None) -> None:
    while pid is None or os.getppid() == pid:
        if fd is None:
            time.sleep(LOOK_EVERY_S)
            continue
        readable, _, _ = select.select([fd], [], [], LOOK_EVERY_S)
        if readable and not os.read(fd, 1):
            break
    gone()
