"""Says which proxy leads to a host, by the usual environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from shipway.domain.errors import Invalid

_LOOPBACK = ("localhost", "::1", "0:0:0:0:0:0:0:1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A forward proxy."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None


def proxy_for(scheme: str, host: str, port: int, env: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for an address, or None: loopback never goes through one."""
    if host in _LOOPBACK or host.startswith("127."):
        return None
    if _is_excepted(host, port, _value(env, "no_proxy")):
        return None
    address = _value(env, f"{scheme}_proxy") or _value(env, "all_proxy")
    if not address:
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme != "http" or not parts.hostname:
        raise Invalid(
            f"the proxy {parts.scheme}://{parts.hostname}:{parts.port} of {scheme.upper()}_PROXY "
            "cannot be used: use http://HOST:PORT",
            field=f"{scheme.upper()}_PROXY",
        )
    return Proxy(
        host=parts.hostname,
        port=parts.port or 80,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


def _value(env: Mapping[str, str], name: str) -> str:
    return env.get(name) or env.get(name.upper()) or ""


def _is_excepted(host: str, port: int, no_proxy: str) -> bool:
    name = host.lower()
    for word in no_proxy.lower().replace(",", " ").split():
        pattern, colon, wanted_port = word.rpartition(":")
        if not colon or not wanted_port.isdigit():
            pattern, wanted_port = word, ""
        if wanted_port and int(wanted_port) != port:
            continue
        pattern = pattern.lstrip("*").lstrip(".")
        if not pattern or name == pattern or name.endswith("." + pattern):
            return True
    return False
