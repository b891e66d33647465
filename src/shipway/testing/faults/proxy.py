"""Stands between clients and a server on loopback as a bad network does."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from shipway.testing.faults.weather import Fate, Fault, Weather

PIECE = 64 << 10
HEAD_LIMIT = 64 << 10
REORDER_LIMIT_S = 0.5  # that a request waits for another's answer
END_S = 5.0

_NOW = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Broken(Exception):
    """One end of a connection is gone, or is to be let go."""


class Proxy:
    """A TCP proxy for HTTP/1.1 that knows where a request and its answer end."""

    def __init__(self, port: int, weather: Weather) -> None:
        self.weather = weather
        self.happened: Counter[Fault] = Counter()
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._lines: set[_Line] = set()
        self._lock = threading.Lock()
        self._answered = threading.Condition()
        self._answers = 0
        self._connections = 0
        self._is_closed = False

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def base_url(self) -> str:
        """The server's address, as its clients are to know it."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to take connections; once."""
        threading.Thread(target=self._accept, name="fault-proxy", daemon=True).start()

    def close(self) -> None:
        """Break every connection and take no more."""
        self._is_closed = True
        with suppress(OSError):  # wakes `accept`
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for line in self._lines:
                line.reset()

    def note(self, fault: Fault) -> None:
        """Count what happened."""
        with self._lock:
            self.happened[fault] += 1

    def answered(self) -> None:
        """Let the requests go that wait for another's answer."""
        with self._answered:
            self._answers += 1
            self._answered.notify_all()

    def let_others_pass(self) -> None:
        """Wait until some other request was answered, or for a moment."""
        with self._answered:
            before = self._answers
            self._answered.wait_for(lambda: self._answers > before, REORDER_LIMIT_S)

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections += 1
                line = _Line(self, self._server, client, self._connections)
                self._lines.add(line)
            threading.Thread(target=self._carry, args=(line,), daemon=True).start()

    def _carry(self, line: _Line) -> None:
        try:
            line.run()
        except (OSError, Broken):
            line.reset()
        finally:
            with self._lock:
                self._lines.discard(line)


@dataclass(eq=False, slots=True)
class _Line:
    """One client's connection, with one to the server beside it."""

    proxy: Proxy
    address: tuple[str, int]
    client: socket.socket
    number: int
    server: socket.socket | None = None
    rest: bytes = b""  # read from the client, not used so far
    sockets: list[socket.socket] = field(default_factory=list)

    def run(self) -> None:
        exchange = 0
        while (request := self._request()) is not None:
            fate = self.proxy.weather.fate(self.number, exchange)
            exchange += 1
            self.proxy.note(fate.fault)
            if not self._pass_on(request, fate):
                break
        self.close()

    def close(self) -> None:
        for end in (self.client, self.server, *self.sockets):
            if end is not None:
                with suppress(OSError):
                    end.close()

    def reset(self) -> None:
        with suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
        for end in (self.client, self.server, *self.sockets):
            if end is not None:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR) if end is not self.client else None
                with suppress(OSError):
                    end.close()

    def _pass_on(self, request: bytes, fate: Fate) -> bool:
        """Carry one request and its answer; False when the connection is over."""
        fault = fate.fault
        if fault is Fault.DELAY:
            _pause(fate.delay_s)
        if fault is Fault.REORDER:
            self.proxy.let_others_pass()
        if fault is Fault.RESET_REQUEST:
            self._to_server().sendall(request[: int(len(request) * fate.place)])
            raise Broken
        if fault is Fault.RACE:
            threading.Thread(target=self._twin, args=(request,), daemon=True).start()
        answer, is_last = self._ask(request)
        if fault is Fault.DUPLICATE:
            self._twin(request)
        self.proxy.answered()
        if answer is None:  # it was streamed already
            return False
        if fault is Fault.DELAY:
            _pause(fate.delay_s)
        if fault is Fault.DROP:
            raise Broken
        is_cut = fault in {Fault.RESET_ANSWER, Fault.TRUNCATE}
        self.client.sendall(answer[: int(len(answer) * fate.place)] if is_cut else answer)
        if fault is Fault.RESET_ANSWER:
            raise Broken
        return not is_last and not is_cut

    def _request(self) -> bytes | None:
        """Read one request, head and body; None when the client is done."""
        data = self.rest
        while b"\r\n\r\n" not in data:
            piece = self.client.recv(PIECE)
            if not piece:
                return None
            data += piece
            if len(data) > HEAD_LIMIT and b"\r\n\r\n" not in data:
                raise Broken
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(_header(head, b"content-length") or 0)
        while len(body) < length:
            piece = self.client.recv(PIECE)
            if not piece:
                raise Broken
            body += piece
        self.rest = body[length:]
        return head + b"\r\n\r\n" + body[:length]

    def _ask(self, request: bytes) -> tuple[bytes | None, bool]:
        """Return the answer, and whether it is the connection's last; stream an endless one."""
        server = self._to_server()
        server.sendall(request)
        self._await(server)
        data = b""
        while b"\r\n\r\n" not in data:
            data += _some(server)
        head, _, body = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = _header(head, b"content-length")
        is_last = (_header(head, b"connection") or b"").lower() == b"close"
        if status in (204, 304) or request.startswith(b"HEAD "):
            return data, is_last
        if length is None:
            self._stream(server, data)
            return None, True
        while len(body) < int(length):
            body += _some(server)
        return head + b"\r\n\r\n" + body, is_last

    def _await(self, server: socket.socket) -> None:
        """Wait for the answer to begin, as long as the client does."""
        while True:
            readable, _, _ = select.select([server, self.client], [], [])
            if server in readable:
                return
            if not self.client.recv(1, socket.MSG_PEEK):
                raise Broken

    def _stream(self, server: socket.socket, begin: bytes) -> None:
        self.client.sendall(begin)
        while piece := server.recv(PIECE):
            self.client.sendall(piece)

    def _twin(self, request: bytes) -> None:
        """Do a request on a connection of its own; its answer goes nowhere."""
        with suppress(OSError, Broken), socket.create_connection(self.address, END_S) as server:
            self.sockets.append(server)
            server.sendall(request)
            _some(server)

    def _to_server(self) -> socket.socket:
        if self.server is None:
            self.server = socket.create_connection(self.address, END_S)
            self.server.settimeout(None)
        return self.server


@contextmanager
def between(port: int, weather: Weather) -> Iterator[Proxy]:
    """Run a proxy to a server on loopback."""
    proxy = Proxy(port, weather)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()


def _some(server: socket.socket) -> bytes:
    piece = server.recv(PIECE)
    if not piece:
        raise Broken
    return piece


def _header(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
