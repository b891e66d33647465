"""Asks one registry, and those that it points to, one thing after the other."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from http.client import BadStatusLine, HTTPConnection, HTTPException
from urllib.parse import SplitResult, urljoin, urlsplit

from shipway import __version__
from shipway.domain.errors import Invalid
from shipway.engines.login_files import is_hub
from shipway.http.connections import Connections
from shipway.http.message import Answer, AnswerTooLarge, read_answer, write_request
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.registries.certificates import trust_of

HUB_ADDRESS = "registry-1.docker.io"  # what answers for docker.io
REDIRECTS = 6  # answers in a row, the first one too
_MOVED = frozenset({301, 302, 303, 307, 308})
_LOOPBACK = re.compile(r"127(?:\.[0-9]{1,3}){3}|::1|localhost")
_GARBLED = (BadStatusLine, ConnectionResetError, BrokenPipeError)  # it may speak TLS


class Conversation:
    """What is asked of one registry until a moment; connections are kept for that long.

    A registry on loopback is spoken to in plain HTTP unless it turns out to want TLS, every other
    one by HTTPS; what it points to must be HTTPS too, or itself.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        host: str,
        *,
        until: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host = host
        self._env = env
        self._until = until
        self._clock = clock
        self._address = HUB_ADDRESS if is_hub(host) else host
        self._name = urlsplit(f"//{self._address}").hostname or ""
        self._scheme = "" if is_loopback(self._name) else "https"  # "": not yet known
        self._trust = trust_of(host, env)
        self._open: dict[str, tuple[Connections, HTTPConnection]] = {}

    def ask(self, path: str, headers: Mapping[str, str], *, limit: int) -> Answer:
        """GET a path of the registry's own."""
        first = None if self._scheme else self._try_plain(path, headers, limit)
        url = f"{self._scheme}://{self._address}{path}"
        answer = first or self._send("GET", url, headers, None, limit)
        return self._follow(url, headers, answer, limit)

    def get(self, url: str, headers: Mapping[str, str], *, limit: int) -> Answer:
        """GET an address that the registry named."""
        return self._follow(url, headers, self._send("GET", url, headers, None, limit), limit)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, limit: int) -> Answer:
        """POST to an address that the registry named."""
        return self._send("POST", url, headers, body, limit)

    def abort(self) -> None:
        """Let whatever waits for an answer fail; called from another thread."""
        for _, connection in list(self._open.values()):
            if connection.sock is not None:
                with suppress(OSError):
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        for _, connection in self._open.values():
            connection.close()
        self._open.clear()

    def _try_plain(self, path: str, headers: Mapping[str, str], limit: int) -> Answer | None:
        """Ask without TLS, and without a login; None, and TLS from now on, where that is vain."""
        assert "Authorization" not in headers
        url = f"http://{self._address}{path}"
        try:
            answer = self._exchange("GET", urlsplit(url), headers, None, limit)
        except _GARBLED:
            self._scheme = "https"
            return None
        except (OSError, HTTPException, AnswerTooLarge) as error:
            raise self._failure(url, error) from error
        if answer.status == 400 and b"https" in answer.data[:1000].lower():
            self._scheme = "https"
            return None
        self._scheme = "http"
        return answer

    def _follow(self, url: str, headers: Mapping[str, str], answer: Answer, limit: int) -> Answer:
        """Return an answer or what it redirects to; another host does not see the login."""
        for _ in range(REDIRECTS):
            where = answer.headers.get("location")
            if answer.status not in _MOVED or not where:
                return answer
            moved = urljoin(url, where)
            if urlsplit(moved)[:2] != urlsplit(url)[:2]:
                headers = {key: headers[key] for key in headers if key != "Authorization"}
            url = moved
            answer = self._send("GET", url, headers, None, limit)
        raise PermanentError(
            f"the registry {self.host} redirects more than {REDIRECTS - 1} times in a row"
        )

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, limit: int
    ) -> Answer:
        parts = self._checked(url)
        try:
            return self._exchange(method, parts, headers, body, limit)
        except (OSError, HTTPException, AnswerTooLarge, Invalid) as error:
            raise self._failure(url, error) from error

    def _exchange(
        self,
        method: str,
        parts: SplitResult,
        headers: Mapping[str, str],
        body: bytes | None,
        limit: int,
    ) -> Answer:
        """Send once; a kept connection that was closed meanwhile is replaced at once."""
        origin = f"{parts.scheme}://{parts.netloc}"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        is_kept = origin in self._open
        try:
            return self._exchange_on(origin, f"{method} {path}", headers, body, limit)
        except ConnectionError:
            if not is_kept:
                raise
        return self._exchange_on(origin, f"{method} {path}", headers, body, limit)

    def _exchange_on(
        self, origin: str, start: str, headers: Mapping[str, str], body: bytes | None, limit: int
    ) -> Answer:
        may_go_on = False
        try:
            connections, connection = self._connect(origin)
            connection.sock.settimeout(self._left())
            method, _, path = start.partition(" ")
            own = {**connections.headers, "User-Agent": f"shipway/{__version__}"}
            line = f"{method} {connections.target(path)}"
            write_request(connection.sock, line, {**own, **headers}, body)
            answer = read_answer(connection.sock, limit=limit)
            may_go_on = not answer.is_last
            return answer
        finally:
            if not may_go_on and origin in self._open:
                self._open.pop(origin)[1].close()

    def _connect(self, origin: str) -> tuple[Connections, HTTPConnection]:
        if origin not in self._open:
            is_own = origin.partition("://")[2] == self._address
            trust = self._trust if is_own else replace(self._trust, client=None)
            connections = Connections(
                origin, connect_timeout_s=self._left(), env=self._env, trust=trust
            )
            self._open[origin] = (connections, connections.make())
            self._open[origin][1].connect()
        return self._open[origin]

    def _left(self) -> float:
        left = self._until - self._clock()
        if left <= 0:
            raise TimeoutError("its time is over")
        return left

    def _checked(self, url: str) -> SplitResult:
        """Return an address in its parts, unless a login or an image must not come from there."""
        parts = urlsplit(url)
        is_own = parts.scheme == "http" and parts.hostname == self._name and is_loopback(self._name)
        if (parts.scheme == "https" or is_own) and parts.hostname and "@" not in parts.netloc:
            return parts
        raise PermanentError(
            f"the registry {self.host} points to {url[:200]!r}, which is neither https nor itself"
        )

    def _failure(self, url: str, error: Exception) -> PermanentError | TemporaryError:
        """Return what went wrong on the way as an error of the kind that it is."""
        where = urlsplit(url).netloc
        at = "" if where == self._address else f" at {where}"
        if isinstance(error, Invalid):
            return PermanentError(f"the registry {self.host} cannot be asked{at}: {error.message}")
        if isinstance(error, AnswerTooLarge):
            return PermanentError(f"the registry {self.host} answered{at} with {error}: too much")
        if type(error).__name__ == "SSLCertVerificationError":
            return PermanentError(
                f"the certificate of the registry {self.host}{at} is not trusted ({error}): put "
                f"its authority's into ~/.docker/certs.d/{self.host}/ca.crt, or name that file as "
                "SSL_CERT_FILE"
            )
        reason = "it took too long" if isinstance(error, TimeoutError) else str(error)
        return TemporaryError(
            f"the registry {self.host} does not answer{at}: {reason or type(error).__name__}"
        )


def is_loopback(name: str) -> bool:
    """Tell whether a host is this machine by its own word, not by what a name resolves to."""
    return _LOOPBACK.fullmatch(name) is not None
