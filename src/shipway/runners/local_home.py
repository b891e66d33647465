"""Lays out the folder that the runner shares with its supervisor: names, sockets, shared memory."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from shipway.domain.spool import BEAT_SIZE, CELL_SIZE, CELLS

RUNNER_SOCKET = "runner"
CONTROL_SOCKET = "control"
RENEWER_SOCKET = "renewer"
LOCK = "lock"  # held by the guardian while it lives
GUARDIAN = "guardian"  # which one holds it: pid, start time, generation, boot
GUARDIAN_LOG = "guardian.log"
_BOARD = "board"
_BEAT = "beat"
_GENERATION_PREFIX = "g"
PATIENCE_MS = 50  # of a line whose other end has its queue full


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the runner tells its supervisor; `attempts` and `reins` stay, the others may change."""

    attempts: str
    slots: int  # programs at once; 0 = no limit of our own
    agent: str
    base_url: str
    key_file: str
    reins: str = ""  # stays; a program that freezes and ends what lives outside of slots' trees


class ControlKind:
    """What the runner asks of the guardian: the first part of a control message."""

    SETTINGS = "settings"  # take these settings from now on
    GROW = "grow"  # have so many slots at least
    QUIT = "quit"  # end, if no program is there


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardianFacts:
    """Which guardian runs: the text of the file `guardian`."""

    pid: int
    start: int
    generation: int
    boot_id: str

    def write(self, home: Path) -> None:
        """Put it where runners look, whole."""
        fresh = home / (GUARDIAN + ".new")
        fresh.write_text(json.dumps([self.pid, self.start, self.generation, self.boot_id]))
        fresh.replace(home / GUARDIAN)

    @classmethod
    def read(cls, home: Path) -> Self | None:
        """Return what stands there, or None."""
        try:
            pid, start, generation, boot = json.loads((home / GUARDIAN).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return cls(pid=pid, start=start, generation=generation, boot_id=boot)


def slot_socket(number: int) -> str:
    """Return the name of a slot's socket."""
    return f"slot.{number:04d}"


def generation_name(generation: int) -> str:
    """Return the name of a generation's folder."""
    return f"{_GENERATION_PREFIX}{generation:06d}"


def generations(home: Path) -> list[int]:
    """Return the generations that left a folder, oldest first."""
    digits = (path.name.removeprefix(_GENERATION_PREFIX) for path in home.glob("g*"))
    return sorted(int(number) for number in digits if number.isdecimal())


def open_folder(path: Path) -> int:
    """Open a folder, so that its sockets have addresses under the limit of 108 bytes."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def hold(folder: int) -> None:
    """Mark an opened folder as in use by this process and those that it forks, while one lives."""
    fcntl.flock(folder, fcntl.LOCK_SH)


def is_held(path: Path) -> bool:
    """Tell whether a process that holds a folder lives."""
    try:
        folder = open_folder(path)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(folder)
    return False


def address(folder: int, name: str) -> str:
    """Return the address of a socket in an opened folder."""
    return f"/proc/self/fd/{folder}/{name}"


def bind(folder: int, name: str) -> socket.socket:
    """Return a datagram socket under a name in an opened folder, in place of an earlier one."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.setblocking(False)  # noqa: FBT003 - takes no keyword
    found.bind(address(folder, name))
    return found


class Line:
    """Sends datagrams to a socket in an opened folder, to a new one once that is there."""

    def __init__(self, folder: int, name: str) -> None:
        self._folder = folder
        self._name = name
        self._end: socket.socket | None = None

    def send(self, data: bytes) -> bool:
        """Send, in a full queue's case after a little while; False if nobody took it."""
        for _ in range(2):  # the second time to one who came anew
            if self._end is None and not self._connect():
                return False
            assert self._end is not None
            try:
                self._end.send(data)
            except BlockingIOError:
                return False
            except OSError:  # who listened there is gone
                self.close()
            else:
                return True
        return False

    def close(self) -> None:
        """Hang up; the next datagram calls again."""
        if self._end is not None:
            self._end.close()
        self._end = None

    def _connect(self) -> bool:
        end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        patience = struct.pack("ll", 0, PATIENCE_MS * 1000)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        try:
            end.connect(address(self._folder, self._name))
        except OSError:
            end.close()
            return False
        self._end = end
        return True


def map_board(folder: Path) -> memoryview:
    """Map a generation's board."""
    return _map(folder / _BOARD, CELL_SIZE * CELLS)


def map_beat(home: Path) -> memoryview:
    """Map the agent's beat as one 64-bit word."""
    return _map(home / _BEAT, BEAT_SIZE).cast("Q")


def _map(path: Path, size: int) -> memoryview:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(file).st_size < size:
            os.ftruncate(file, size)
        return memoryview(mmap.mmap(file, size))
    finally:
        os.close(file)
