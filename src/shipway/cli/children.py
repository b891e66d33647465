"""Keeps the embedded server and agent alive: starts them again after growing pauses."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
HEALTHY_AFTER_S = 30.0  # a child that lived so long begins with the first pause again
TERM_WAIT_S = 10.0  # from SIGTERM to SIGKILL, for a child that is to end
LOG_LIMIT = 16 << 20  # bytes of a child's log; what it said before is in `.log.1`, once


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildState:
    """How one child stands; times are seconds of a monotonic clock."""

    pid: int | None = None
    started_at: float = 0.0
    due_at: float = 0.0  # when it is to be started, while it has no pid
    deaths: int = 0  # in a row, each after a short life


def died(state: ChildState, now: float) -> ChildState:
    """Return the state after a death: due again after a pause that doubles."""
    lived = now - state.started_at
    deaths = 1 if lived >= HEALTHY_AFTER_S else state.deaths + 1
    pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(deaths - 1, 16))
    return replace(state, pid=None, due_at=now + pause, deaths=deaths)


def started(state: ChildState, pid: int, now: float) -> ChildState:
    """Return the state after a start."""
    return replace(state, pid=pid, started_at=now)


@dataclass(slots=True, kw_only=True)
class Child:
    """One child process with its log; a shell around `ChildState`."""

    name: str
    argv: Callable[[int], Sequence[str]]  # from the read end of the pipe that ends with us
    env: Mapping[str, str]
    log: Path
    clock: Callable[[], float] = time.monotonic
    state: ChildState = field(default_factory=ChildState)
    _process: subprocess.Popen[bytes] | None = None
    _pipe: int | None = None  # our end; the kernel closes it when we die

    def start(self) -> None:
        """Start it now; its own process group keeps a terminal's Ctrl-C to the parent."""
        assert self._process is None
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        theirs, ours = os.pipe()
        try:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.argv(theirs),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=dict(self.env),
                    pass_fds=(theirs,),
                    process_group=0,
                )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._pipe = ours
        self.state = started(self.state, self._process.pid, self.clock())

    def look(self) -> int | None:
        """Return its exit code once after each death, else None."""
        if self._process is None:
            return None
        _trim(self.log)
        code = self._process.poll()
        if code is None:
            return None
        self._forget()
        self.state = died(self.state, self.clock())
        return code

    def is_due(self) -> bool:
        """Tell whether it is to be started now."""
        return self._process is None and self.clock() >= self.state.due_at

    def end(self, *, wait_s: float = TERM_WAIT_S) -> None:
        """End it: SIGTERM, a wait, SIGKILL; nothing happens when it is gone."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._forget()
        self.state = replace(self.state, pid=None)

    def _forget(self) -> None:
        self._process = None
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def tail(log: Path, lines: int = 5, *, since: int = 0) -> str:
    """Return the last lines of a log after so many bytes, for an error's sentence."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - 8192))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _trim(log: Path) -> None:
    """Put a log that has grown too long aside; its writer, who appends, begins it anew."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
