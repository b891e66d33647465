"""An HTTP server on loopback that answers as a script says, for tests of the client."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int  # the same number for requests on one connection

    @property
    def json(self) -> Any:
        """Return the body's JSON value."""
        return json.loads(self.body)


@dataclass
class Answer:
    """What to answer; `cut` closes the connection after so many bytes of the body."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    is_closing: bool = False


@dataclass
class ScriptedServer:
    """What was asked, and what is answered next: the script's steps, then its last one again."""

    base_url: str
    script: list[Answer | Callable[[Asked], Answer] | None]
    asked: list[Asked] = field(default_factory=list)

    def next(self, asked: Asked) -> Answer | None:
        """Return the next answer; None drops the connection."""
        self.asked.append(asked)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return step(asked) if callable(step) else step


def ok(value: object, status: int = 200, **headers: str) -> Answer:
    """Return a JSON answer."""
    return Answer(status=status, body=json.dumps(value).encode(), headers=headers)


def error(status: int, code: str, message: str = "no", **details: Any) -> Answer:
    """Return an error as shipway's server words it."""
    return ok({"error": {"code": code, "message": message, "details": details}}, status)


@contextlib.contextmanager
def scripted_server(
    *script: Answer | Callable[[Asked], Answer] | None,
) -> Iterator[ScriptedServer]:
    """Serve a script on a port of its own."""
    state: list[ScriptedServer] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            asked = Asked(
                method=self.command,
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(size),
                connection=self.client_address[1],
            )
            reply = state[0].next(asked)
            if reply is None:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
            self.close_connection = reply.cut is not None or reply.is_closing

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - http.server's

        def log_message(self, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.append(ScriptedServer(f"http://127.0.0.1:{server.server_port}", list(script)))
    try:
        yield state[0]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
