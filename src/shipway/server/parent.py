"""Notices that the process which started this one is gone."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

LOOK_EVERY_S = 1.0


def watch_parent(
    gone: Callable[[], None], *, fd: int | None, pid: int | None
) -> threading.Thread | None:
    """Call `gone` once when a pipe's other end closes, or when our parent is not `pid` any more."""
    if fd is None and pid is None:
        return None
    watch = threading.Thread(
        target=_watch, args=(gone, fd, pid), name="shipway-parent", daemon=True
    )
    watch.start()
    return watch


def _watch(gone: Callable[[], None], fd: int | None, pid: int | None) -> None:
    while True:
        if fd is not None:
            readable, _, _ = select.select([fd], [], [], LOOK_EVERY_S)
            if readable and not os.read(fd, 1):
                gone()
                return
        else:
            time.sleep(LOOK_EVERY_S)
        if pid is not None and os.getppid() != pid:
            gone()
            return
