"""Finds the last lines of a log without reading all of it."""

from __future__ import annotations

from dataclasses import dataclass

from shipway.domain.attempt import FRAME, FRAME_LIMIT, LogStream, decode_frames
from shipway.server.log_lines import Line, Lines

TAIL_BYTES = 256 << 10
LINES_LIMIT = 2_000
CHAIN = 3  # frames in a row that make a beginning believable
_STREAMS = frozenset(int(stream) for stream in LogStream)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The end of a log, and from where its next frames come."""

    lines: tuple[Line, ...]
    is_cut: bool  # there is more before it
    offset: int
    skip: int


def tail_of(data: bytes, *, offset: int, is_ended: bool) -> Tail:
    """Return the lines of a log's last bytes, which may begin within a frame."""
    start = 0 if offset == 0 else first_frame(data)
    lines = Lines(offset=offset + start)
    found: list[Line] = []
    for frame in decode_frames(data[start:]):
        size = FRAME.size + len(frame.data)
        found += lines.feed(frame, size)
    resumed = lines.resume()
    if is_ended:
        found += lines.rest()
        resumed = (offset + len(data), 0)
    return Tail(
        lines=tuple(found[-LINES_LIMIT:]),
        is_cut=offset > 0 or len(found) > LINES_LIMIT,
        offset=resumed[0],
        skip=resumed[1],
    )


def first_frame(data: bytes) -> int:
    """Return where the first frame begins in bytes cut out of a log; the end if none does."""
    for start in range(min(len(data), FRAME.size + FRAME_LIMIT)):
        if data[start] in _STREAMS and _chains(data, start):
            return start
    return len(data)


def _chains(data: bytes, at: int) -> bool:
    for _ in range(CHAIN):
        if at == len(data):
            return True
        if at + FRAME.size > len(data):
            return False
        stream, stamp, length = FRAME.unpack_from(data, at)
        if stream not in _STREAMS or not 0 < stamp >> 32 < 4096 or length > FRAME_LIMIT:
            return False
        at += FRAME.size + length
    return True
