"""Starts the embedded server when it is absent."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from shipway.domain.errors import Code, ShipwayError

START_LIMIT_S = 60.0  # until the server answers
LAST_LOOK_S = 5.0  # after `shipway up` failed: another one may be about to be ready
LOOK_EVERY_S = 0.05
TAIL_LIMIT = 2_000  # bytes shown of what a failed start printed

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """What a start needs of the world."""

    env: Mapping[str, str]
    is_default_home: bool
    say: Callable[[str], None]  # one line for people
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    argv: tuple[str, ...] = field(
        default_factory=lambda: (sys.executable, "-m", "shipway", "up", "--detach")
    )

    def start(self, home: Path, look: Callable[[], T | None]) -> T:
        """Return what `look` finds, once an embedded server is there; two calls start one.

        Raises `ShipwayError` with code `unreachable` and the words of a start that failed.
        """
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(home / "start.lock", until=self.clock() + START_LIMIT_S, starter=self):
            found = look()  # another call may have started it while we waited for the lock
            if found is not None:
                return found
            self.say(
                f"shipway: starting a server of your own (data in {home}); "
                f"stop it with: {self._command(home, 'down')}"
            )
            return self._spawn(home, look)

    def _spawn(self, home: Path, look: Callable[[], T | None]) -> T:
        """Start `shipway up --detach` and look until the server is there."""
        log = home / "logs" / "start.log"
        log.parent.mkdir(mode=0o700, exist_ok=True)
        env = {**self.env, "SHIPWAY_HOME": str(home)}
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd="/" if sys.platform != "win32" else None,
                start_new_session=True,  # a Ctrl-C here is not meant for it
            )
        end = self.clock() + START_LIMIT_S
        has_failed = False
        while self.clock() < end:
            found = look()
            if found is not None:
                _let_go(process)
                return found
            if not has_failed and process.poll():
                has_failed = True
                end = min(end, self.clock() + LAST_LOOK_S)
            self.sleep(LOOK_EVERY_S)
        exit_code = _let_go(process)
        tail = log.read_bytes()[-TAIL_LIMIT:].decode("utf-8", "replace").strip()
        raise ShipwayError(
            f"the embedded server did not start within {START_LIMIT_S:.0f} s "
            f"({shlex.join(self.argv)}): {tail or 'it printed nothing'}. "
            f"Look with: {self._command(home, 'doctor')}",
            code=Code.UNREACHABLE,
            details={"home": str(home), "exit_code": exit_code},
        )

    def _command(self, home: Path, verb: str) -> str:
        prefix = "" if self.is_default_home else f"SHIPWAY_HOME={shlex.quote(str(home))} "
        return f"{prefix}shipway {verb}"


def _let_go(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code of a process that is not ours to wait for, if it has one."""
    exit_code = process.poll()
    if exit_code is None:
        process.returncode = 0  # else Python warns that it still runs
    return exit_code


def say_on_stderr(line: str) -> None:
    """Print one line for people, where there is somewhere to print it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


@contextlib.contextmanager
def _lock(path: Path, *, until: float, starter: Starter) -> Iterator[None]:
    """Hold a file's lock; the system lets go of it when its holder dies."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # noqa: PLC0415 - not on Windows

    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if starter.clock() > until:
                    raise ShipwayError(
                        f"another process has been starting the embedded server for "
                        f"{START_LIMIT_S:.0f} s: look at {path.parent / 'logs' / 'start.log'}",
                        code=Code.UNREACHABLE,
                    ) from None
                starter.sleep(LOOK_EVERY_S)
        yield
    finally:
        os.close(fd)
