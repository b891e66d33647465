"""HTTP on a socket, with limits on heads, on waiting and on connections."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from shipway.domain.errors import Code, Overloaded, ShipwayError, TooLarge
from shipway.server.errors import error_answer
from shipway.server.settings import Limits

LINE = "shipway.line"  # where the scope holds its connection
REASONS = {408: b"Request Timeout", 413: b"Content Too Large", 503: b"Service Unavailable"}


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself waits for ever and takes heads of any size."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._head = 0  # bytes of the head so far
        self._is_refused = False
        self._is_open = False  # a message has begun and is not complete
        self._discarded = 0
        self._head_timer: TimerHandle | None = None
        self._when_gone: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._cut(Overloaded(f"{self._limits.connections} connections are open already"))
            return
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)
        if self._when_gone is not None:
            self._when_gone()

    @property
    def is_whole(self) -> bool:
        """Whether the last request's body has arrived: reading it will not wait."""
        return not self._is_open

    def when_gone(self, call: Callable[[], None] | None) -> None:
        """Call this once the client has gone; a task that awaits it would cost 2 KB a poll."""
        self._when_gone = call
        if call is not None and self.transport.is_closing():
            call()

    def data_received(self, data: bytes) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        super().data_received(data)
        is_answered = _is_answered(self.cycle)
        if self._is_open and is_answered:  # the rest of a request that was refused
            self._discarded += len(data)
            if self._discarded > self._limits.discard:
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)[LINE] = self
        self._head = 0
        self._discarded = 0
        self._is_open = True
        self._stop_timer()
        self._head_timer = self.loop.call_later(self._limits.head_s, self._head_late)

    def on_url(self, url: bytes) -> None:
        self._head += len(url)
        if self._head <= self._limits.head:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value) + 4
        if self._head <= self._limits.head:
            super().on_header(name, value)
        elif not self._is_refused:
            self._cut(TooLarge(f"the request's head is over {self._limits.head} bytes"))

    def on_headers_complete(self) -> None:
        self._stop_timer()
        if self._head > self._limits.head and not self._is_refused:
            self._cut(TooLarge(f"the request's address is over {self._limits.head} bytes"))
        if not self._is_refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_open = False
        if not self._is_refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_open and self.timeout_keep_alive_task is not None:
            # The rest of a refused body may come, but not slower than a head may.
            self._unset_keepalive_if_required()
            self._stop_timer()
            self._head_timer = self.loop.call_later(self._limits.body_s, self._rest_late)

    def _rest_late(self) -> None:
        if self._is_open and not self.transport.is_closing():
            self.transport.close()

    def _head_late(self) -> None:
        text = f"the request's head did not arrive within {self._limits.head_s:g} seconds"
        self._cut(ShipwayError(text, code=Code.TOO_SLOW))

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cut(self, error: ShipwayError) -> None:
        """Answer below ASGI, for what never becomes a request, and close."""
        self._is_refused = True
        self._stop_timer()
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        is_quiet = cycle is None or cycle.response_complete
        if not self.transport.is_closing() and is_quiet:
            self.transport.write(_raw_answer(error))
        self.transport.close()


def _is_answered(cycle: RequestResponseCycle | None) -> bool:
    return cycle is not None and cycle.response_complete


def _raw_answer(error: ShipwayError) -> bytes:
    status, body, headers = error_answer(error)
    lines = [b"HTTP/1.1 %d %s" % (status, REASONS.get(status, b"Error"))]
    lines += [name + b": " + value for name, value in headers if name != b"connection"]
    lines += [b"content-length: %d" % len(body), b"connection: close", b"", body]
    return b"\r\n".join(lines)
