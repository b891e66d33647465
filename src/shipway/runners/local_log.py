"""Reads the framed program log that a slot spools into an attempt's folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from shipway.domain.attempt import FRAME, FRAME_LIMIT
from shipway.domain.spool import gap_frame, segment_name, segment_offset

_Piece = tuple[int, int, str | bytes]  # from, to in the readable log; a file's name or the bytes


class LogReader:
    """One attempt's log as an unbroken stream: head, then, once ended, gap and tail."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pieces: list[_Piece] = []
        self._is_final = False

    def read(self, offset: int, limit: int, *, visible: int, is_ended: bool) -> bytes:
        """Return at most `limit` bytes from an offset, none beyond `visible`."""
        end = min(offset + limit, visible)
        if offset >= end:
            return b""
        if not self._covers(end) or (is_ended and not self._is_final):
            self._pieces = arrange(self._folder)
            self._is_final = is_ended
        out = []
        for start, stop, content in self._pieces:
            low, high = max(start, offset), min(stop, end)
            if low < high:
                out.append(self._fetch(content, low - start, high - low))
        return b"".join(out)

    def _covers(self, end: int) -> bool:
        return bool(self._pieces) and self._pieces[-1][1] >= end

    def _fetch(self, content: str | bytes, at: int, length: int) -> bytes:
        if isinstance(content, bytes):
            return content[at : at + length]
        with (self._folder / content).open("rb", buffering=0) as file:
            file.seek(at)
            return file.read(length)


def segments(folder: Path) -> list[tuple[int, int]]:
    """Return the log's files as pairs of first byte and length, in order."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                offset = segment_offset(entry.name)
                if offset is not None:
                    with suppress(FileNotFoundError):  # the cap just cut it out
                        found.append((offset, entry.stat().st_size))
    except FileNotFoundError:
        return []
    return sorted(found)


def arrange(folder: Path) -> list[_Piece]:
    """Return the pieces of the readable log, with a gap frame where bytes were cut out."""
    pieces: list[_Piece] = []
    at = expected = 0
    for offset, size in segments(folder):
        if offset > expected:
            gap = gap_frame(expected, offset, _first_stamp(folder / segment_name(offset)))
            pieces.append((at, at + len(gap), gap))
            at += len(gap)
        pieces.append((at, at + size, segment_name(offset)))
        at += size
        expected = offset + size
    return pieces


def settle(folder: Path) -> int:
    """Cut a torn last frame off a log whose writer died; return the readable size."""
    found = segments(folder)
    if found:
        path = folder / segment_name(found[-1][0])
        data = path.read_bytes()
        whole = _whole(data)
        if whole < len(data):
            os.truncate(path, whole)
    pieces = arrange(folder)
    return pieces[-1][1] if pieces else 0


def remove_log(folder: Path) -> None:
    """Delete a log's files."""
    for offset, _ in segments(folder):
        (folder / segment_name(offset)).unlink(missing_ok=True)


def _whole(data: bytes) -> int:
    # As `whole_frames`, but what cannot be a frame ends the log, too: a power loss may leave it.
    at = 0
    while at + FRAME.size <= len(data):
        length = int(FRAME.unpack_from(data, at)[2])
        if length > FRAME_LIMIT or at + FRAME.size + length > len(data):
            break
        at += FRAME.size + length
    return at


def _first_stamp(path: Path) -> int:
    try:
        with path.open("rb") as file:
            head = file.read(FRAME.size)
    except FileNotFoundError:  # the cap just cut it out; read again once the program ended
        return 0
    return int(FRAME.unpack(head)[1]) if len(head) == FRAME.size else 0
