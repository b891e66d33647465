"""Appends records to the file that the agent ships, one whole line at a time."""

from __future__ import annotations

import json
import os
import threading
import weakref
from contextlib import suppress
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has no agents; a program can still be tried there
    fcntl = None  # type: ignore[assignment] # only asked whether it is there

LINE_LIMIT = 1 << 20  # bytes; the agent leaves out what is longer


class Records:
    """A file of JSON lines that several processes append to, or nothing where there is no file."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._file: int | None = None
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            mine = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _after_fork(mine))

    def write(self, record: dict[str, Any]) -> None:
        """Append a record; it is out of this process's hands when the call returns.

        Raises `OSError` where it could not be written, and then nothing of it was.
        """
        if self._path is None:
            return
        line = json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"
        if len(line) > LINE_LIMIT:
            raise ValueError(
                f"one record has {len(line)} bytes, more than the {LINE_LIMIT} that can be sent:"
                " save it as a file instead"
            )
        with self._lock:
            if self._file is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
                self._file = os.open(self._path, flags, 0o600)
            _append(self._file, line)

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def forked(self) -> None:
        """Start anew in a child: its parent's lock may be held by a thread that is not here."""
        self._lock = threading.Lock()
        # A file of its own: a lock is shared by all that hold the same opened file.
        self._file = None


def _append(file: int, line: bytes) -> None:
    _locked(file, is_locked=True)
    try:
        size = os.fstat(file).st_size
        # One write: a reader, and a kill at any moment, see the whole line or nothing. It comes
        # back short only where the disk is full; then what it left is taken away again.
        try:
            written = os.write(file, line)
            while written < len(line):
                written += os.write(file, line[written:])
        except OSError:
            if os.fstat(file).st_size > size:
                os.ftruncate(file, size)
            raise
    finally:
        _locked(file, is_locked=False)


def _locked(file: int, *, is_locked: bool) -> None:
    if fcntl is not None:
        # A file system without locks appends whole lines as well, as long as it has room.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX if is_locked else fcntl.LOCK_UN)


def _after_fork(mine: weakref.ref[Records]) -> None:
    records = mine()
    if records is not None:
        records.forked()
