"""Connects to the server that the settings name, or to the embedded one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shipway import __version__
from shipway.client import Client
from shipway.domain.errors import Code, ShipwayError, Unauthenticated
from shipway.sdk.discovery import HEALTH_TIMEOUT_S, Embedded, find_embedded
from shipway.sdk.home import Home, choose_home
from shipway.sdk.settings import Settings, here, user_config

PROTOCOL = 1  # what this SDK speaks; a server speaks older ones too


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A server that was found, and how to find it again after a restart."""

    client: Client
    settings: Settings
    home: Path | None  # of the embedded server; None for any other
    version: str | None = None  # the embedded server's

    def again(self) -> Connection:
        """Return a connection to the same server, wherever it is now."""
        if self.home is None:
            return self
        found = _look(self.home, self.settings)
        return self if found is None else found


def connect(
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    env: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    say: Callable[[str], None] | None = None,
) -> Connection:
    """Return a connection; the embedded server is started when it is absent.

    One of an older version is replaced while nothing runs on it.

    Raises `ShipwayError` with code `unauthenticated` where an address has no key, and
    `unreachable` where the embedded server is absent and may not be started.
    """
    env = os.environ if env is None else env
    settings = settings or here(base_url=base_url, api_key=api_key)
    if settings.base_url is not None:
        return _to_server(settings.base_url, settings, env)
    chosen = choose_home(env, explicit=settings.home)
    found = _look(chosen.path, settings)
    if found is not None and not (settings.is_autostart and _is_outdated(found)):
        return found
    return _start(chosen, settings, env, say)


def known_address(settings: Settings, env: Mapping[str, str] | None = None) -> str | None:
    """Return the server's address without starting anything; None when nothing is running."""
    if settings.base_url is not None:
        return settings.base_url
    chosen = choose_home(os.environ if env is None else env, explicit=settings.home)
    found = find_embedded(chosen.path, health=lambda server: server.boot_id)
    return found.base_url if found else None


def _to_server(base_url: str, settings: Settings, env: Mapping[str, str]) -> Connection:
    if not settings.api_key:
        raise Unauthenticated(
            f"there is no key for the server at {base_url}: set SHIPWAY_API_KEY, or store one in "
            f"{user_config(env)} with: shipway login"
        )
    client = Client(base_url, settings.api_key)
    return Connection(client=client, settings=settings, home=None)


def _look(home: Path, settings: Settings) -> Connection | None:
    """Return a connection to the embedded server if it is there and answers."""
    made: list[Client] = []

    def ask(server: Embedded) -> str | None:
        client = Client(server.base_url, server.api_key, env={})
        try:
            boot_id = client.health(timeout_s=HEALTH_TIMEOUT_S).get("boot_id")
        except ShipwayError:
            return None
        made.append(client)
        return str(boot_id)

    server = find_embedded(home, health=ask)
    if server is None:
        return None
    if server.protocol > PROTOCOL:
        raise ShipwayError(
            f"the embedded server at {server.base_url} is shipway {server.version}, which is newer "
            f"than this shipway {__version__}: upgrade it, or stop the server with: shipway down",
            code=Code.CONFLICT,
            details={"protocol": server.protocol},
        )
    return Connection(client=made[0], settings=settings, home=home, version=server.version)


def _is_outdated(found: Connection) -> bool:
    """Tell whether an embedded server is older than we are, and nothing runs on it."""
    if found.version in (None, __version__):
        return False
    from shipway.sdk.replacement import is_idle, is_older  # noqa: PLC0415 - after an upgrade

    assert found.version is not None
    return is_older(found.version, __version__) and is_idle(found.client)


def _start(
    chosen: Home, settings: Settings, env: Mapping[str, str], say: Callable[[str], None] | None
) -> Connection:
    from shipway.sdk.autostart import Starter, say_on_stderr  # noqa: PLC0415 - once per machine

    is_default = not (settings.home or env.get("SHIPWAY_HOME"))
    if not settings.is_autostart:
        raise ShipwayError(
            f"no embedded server is running in {chosen.path} and SHIPWAY_AUTOSTART=0: start it "
            "with `shipway up`, or set SHIPWAY_BASE_URL and SHIPWAY_API_KEY",
            code=Code.UNREACHABLE,
            details={"home": str(chosen.path)},
        )
    say = say or say_on_stderr
    if chosen.notice:
        say(chosen.notice)
    starter = Starter(env=env, is_default_home=is_default, say=say)
    ended: list[Connection] = []

    def look() -> Connection | None:
        found = _look(chosen.path, settings)
        if found is None or ended or not _is_outdated(found):
            return found
        from shipway.sdk.replacement import end  # noqa: PLC0415 - after an upgrade

        ended.append(found)
        say(f"shipway: nothing runs on the embedded server of shipway {found.version}: it ends")
        end(chosen.path, env)
        return None

    return starter.start(chosen.path, look)
