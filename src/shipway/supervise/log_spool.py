"""Writes a program's output as frames into files that keep its head, its tail, never the cap."""

from __future__ import annotations

import errno
import os
from collections import deque

from shipway.domain.attempt import FRAME, LogStream
from shipway.domain.spool import LogPlan, gap_frame, segment_name
from shipway.runners.local_journal import sync_folder

READ_SIZE = 256 << 10  # bytes taken from a pipe at once


class LogSpool:
    """The framed log of one attempt; no file is made before the first byte."""

    def __init__(self, folder: str, plan: LogPlan) -> None:
        self._folder = folder
        self._plan = plan
        self._file = -1
        self._start = 0  # of the file that is written now, in the uncut framed log
        self._size = 0  # of that file
        self._is_dirty = False
        self._is_headed = False  # the head is full: what comes now is tail
        self._tail: deque[tuple[int, int]] = deque()  # start and size of whole files of the tail
        self.head_size = 0  # bytes that may be read while the program runs
        self.read_size = min(READ_SIZE, plan.segment // 4)

    def write(self, stream: LogStream, at: int, data: bytes) -> None:
        """Append a frame, whole or not at all; OSError when the disk has no room."""
        length = FRAME.size + len(data)
        self._make_room(length)
        head = FRAME.pack(stream, at, len(data))
        try:
            written = os.writev(self._file, (head, data))
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        if written != length:
            os.ftruncate(self._file, self._size)
            raise OSError(errno.ENOSPC, "the disk is full")
        self._size += length
        self._is_dirty = True
        if not self._is_headed:
            self.head_size += length

    def sync(self) -> None:
        """Make durable what was written."""
        if self._is_dirty:
            os.fdatasync(self._file)
            self._is_dirty = False

    def finish(self) -> int:
        """Make all of it durable; return the size of the log as it can be read from now on."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
            self._file = -1
        if not self.head_size:
            return 0
        sync_folder(self._folder)
        if not self._is_headed:
            return self.head_size
        files = [*self._tail, (self._start, self._size)]
        kept = self.head_size + sum(size for _, size in files)
        first = files[0][0]
        return kept + (len(gap_frame(self.head_size, first, 0)) if first > self.head_size else 0)

    def _make_room(self, length: int) -> None:
        if self._file < 0:
            self._open()
            return
        is_full = not self._is_headed and self.head_size + length > self._plan.head
        if is_full or self._size + length > self._plan.segment:
            self.sync()
            os.close(self._file)
            self._file = -1
            if self._is_headed:
                self._tail.append((self._start, self._size))
            self._is_headed = self._is_headed or is_full
            self._start, self._size = self._start + self._size, 0
            self._cut()
            self._open()

    def _open(self) -> None:
        path = f"{self._folder}/{segment_name(self._start)}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _cut(self) -> None:
        kept = sum(size for _, size in self._tail)
        while self._tail and kept - self._tail[0][1] >= self._plan.tail:
            start, size = self._tail.popleft()
            kept -= size
            os.unlink(f"{self._folder}/{segment_name(start)}")  # noqa: PTH108 - half the cost of Path
