"""Serves an application over HTTP until it is told to end."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from functools import partial

import uvicorn

from shipway.server.app import Application
from shipway.server.parent import watch_parent
from shipway.server.protocol import LimitedProtocol
from shipway.server.settings import KEEP_ALIVE_S, Settings

BACKLOG = 4_096
GRACE_S = 10  # for the answers under way once the end is asked for

log = logging.getLogger("shipway.server")


def serve(
    app: Application, listener: socket.socket, settings: Settings, ready: Callable[[], None]
) -> None:
    """Serve on a bound socket until a signal or the parent's end; say when it answers."""
    server = make_server(app, settings, ready)

    def end(*_: object) -> None:
        server.should_exit = True

    # uvicorn's own handlers go over these while it runs, and raise the signal again at its end.
    kept = [(sig, signal.signal(sig, end)) for sig in (signal.SIGTERM, signal.SIGINT)]
    watch_parent(end, fd=settings.parent_fd, pid=settings.parent_pid)
    try:
        log.info("server starts", extra={"fields": {"base_url": app.edge.base_url}})
        server.run(sockets=[listener])
        log.info("server ended", extra={"fields": {}})
    finally:
        for sig, old in kept:
            signal.signal(sig, old)


def make_server(app: Application, settings: Settings, ready: Callable[[], None]) -> uvicorn.Server:
    """Return uvicorn's server, ready to run."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(LimitedProtocol, limits=settings.limits),  # type: ignore[arg-type] # a factory does
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return _Server(config, ready)


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it answers and lets long polls go when it ends."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        assert isinstance(app, Application)
        app.edge.close()
        await super().shutdown(sockets)
