"""Wires one server together: store, blobs, service, waits, routes and pages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sys
import time
from collections.abc import Callable, MutableMapping
from functools import partial
from random import SystemRandom
from typing import Any

from shipway import schemas
from shipway.domain.disk import Room
from shipway.server.access_log import AccessLog
from shipway.server.auth import Auth
from shipway.server.body import BodyRule
from shipway.server.chores import Chores
from shipway.server.edge import Edge
from shipway.server.files.application import file_routes
from shipway.server.gate import GRAPHQL_PATH, Gate, Receive, Send
from shipway.server.graphql.application import graphql_routes
from shipway.server.hints import Hints
from shipway.server.rest.application import HotRoutes, rest_application
from shipway.server.rest.openapi import openapi
from shipway.server.rest.routes import body_rule
from shipway.server.settings import Limits, Settings
from shipway.server.signed import PREFIX as SIGNED
from shipway.server.tidying import Tidying
from shipway.server.web.html import environment
from shipway.server.web.pages import page_routes
from shipway.service.ports import Clock, LargeBlobs, Store
from shipway.service.wiring import Service

log = logging.getLogger("shipway.server")


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        """Return ms UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> int:
        """Return ms of the boot clock, which counts a suspend too."""
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        return time.clock_gettime_ns(clock) // 1_000_000


class Application:
    """One server as an ASGI application; its lifespan starts and ends the chores."""

    def __init__(
        self,
        *,
        edge: Edge,
        gate: Gate,
        access: AccessLog,
        holds_upkeep: Callable[[], bool],
        room: Callable[[], Room] | None = None,
    ) -> None:
        self._room = room
        self.edge = edge
        self._gate = gate
        self._access = access
        self._holds_upkeep = holds_upkeep
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass requests to the gate; start and stop with the server."""
        if scope["type"] == "http":
            await self._gate(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def start(self) -> None:
        """Begin: lease time first, then wake-ups and chores."""
        loop = asyncio.get_running_loop()
        hints = Hints(edge=self.edge, settler=self.edge.open(loop))
        chores = Chores(self.edge, holds_upkeep=self._holds_upkeep)
        await chores.start()
        self.edge.signer.begin(await self.edge.write(self.edge.service.keys.signing_key))
        await hints.look()
        self.edge.store.subscribe(hints.take)
        self.edge.store.before_commit(self.edge.claims)
        tidying = Tidying(self.edge, holds_upkeep=self._holds_upkeep, room=self._room)
        await tidying.look()
        runs = (hints.run(), chores.run(), tidying.run())
        self._tasks = [loop.create_task(run) for run in runs]

    async def stop(self) -> None:
        """End: every wait is answered, chores end, the store closes."""
        self.edge.close()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._access.flush()
        self.edge.shut()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except Exception as error:  # the outermost loop: uvicorn wants to hear of it
            log.exception("the server did not start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})


def build_app(
    settings: Settings,
    store: Store,
    blobs: LargeBlobs,
    *,
    base_url: str,
    clock: Clock | None = None,
    service: Service | None = None,
    holds_upkeep: Callable[[], bool] = lambda: True,
    room: Callable[[], Room] | None = None,
) -> Application:
    """Return the application; nothing works before its lifespan begins."""
    clock = clock or SystemClock()
    service = service or build_service(clock)
    edge = Edge(
        settings=settings,
        base_url=base_url,
        boot_id=secrets.token_hex(8),
        store=store,
        blobs=blobs,
        service=service,
        clock=clock,
    )
    auth = Auth(edge, is_tls=base_url.startswith("https://"))
    access = AccessLog(sys.stderr)
    rest = rest_application(page_routes())
    rest.state.openapi = openapi(rest)
    rest.state.templates = environment()
    gate = Gate(
        edge=edge,
        auth=auth,
        app=HotRoutes(rest, [*graphql_routes(), *file_routes()]),
        rule_of=partial(_body_rule, settings.limits),
        access=access,
    )
    return Application(edge=edge, gate=gate, access=access, holds_upkeep=holds_upkeep, room=room)


def _body_rule(limits: Limits, method: str, path: str) -> BodyRule:
    """Return what an address takes; those of the wandb client take more than most."""
    if path == GRAPHQL_PATH:
        return BodyRule(limit=limits.graphql_body, is_json=True)
    if path.startswith(SIGNED):
        return BodyRule(limit=limits.file_body, is_json=False, is_streamed=True)
    if path.startswith("/files/"):
        return BodyRule(limit=limits.stream_body, is_json=True)
    return body_rule(limits, method, path)


def build_service(clock: Clock) -> Service:
    """Return the service with the shipped schemas."""
    return Service.build(
        clock=clock, random=SystemRandom(), schemas=schemas.shipped(), check=schemas.check
    )
