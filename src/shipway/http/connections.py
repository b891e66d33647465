"""Opens connections to one server, each thread its own."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from shipway.domain.errors import Invalid
from shipway.http.proxies import Proxy, proxy_for

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Certificates beside those that this machine trusts anyway."""

    authorities: tuple[Path, ...] = ()  # files of certificates in PEM
    client: tuple[Path, Path] | None = None  # certificate and key that we show ourselves


class Connections:
    """Keep-alive connections of one address, one for each thread."""

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float,
        env: Mapping[str, str],
        trust: Trust | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise Invalid(
                f"the server's address {base_url!r} is not http://HOST:PORT or https://HOST",
                field="base_url",
                value=base_url,
            )
        self.is_tls = parts.scheme == "https"
        self.host = parts.hostname
        self.port = port or (443 if self.is_tls else 80)
        self.prefix = parts.path.rstrip("/")
        self.proxy = proxy_for(parts.scheme, self.host, self.port, env)
        self._env = env
        self._trust = trust
        self._connect_timeout_s = connect_timeout_s
        self._tls: ssl.SSLContext | None = None
        self._local = threading.local()

    def take(self) -> HTTPConnection:
        """Return this thread's connection, made anew after a fork; it may not be open yet."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is None or held.pid != os.getpid():
            held = self._local.held = _Held(os.getpid(), self.make())
        return held.connection

    def drop(self) -> None:
        """Close this thread's connection; the next `take` opens another."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is not None:
            self._local.held = None
            held.connection.close()

    def make(self) -> HTTPConnection:
        """Return a connection that nobody else uses, not yet open."""
        host, port = (self.proxy.host, self.proxy.port) if self.proxy else (self.host, self.port)
        if not self.is_tls:
            return HTTPConnection(host, port, timeout=self._connect_timeout_s)
        connection = HTTPSConnection(
            host, port, timeout=self._connect_timeout_s, context=self._context()
        )
        if self.proxy:
            connection.set_tunnel(self.host, self.port, headers=proxy_headers(self.proxy))
        return connection

    def target(self, path: str) -> str:
        """Return what the request line names: the whole address where a proxy forwards it."""
        if self.proxy and not self.is_tls:
            return f"http://{self._authority()}{self.prefix}{path}"
        return self.prefix + path

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """The headers that the way to the server needs."""
        needed = {"Host": self._authority(), "Accept-Encoding": "identity"}
        if self.proxy and not self.is_tls:
            needed |= proxy_headers(self.proxy)
        return needed

    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            import ssl  # noqa: PLC0415 - most servers are reached without TLS, and it is slow

            context = ssl.create_default_context()  # it reads SSL_CERT_FILE and SSL_CERT_DIR
            bundle = self._env.get("REQUESTS_CA_BUNDLE") or self._env.get("CURL_CA_BUNDLE")
            if bundle and not self._env.get("SSL_CERT_FILE"):
                _add(context, Path(bundle), "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE")
            if self._trust is not None:
                for path in self._trust.authorities:
                    _add(context, path, f"of {self.host}")
                _show(context, self._trust.client)
            self._tls = context
        return self._tls


def _add(context: ssl.SSLContext, path: Path, whose: str) -> None:
    """Trust the certificates of a file or folder; raise `Invalid` where it has none."""
    is_folder = path.is_dir()
    try:
        context.load_verify_locations(
            cafile=None if is_folder else path, capath=path if is_folder else None
        )
    except OSError as error:
        raise Invalid(
            f"the certificates in {path} ({whose}) cannot be used: {error}",
            field="REQUESTS_CA_BUNDLE",
            value=str(path),
        ) from None


def _show(context: ssl.SSLContext, pair: tuple[Path, Path] | None) -> None:
    """Let a server see who we are; raise `Invalid` where certificate and key are none."""
    if pair is None:
        return
    try:
        context.load_cert_chain(*pair)
    except OSError as error:
        raise Invalid(
            f"the certificate {pair[0]} with its key cannot be used: {error}",
            field="certificate",
            value=str(pair[0]),
        ) from None


class _Held:
    """A thread's connection, closed when nothing refers to it any more: its thread ended."""

    __slots__ = ("__weakref__", "connection", "pid")

    def __init__(self, pid: int, connection: HTTPConnection) -> None:
        self.pid = pid
        self.connection = connection
        # not `__del__`: in a cycle of garbage the socket would complain before that is called
        weakref.finalize(self, connection.close)


def proxy_headers(proxy: Proxy) -> dict[str, str]:
    """Return the header with which a proxy lets its users through."""
    if proxy.user is None:
        return {}
    import base64  # noqa: PLC0415 - few proxies want a password

    pair = f"{proxy.user}:{proxy.password or ''}".encode()
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair).decode()}
