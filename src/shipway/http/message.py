"""Writes requests and reads answers as HTTP/1.1 has them, over an open connection."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import (
    BadStatusLine,
    HTTPException,
    IncompleteRead,
    InvalidURL,
    LineTooLong,
    RemoteDisconnected,
)
from typing import Any, BinaryIO

LINE_LIMIT = 1 << 16  # bytes of a status line, a header or a chunk's head
HEADERS_LIMIT = 100
_LISTED = frozenset({"www-authenticate"})  # may come in several headers
ONE_SEND = 1 << 16  # a body up to this size leaves together with the headers


class AnswerTooLarge(Exception):
    """An answer has more bytes than its reader takes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size:,} bytes")
        self.size = size


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, read whole."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    data: bytes
    is_last: bool  # on its connection

    def json(self) -> Any:
        """Return the body's JSON value; NaN and Infinity are allowed."""
        return json.loads(self.data)


def write_request(
    sock: socket.socket, start: str, headers: Mapping[str, str], body: bytes | None
) -> None:
    """Send a request, with one call where it is small; `start` is its method and target."""
    if not start.isascii() or not start.isprintable() or start.count(" ") != 1:
        raise InvalidURL(f"the address {start!r} has characters that must be quoted")
    lines = [f"{start} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body is not None or not start.startswith("GET "):
        lines.append(f"Content-Length: {len(body or b'')}")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError(f"a header has more than one line: {sorted(headers)}")
    head = f"{text}\r\n\r\n".encode("latin-1")
    if body is None or len(body) > ONE_SEND:
        sock.sendall(head)
        if body is not None:
            sock.sendall(body)
    else:
        sock.sendall(head + body)


def read_answer(sock: socket.socket, *, limit: int) -> Answer:
    """Read one answer; one that was cut raises `IncompleteRead`."""
    with sock.makefile("rb") as file:
        while True:
            status, is_old = _status(file)
            headers = _headers(file)
            if status >= 200:  # else only a word on the way
                break
        connection = headers.get("connection", "").lower()
        is_last = "keep-alive" not in connection if is_old else "close" in connection
        if headers.get("transfer-encoding", "").lower() == "chunked":
            data = _chunks(file, limit)
        elif status in (204, 304):
            data = b""
        elif "content-length" in headers:
            data = _exactly(file, _number(headers["content-length"], 10), limit)
        else:
            is_last = True
            data = file.read(limit + 1)
            _check(len(data), limit)
    return Answer(status=status, headers=headers, data=data, is_last=is_last)


def _status(file: BinaryIO) -> tuple[int, bool]:
    """Return the status, and whether the server speaks HTTP/1.0."""
    line = file.readline(LINE_LIMIT + 1)
    if not line:
        raise RemoteDisconnected("the connection was closed before an answer came")
    version, _, rest = line.decode("latin-1").partition(" ")
    status = rest[:3]
    is_status = status.isascii() and status.isdigit() and len(status) == 3
    if not version.startswith("HTTP/1.") or not is_status or status[0] == "0":
        raise BadStatusLine(repr(line[:100]))
    return int(status), version == "HTTP/1.0"


def _headers(file: BinaryIO) -> dict[str, str]:
    found: dict[str, str] = {}
    for _ in range(HEADERS_LIMIT):
        line = file.readline(LINE_LIMIT + 1)
        if len(line) > LINE_LIMIT:
            raise LineTooLong("header line")
        if not line:
            raise IncompleteRead(b"")
        if line in (b"\r\n", b"\n"):
            return found
        name, _, value = line.decode("latin-1").partition(":")
        name, value = name.strip().lower(), value.strip()
        is_more = name in _LISTED and name in found
        found[name] = f"{found[name]}, {value}" if is_more else value
    raise HTTPException(f"an answer has more than {HEADERS_LIMIT} headers")


def _chunks(file: BinaryIO, limit: int) -> bytes:
    parts: list[bytes] = []
    total = 0
    while True:
        line = file.readline(LINE_LIMIT + 1)
        if not line:
            raise IncompleteRead(b"".join(parts))
        size = _number(line.partition(b";")[0].decode("latin-1").strip(), 16)
        if not size:
            _headers(file)
            return b"".join(parts)
        total += size
        _check(total, limit)
        parts.append(_exactly(file, size, limit))
        if not file.readline(LINE_LIMIT):  # what ends a chunk
            raise IncompleteRead(b"".join(parts))


def _exactly(file: BinaryIO, size: int, limit: int) -> bytes:
    _check(size, limit)
    data = file.read(size)
    if len(data) < size:
        raise IncompleteRead(data, size - len(data))
    return data


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise AnswerTooLarge(size)


def _number(text: str, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError:
        number = -1
    if number < 0 or not text.isalnum():
        raise HTTPException(f"an answer's length is no number: {text[:100]!r}")
    return number
