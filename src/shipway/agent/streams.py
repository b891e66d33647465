"""Reads the byte streams of an attempt that travel to the server, each from any offset."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from shipway.agent.reasons import TAIL_LINES, a_tail
from shipway.domain.attempt import (
    FRAME,
    FRAME_LIMIT,
    LogName,
    LogStream,
    decode_frames,
    encode_frame,
)
from shipway.domain.run import is_clean_path

CHUNK = 1 << 20  # bytes of one piece, before compression
LINE_LIMIT = CHUNK  # bytes of one record with its newline; a longer one is replaced by a note
FILE_LIMIT = 2 << 30  # bytes of one saved file
DEPTH_LIMIT = 100  # lists and objects in each other; the server's stack is deeper than ours
TEXT_SHOWN = 500  # characters of a record in a note
_VALUED = frozenset({"config", "summary", "history"})  # kinds of records that hold values
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes that begin and end where frames or lines do."""

    data: bytes
    first_at: int
    last_at: int


class Stream(Protocol):
    """One stream of one attempt."""

    name: LogName

    def size(self) -> int:
        """Return how many bytes there are so far."""

    def piece(self, offset: int) -> Piece | None:
        """Return what comes next, or None when there is nothing whole."""


class ProgramStream:
    """What a program printed, from its runner."""

    name = LogName.PROGRAM

    def __init__(self, read: Callable[[int, int], bytes], size: Callable[[], int]) -> None:
        self._read = read
        self._size = size

    def size(self) -> int:
        """Return how many bytes there are so far."""
        return self._size()

    def piece(self, offset: int) -> Piece | None:
        """Return whole frames."""
        return framed(self._read(offset, CHUNK))


class BuildStream:
    """What fetching and building printed: written here, by any thread, as frames."""

    name = LogName.BUILD

    def __init__(self, path: Path, *, now: Callable[[], int]) -> None:
        self._path = path
        self._now = now
        self._lock = threading.Lock()

    def print(self, line: str) -> None:
        """Append one line."""
        data = (line.rstrip("\n") + "\n").encode("utf-8", "replace")[:FRAME_LIMIT]
        with self._lock, self._path.open("ab") as file:
            file.write(encode_frame(LogStream.BUILD, self._now(), data))

    def size(self) -> int:
        """Return how many bytes there are so far."""
        return _size(self._path)

    def piece(self, offset: int) -> Piece | None:
        """Return whole frames."""
        return framed(_read(self._path, offset, CHUNK))


class RecordStream:
    """A run's records: lines as the program wrote them, saved files uploaded before theirs.

    `records.sent` is what is shipped, so that its offsets never change: one line of it for each
    line of `records.jsonl`, also after a restart.
    """

    name = LogName.RECORDS

    def __init__(
        self, folder: Path, *, upload: Callable[[str, BinaryIO, int], None], now: Callable[[], int]
    ) -> None:
        self._folder = folder
        self._upload = upload
        self._now = now
        self._taken: int | None = None  # bytes of `records.jsonl` that are in `records.sent`

    @property
    def _written(self) -> Path:
        return self._folder / "records.jsonl"

    @property
    def _sent(self) -> Path:
        return self._folder / "records.sent"

    def size(self) -> int:
        """Return how many bytes there are so far, those not taken over yet at least as one."""
        taken = self._taken or 0
        return _size(self._sent) + max(0, _size(self._written) - taken)

    def final_size(self) -> int:
        """Return the bytes that are ready to be shipped."""
        return _size(self._sent)

    def piece(self, offset: int) -> Piece | None:
        """Return whole lines, taking new ones over first."""
        if self._taken is None:
            self._taken = self._recover()
        if offset >= _size(self._sent):
            self._take_over(self._taken)
        data = _read(self._sent, offset, CHUNK)
        end = data.rfind(b"\n") + 1
        if not end:
            return None
        now = self._now()
        return Piece(data=data[:end], first_at=now, last_at=now)

    def _take_over(self, taken: int) -> None:
        data = _read(self._written, taken, LINE_LIMIT)
        end = data.rfind(b"\n") + 1
        if not end:
            if len(data) < LINE_LIMIT:
                return
            self._skip_long_line(taken)
            return
        lines = b"".join(self._line(line) for line in data[: end - 1].split(b"\n"))
        with self._sent.open("ab") as file:
            file.write(lines)
        self._taken = taken + end

    def _recover(self) -> int:
        """Find how far an agent before this one came, by counting lines."""
        sent = self._sent.read_bytes() if self._sent.exists() else b""
        whole = sent.rfind(b"\n") + 1
        if whole < len(sent):
            os.truncate(self._sent, whole)
        taken = 0
        if whole and self._written.exists():
            with self._written.open("rb") as file:
                for _ in range(sent.count(b"\n")):
                    file.readline()
                taken = file.tell()
        return taken

    def _skip_long_line(self, taken: int) -> None:
        with self._written.open("rb") as file:
            file.seek(taken)
            length = 0
            while part := file.readline(CHUNK):
                length += len(part)
                if part.endswith(b"\n"):
                    break
            else:
                return  # its end is not there yet
        note = {"kind": "dropped", "reason": "a record is over 1 MiB", "size": length}
        with self._sent.open("ab") as file:
            file.write(_json_line(note))
        self._taken = taken + length

    def _line(self, line: bytes) -> bytes:
        """Return a line as it is shipped: one that the server would refuse becomes a note.

        One line comes of each, so that lines can be counted after a restart.
        """
        if not line.strip():
            return b"\n"
        try:
            value = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            return _note(f"a record is no JSON on one line: {type(error).__name__}")
        if line.count(b"[") + line.count(b"{") > DEPTH_LIMIT and _is_deep(value):
            return _note(f"a record is nested deeper than {DEPTH_LIMIT}")
        if isinstance(value, dict) and value.get("kind") == "file":
            whole = self._file_line(value)
            return whole if len(whole) <= LINE_LIMIT else _dropped(value, "its record is too long")
        if refusal := _refusal(value):
            return _note(refusal)
        return line.replace(b"\r", b" ") + b"\n"  # else the server sees two lines

    def _file_line(self, value: dict[str, Any]) -> bytes:
        """Upload the file that a record names, and add its digest and size."""
        if not is_clean_path(value.get("path")):
            return _dropped(value, "its path is not a relative one without '..'")
        stored = value.get("stored")
        if not isinstance(stored, str) or "/" in stored or stored in ("", ".", ".."):
            return _dropped(value, "its stored name is none")
        with ExitStack() as opened:
            try:
                file = opened.enter_context(open_regular(self._folder / "files" / stored))
                digest, size = digest_of(file)
            except (OSError, ValueError) as error:  # the latter: no file can have such a name
                return _dropped(value, f"it cannot be read: {getattr(error, 'strerror', error)}")
            if size > FILE_LIMIT:
                return _dropped(value, f"it is larger than the limit of {FILE_LIMIT} bytes")
            self._upload(digest, file, size)  # the same file, whatever has its name by now
        return _json_line({**value, "digest": digest, "size": size})


def framed(data: bytes) -> Piece | None:
    """Cut bytes to whole frames; a chunk has room for the longest."""
    at, end = 0, len(data)
    first = last = 0
    while at + FRAME.size <= end:
        _, stamp, length = FRAME.unpack_from(data, at)
        if at + FRAME.size + length > end:
            break
        first = first or stamp
        last = stamp
        at += FRAME.size + length
    if at:
        return Piece(data=data[:at] if at < end else data, first_at=first, last_at=last)
    return None


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file; what else a program left is refused before it is opened.

    A link leads out of the folder. A container's root can make device nodes, and opening some is
    an act of its own.
    """
    place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return open(f"/proc/self/fd/{place}", "rb")  # noqa: PTH123 - an open file's own name
    finally:
        os.close(place)


def digest_of(file: BinaryIO) -> tuple[str, int]:
    """Return the SHA-256 and size of what a file holds, also where it grows all the while."""
    digest, size = hashlib.sha256(), 0
    while size <= FILE_LIMIT and (data := file.read(CHUNK)):
        digest.update(data)
        size += len(data)
    return digest.hexdigest(), size


def tail_lines(frames: bytes) -> tuple[str, ...]:
    """Return the last lines of a framed log as people would see them."""
    text = b""
    with suppress(ValueError):
        text = b"".join(f.data for f in decode_frames(frames) if f.stream is not LogStream.GAP)
    lines: Sequence[str] = text.decode("utf-8", "replace").splitlines()
    return a_tail([_ESCAPES.sub("", line) for line in lines[-TAIL_LINES:]])


def _dropped(value: dict[str, Any], reason: str) -> bytes:
    path = str(value.get("path"))[:TEXT_SHOWN]
    return _json_line({"kind": "dropped", "path": path, "reason": reason})


def _note(reason: str) -> bytes:
    return _json_line({"kind": "dropped", "reason": reason})


def _json_line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _refusal(value: object) -> str | None:
    """Say why the server would refuse a record that is no file's."""
    if not isinstance(value, dict):
        return "a record is no JSON object"
    kind = value.get("kind")
    if kind == "dropped":
        return None
    if not isinstance(kind, str) or kind not in _VALUED:
        return f"a record is of no known kind: {ascii(kind)[:TEXT_SHOWN]}"
    return None if isinstance(value.get("values"), dict) else "a record has no values"


def _is_deep(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(DEPTH_LIMIT):
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        if not inner:
            return False
        level = inner
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""
