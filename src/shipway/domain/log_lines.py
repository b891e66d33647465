"""Puts the frames of a log together into lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from shipway.domain.attempt import Frame, LogStream

LINE_LIMIT = 1 << 20  # bytes after which a line without an end is shown as it is


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log; `str` is its text.

    `stream` is `stdout`, `stderr`, `build`, `note` (a sentence of shipway's own) or `gap` (what
    the log's cap cut out), `at` the time of its last byte in milliseconds UTC, `text` the line
    without its end, bytes that are no UTF-8 replaced.
    """

    stream: str
    at: int
    text: str

    def __str__(self) -> str:
        return self.text


class LineJoiner:
    """Joins the pieces of each stream into lines, in the order in which lines end.

    A progress bar overwrites its line after a carriage return: only what stands there at the end
    of the line is kept.
    """

    def __init__(self) -> None:
        self._partial: dict[LogStream, tuple[int, bytes]] = {}

    def feed(self, frame: Frame) -> Iterator[LogLine]:
        """Yield the lines that end in this frame."""
        if frame.stream is LogStream.GAP:
            yield LogLine("gap", frame.at, _gap(frame.data))
            return
        _, held = self._partial.pop(frame.stream, (0, b""))
        *whole, rest = (held + frame.data).split(b"\n")
        for line in whole:
            yield _line(frame.stream, frame.at, line)
        if b"\r" in rest[:-1]:  # a return at the very end may belong to a line end: keep it
            cut = rest.rfind(b"\r", 0, len(rest) - 1)
            rest = rest[cut + 1 :]
        if len(rest) > LINE_LIMIT:
            yield _line(frame.stream, frame.at, rest)
        elif rest:
            self._partial[frame.stream] = (frame.at, rest)

    def end(self) -> list[LogLine]:
        """Return the lines that were begun and have no end, in order of time."""
        rest = [_line(stream, at, held) for stream, (at, held) in self._partial.items()]
        self._partial.clear()
        return sorted(rest, key=lambda line: line.at)


def _line(stream: LogStream, at: int, raw: bytes) -> LogLine:
    shown = raw.rstrip(b"\r")
    shown = shown[shown.rfind(b"\r") + 1 :]
    return LogLine(stream.name.lower(), at, shown.decode("utf-8", "replace"))


def _gap(data: bytes) -> str:
    cut = json.loads(data)
    return f"[{cut['to'] - cut['from']:,} bytes of log left out: {cut['from']} to {cut['to']}]"
