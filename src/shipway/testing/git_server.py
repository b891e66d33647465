"""Serves git repositories over HTTP on loopback, through git's own backend."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BODY_LIMIT = 64 << 20


class GitServer:
    """Every repository below a folder, at `http://127.0.0.1:PORT/NAME`.

    `password` asks for it (user `u`); `protocol` 0 hides what newer servers can do.
    """

    def __init__(self, root: Path, *, password: str | None = None, protocol: int = 2) -> None:
        self.requests: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.path)
                _answer(self, root, password, protocol)

            do_POST = do_GET  # noqa: N815 - the name that http.server looks for

            def log_message(self, format: str, *args: object) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        """The address below which the repositories are."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[GitServer]:
        """Serve until the block ends."""
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(10)


def _answer(
    request: BaseHTTPRequestHandler, root: Path, password: str | None, protocol: int
) -> None:
    if password is not None and request.headers.get("Authorization") != _basic(password):
        request.send_response(401)
        request.send_header("WWW-Authenticate", 'Basic realm="git"')
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    path, _, query = request.path.partition("?")
    env = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": request.command,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "REMOTE_ADDR": "127.0.0.1",
    }
    if protocol == 2:
        env["GIT_PROTOCOL"] = request.headers.get("Git-Protocol", "")
    done = subprocess.run(
        ["git", "http-backend"], input=_body(request), env=env, capture_output=True, check=False
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    rows = [row.partition(": ") for row in head.decode("latin-1").splitlines()]
    fields = {name: value for name, _, value in rows if name}
    request.send_response(int(fields.pop("Status", "200 OK").split()[0]))
    for name, value in fields.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return request.rfile.read(min(int(request.headers.get("Content-Length") or 0), BODY_LIMIT))
    parts: list[bytes] = []
    while size := int(request.rfile.readline(), 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)


def _basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"u:{password}".encode()).decode("ascii")
