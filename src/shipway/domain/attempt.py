"""The attempt: what a started program leaves behind, and the frames of its log."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from shipway.domain.ids import Digest, ItemId

FRAME = struct.Struct(">BQI")  # stream, milliseconds UTC, length of the bytes that follow
FRAME_LIMIT = (1 << 20) - FRAME.size  # bytes of one frame's payload: a whole one fits a chunk
LOG_CAP = 1 << 30  # bytes of program log kept of one attempt, unless the server says otherwise
LOG_TAIL = 64 << 20  # of these, the bytes kept of the end once the cap is reached


class LogName(StrEnum):
    """The byte streams of an attempt that travel to the server, each by offset."""

    PROGRAM = "program"  # frames: what the program printed
    BUILD = "build"  # frames: what fetching and building printed
    RECORDS = "records"  # JSON lines: config, summary, history, files, from `shipway.init()`


class LogStream(IntEnum):
    """Which stream of an attempt a frame's bytes came from."""

    STDOUT = 0  # the program's standard output
    STDERR = 1  # its standard error
    BUILD = 2  # fetching the source, making the environment
    NOTE = 3  # a sentence of shipway's own
    GAP = 255  # JSON {"from": byte, "to": byte}: frames cut out by the log cap


class Phase(StrEnum):
    """How a started program stands, as its runner sees it."""

    STARTING = "starting"  # accepted, not yet known to run
    RUNNING = "running"  # its process is there
    ENDED = "ended"  # nothing of it is left


class Cause(StrEnum):
    """What ended a program."""

    EXIT = "exit"  # by itself, with an exit code
    SIGNAL = "signal"  # a signal that was not ours
    OOM = "oom"  # the kernel, by the cgroup's counter
    OOM_PROBABLE = "oom_probable"  # SIGKILL, not ours, while oom_kill of the machine rose
    STOP = "stop"  # we, because somebody asked
    TIME_LIMIT = "time_limit"  # we, at its run limit
    LEASE = "lease"  # we, because its lease ran out
    SUPERVISOR = "supervisor"  # its supervisor died
    WITHDRAWN = "withdrawn"  # we, before anything of it began
    NOT_STARTED = "not_started"  # the kernel refused to start it: `reason` says why


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a program ended; at most one of exit code and signal is set."""

    cause: Cause
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    started_at: int = 0  # ms UTC
    ended_at: int = 0
    log_size: int = 0  # bytes of framed program log, in the spool by now; more, if some are lost


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of one stream's bytes, as read at one moment."""

    stream: LogStream
    at: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChunk:
    """A piece of an attempt's log, its bytes in a blob."""

    item_id: ItemId
    attempt: int
    name: str  # a `LogName`
    offset: int
    length: int  # bytes before compression
    digest: Digest  # of the blob: zlib-compressed bytes
    first_at: int
    last_at: int


def encode_frame(stream: LogStream, at: int, data: bytes) -> bytes:
    """Return one frame's bytes."""
    assert len(data) <= FRAME_LIMIT
    return FRAME.pack(stream, at, len(data)) + data


def decode_frames(buffer: bytes) -> Iterator[Frame]:
    """Yield the whole frames of a buffer that begins at a frame; a cut last one is left out."""
    at, end = 0, len(buffer)
    while at + FRAME.size <= end:
        stream, stamp, length = FRAME.unpack_from(buffer, at)
        if length > FRAME_LIMIT:
            raise ValueError(f"a frame of {length} bytes is over the limit of {FRAME_LIMIT}")
        if at + FRAME.size + length > end:
            return
        yield Frame(LogStream(stream), stamp, buffer[at + FRAME.size : at + FRAME.size + length])
        at += FRAME.size + length


def whole_frames(buffer: bytes) -> int:
    """Return how many of a buffer's bytes are whole frames."""
    at, end = 0, len(buffer)
    while at + FRAME.size <= end:
        length = FRAME.unpack_from(buffer, at)[2]
        if length > FRAME_LIMIT:
            raise ValueError(f"a frame of {length} bytes is over the limit of {FRAME_LIMIT}")
        if at + FRAME.size + length > end:
            break
        at += FRAME.size + length
    return at
