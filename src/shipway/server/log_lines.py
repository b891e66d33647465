"""Turns frames of a log into lines of text, each stream for itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from shipway.domain.attempt import Frame, LogStream

LINE_LIMIT = 64 << 10  # bytes: a longer line is shown in pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line as a terminal would show it, with where to go on after it."""

    stream: LogStream
    at: int  # ms UTC of its last piece
    text: str
    offset: int  # where to read again from, after this line
    skip: int  # and how many lines from there were seen already


class Lines:
    """Assembles lines; streams interleave by the time at which their lines ended.

    A reader that comes back needs `offset` and `skip` only: `offset` is the beginning of the
    earliest frame that still holds part of an open line.
    """

    def __init__(self, *, offset: int = 0, skip: int = 0) -> None:
        self._offset = offset  # of the next frame
        self._skip = skip
        self._open: dict[LogStream, _Open] = {}
        self._marks: list[list[int]] = [[offset, 0]]  # frame starts: [offset, lines since]

    def feed(self, frame: Frame, size: int) -> Iterator[Line]:
        """Take the next frame, which has `size` bytes in the log, and yield the lines it ends."""
        start = self._offset
        if self._marks[-1][0] != start:
            self._marks.append([start, 0])
        self._offset += size
        for text in self._texts(frame, start):
            for mark in self._marks:
                mark[1] += 1
            if self._skip:
                self._skip -= 1
                continue
            offset, seen = self._resume(start)
            yield Line(stream=frame.stream, at=frame.at, text=text, offset=offset, skip=seen)
        self._forget()

    def resume(self) -> tuple[int, int]:
        """Return the offset and the skip with which a later reader goes on from here."""
        return self._resume(self._offset)

    def rest(self) -> Iterator[Line]:
        """Yield the open lines of a log that has ended."""
        offset, seen = self.resume()
        for stream, line in sorted(self._open.items()):
            if not line.data:
                continue
            seen += 1
            if self._skip:
                self._skip -= 1
                continue
            text = shown(bytes(line.data))
            yield Line(stream=stream, at=line.at, text=text, offset=offset, skip=seen)
        self._open.clear()

    def _texts(self, frame: Frame, start: int) -> Iterator[str]:
        if frame.stream is LogStream.GAP:
            yield gap_text(frame.data)
            return
        line = self._open.setdefault(frame.stream, _Open(start=start))
        if not line.data:
            line.start = start
        line.at = frame.at
        *ended, last = frame.data.split(b"\n")
        for piece in ended:
            line.data += piece
            text = shown(bytes(line.data))
            line.data.clear()
            line.start = start
            yield text
        line.data += last
        while len(line.data) > LINE_LIMIT:
            text = shown(bytes(line.data[:LINE_LIMIT]))
            del line.data[:LINE_LIMIT]
            yield text

    def _resume(self, start: int) -> tuple[int, int]:
        earliest = min([line.start for line in self._open.values() if line.data] + [start])
        for offset, seen in self._marks:
            if offset >= earliest:
                return offset, seen
        return self._offset, 0

    def _forget(self) -> None:
        needed = min([line.start for line in self._open.values() if line.data] + [self._offset])
        self._marks = [mark for mark in self._marks if mark[0] >= needed] or [[self._offset, 0]]


class _Open:
    """A line that has not ended yet."""

    __slots__ = ("at", "data", "start")

    def __init__(self, *, start: int) -> None:
        self.start = start  # of the first frame that holds part of it
        self.at = 0
        self.data = bytearray()


def shown(line: bytes) -> str:
    """Return what a terminal shows of a line: of a progress bar the last state."""
    text = line.decode("utf-8", "replace").rstrip("\r")
    return text.rpartition("\r")[2]


def gap_text(data: bytes) -> str:
    """Return the sentence for bytes that the log cap cut out."""
    try:
        gap = json.loads(data)
        return f"[bytes {gap['from']} to {gap['to']} were cut out: the log is over its cap]"
    except (ValueError, KeyError, TypeError):
        return "[bytes were cut out here: the log is over its cap]"
