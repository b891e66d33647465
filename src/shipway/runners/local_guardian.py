"""Finds the supervisor of a home, starts one when there is none, talks to it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from shipway.domain.spool import Cell, GuardianWord
from shipway.plugins.errors import TemporaryError
from shipway.runners.local_home import (
    CONTROL_SOCKET,
    GUARDIAN_LOG,
    LOCK,
    ControlKind,
    GuardianFacts,
    Settings,
    address,
    generation_name,
    map_board,
    open_folder,
)
from shipway.runners.local_machine import is_process

START_LIMIT_S = 20.0  # for a supervisor to come up
_NO_SIGNALS = ()


class Generation:
    """One supervisor's folder, as the runner sees it: board, sockets, whether it lives."""

    def __init__(self, home: Path, number: int) -> None:
        self.number = number
        self.folder = home / generation_name(number)
        self.handle = open_folder(self.folder)
        self._board = map_board(self.folder)
        self._cells: dict[int, Cell] = {}
        self.header = self.cell(0)

    def cell(self, number: int) -> Cell:
        """Return a slot's cell; number 0 is the guardian's."""
        found = self._cells.get(number)
        if found is None:
            found = self._cells[number] = Cell(self._board, number)
        return found

    def count(self) -> int:
        """Return how many cells are in use."""
        return self.header.words[GuardianWord.SLOTS]

    def send(self, end: socket.socket, name: str, data: bytes) -> bool:
        """Send bytes to one of its sockets; False when nobody is there to take them."""
        try:
            end.sendto(data, address(self.handle, name))
        except OSError:
            return False
        return True

    def control(self, end: socket.socket, kind: str, *rest: object) -> bool:
        """Ask its guardian for something."""
        return self.send(end, CONTROL_SOCKET, json.dumps([kind, *rest]).encode())

    def configure(self, end: socket.socket, settings: Settings) -> bool:
        """Tell its guardian the present settings."""
        return self.control(end, ControlKind.SETTINGS, asdict(settings))

    def is_guarded(self) -> bool:
        """Tell whether its guardian lives."""
        words = self.header.words
        return is_process(words[GuardianWord.PID], words[GuardianWord.PID_START])

    def kill_guardian(self) -> None:
        """Kill its guardian, which ends no program: a slot sees its own to the end."""
        if self.is_guarded():
            with suppress(ProcessLookupError):
                os.kill(self.header.words[GuardianWord.PID], signal.SIGKILL)

    def close(self) -> None:
        """Let go of its folder; cells must not be used any more."""
        os.close(self.handle)


def is_locked(home: Path) -> bool:
    """Tell whether a supervisor has this home."""
    lock = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def ensure_guardian(home: Path, settings: Settings) -> GuardianFacts:
    """Return which supervisor has this home, after starting one if there was none."""
    facts = GuardianFacts.read(home)
    if facts is not None and is_locked(home) and is_process(facts.pid, facts.start):
        return facts
    answer = _spawn(home, settings)
    facts = GuardianFacts.read(home)
    if facts is None or not is_process(facts.pid, facts.start):
        log = home / GUARDIAN_LOG
        raise TemporaryError(f"no supervisor came up in {home} (said {answer!r}); see {log}")
    return facts


def reap(pid: int) -> None:
    """Take a dead guardian's status, if it was our child."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _spawn(home: Path, settings: Settings) -> str:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    argv = [sys.executable, "-P", "-m", "shipway.supervise", "--home", str(home)]
    argv += ["--attempts", settings.attempts, "--slots", str(settings.slots)]
    argv += ["--agent", settings.agent, "--base-url", settings.base_url]
    argv += ["--key-file", settings.key_file, "--reins", settings.reins]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        pid = os.posix_spawn(
            sys.executable,
            argv,
            os.environ,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, write_end, 1),
                (os.POSIX_SPAWN_OPEN, 2, str(home / GUARDIAN_LOG), flags, 0o600),
            ),
            setsid=True,
            setsigmask=_NO_SIGNALS,
        )
    except OSError as error:
        os.close(read_end)
        raise TemporaryError(f"cannot start the supervisor: {error}") from error
    finally:
        os.close(write_end)
    try:
        ready, _, _ = select.select((read_end,), (), (), START_LIMIT_S)
        answer = os.read(read_end, 64).decode().strip() if ready else "nothing"
    finally:
        os.close(read_end)
    if not answer.startswith("ready"):
        reap(pid)
    return answer
