"""Speaks HTTP to a server over many open connections from one thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import uvloop

from bench.server import Server

T = TypeVar("T")
API = "/api/v1"
END_OF_HEAD = b"\r\n\r\n"


class Line(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the line"))

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        self._data += data
        end = self._data.find(END_OF_HEAD)
        if end < 0:
            return
        head = self._data[:end].lower()
        start = head.index(b"content-length:") + len(b"content-length:")
        size = int(head[start:].split(b"\r", 1)[0])
        whole = end + len(END_OF_HEAD) + size
        if len(self._data) < whole:
            return
        body, self._data = self._data[end + len(END_OF_HEAD) : whole], b""
        assert self._answer is not None
        if head[9:10] == b"2":
            self._answer.set_result(body)
        else:
            self._answer.set_exception(RuntimeError((head[:40] + b" " + body).decode()))

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return the answer's body; one that is no success raises."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


class Caller:
    """Makes the requests of one key."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._head = (
            f"Host: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.key}\r\n"
            "Content-Type: application/json\r\n"
        )

    def post(self, path: str, body: Mapping[str, Any], *, root: str = API, **headers: str) -> bytes:
        """Return the bytes of a request; an underscore in a header's name is a dash."""
        return self.send("POST", path, json.dumps(body).encode(), root=root, **headers)

    def get(self, path: str) -> bytes:
        """Return the bytes of a request that changes nothing."""
        return self.send("GET", path, b"")

    def send(
        self, method: str, path: str, data: bytes, *, root: str = API, **headers: str
    ) -> bytes:
        """Return the bytes of any request."""
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        start = f"{method} {root}{path} HTTP/1.1\r\n{self._head}{more}"
        return f"{start}Content-Length: {len(data)}\r\n\r\n".encode() + data

    @asynccontextmanager
    async def lines(self, count: int) -> AsyncIterator[list[Line]]:
        """Open so many connections."""
        loop = asyncio.get_running_loop()
        opened: list[Line] = []
        try:
            for _ in range(count):
                _, line = await loop.create_connection(Line, "127.0.0.1", self._server.port)
                opened.append(line)
            yield opened
        finally:
            for line in opened:
                line.close()


async def send_all(lines: list[Line], requests: Iterator[bytes]) -> list[bytes]:
    """Send requests over all lines, each as soon as one is free; return the answers."""
    answers: list[bytes] = []

    async def go(line: Line) -> None:
        for request in requests:
            answer = await line.ask(request)
            answers.append(answer)

    await asyncio.gather(*map(go, lines))
    return answers


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())
