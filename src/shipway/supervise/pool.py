"""What guardian, slots and renewer of one generation share."""

from __future__ import annotations

import ctypes
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shipway.domain.spool import Cell, Note
from shipway.runners.local_home import RUNNER_SOCKET, address

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One generation of a supervisor, as its processes see it."""

    home: Path
    attempts: Path
    generation: int
    folder: Path  # of this generation
    home_handle: int  # the home's folder, opened
    handle: int  # this generation's folder, opened
    board: memoryview
    beat: memoryview
    boot_id: str
    parent_group: str  # where slots may make their own control groups, or nothing
    reins: str = ""  # a program that ends what attempts started outside of their trees, or nothing

    def cell(self, number: int) -> Cell:
        """Return a slot's cell; number 0 is the guardian's own."""
        return Cell(self.board, number)

    def tell_runner(self, end: socket.socket, note: Note) -> None:
        """Send the runner a note, if it is there: the disk is the truth."""
        with suppress(OSError):
            end.sendto(note.to_bytes(), address(self.home_handle, RUNNER_SOCKET))

    def tell(self, end: socket.socket, name: str, data: bytes) -> None:
        """Send bytes to a socket of this generation, if somebody listens there."""
        with suppress(OSError):
            end.sendto(data, address(self.handle, name))


def become_subreaper() -> None:
    """Take in every orphan below this process; not inherited by fork."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
