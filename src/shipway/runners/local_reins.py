"""Pulls the reins: a program that freezes or ends what an attempt started outside of its tree."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum

PULL_LIMIT_S = 20.0  # of one pull that somebody waits for
_LOOK_S = 0.02


class Verb(StrEnum):
    """What the reins are pulled for: the first argument; an attempt's folder is the second."""

    FREEZE = "freeze"
    CONTINUE = "continue"
    KILL = "kill"  # it ends only when nothing is left


def argv_of(reins: str, *words: str) -> list[str]:
    """Return how a program beside this module is run: by our Python, nothing of its site."""
    return [sys.executable, "-I", "-S", "-E", reins, *words]


def pull(reins: str, verb: Verb, folder: str) -> int:
    """Begin to pull; return the process, which whoever called has to wait for."""
    quiet = tuple((os.POSIX_SPAWN_OPEN, file, os.devnull, os.O_RDWR, 0) for file in (0, 1, 2))
    return os.posix_spawn(
        sys.executable,
        argv_of(reins, verb, folder),
        os.environ,
        file_actions=quiet,
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGPIPE),
    )


def pull_and_wait(reins: str, verb: Verb, folders: Sequence[str]) -> None:
    """Pull for several attempts at once, and wait until all of it is done, or a limit."""
    waiting = []
    for folder in folders:
        with suppress(OSError):
            waiting.append(pull(reins, verb, folder))
    end = time.monotonic() + PULL_LIMIT_S
    while waiting:
        waiting = [pid for pid in waiting if os.waitpid(pid, os.WNOHANG)[0] == 0]
        if not waiting:
            break
        if time.monotonic() > end:
            for pid in waiting:
                drop(pid)
                os.waitpid(pid, 0)
            break
        time.sleep(_LOOK_S)


def drop(pid: int) -> None:
    """Let go of a pull that is not wanted any more; 0 is none."""
    if not pid:
        return
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
