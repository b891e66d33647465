"""The outermost door: every request passes here, known or refused, measured and logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs, quote

from shipway.domain.errors import Code, Forbidden, NotFound, ShipwayError
from shipway.server.access_log import AccessLog
from shipway.server.auth import Auth, Caller, check_change, check_origin
from shipway.server.body import Bodies, BodyRule, check_depth, content_length
from shipway.server.call import KEY, Call
from shipway.server.edge import Edge
from shipway.server.errors import error_answer
from shipway.server.protocol import LINE
from shipway.server.signed import PREFIX as SIGNED

log = logging.getLogger("shipway.server")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

ROUTE = "shipway.route"  # where the scope holds the template of a hot route
WHO = "shipway.who"  # where the scope holds the caller's name, for the access log
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_PATHS = frozenset({"/healthz", "/signin"})
OPEN_PREFIXES = ("/signin/link/", "/static/")
# Newer wandb clients ask without a key whether their telemetry is taken: all but a 404 says yes,
# and what they then cannot send is an error in the log of a user's program.
TELEMETRY_PREFIX = "/sdk/otel/"
LINK_PREFIX = "/signin/link/"  # what follows is a secret
GRAPHQL_PATH = "/graphql"  # its clients look for errors in a form of their own
FORM = b"application/x-www-form-urlencoded"
CSP = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    b"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", CSP),
]


RuleOf = Callable[[str, str], BodyRule]  # of a method and a path


class Gate:
    """Identifies, limits, passes on, and answers every error in the one form."""

    def __init__(
        self, *, edge: Edge, auth: Auth, app: App, rule_of: RuleOf, access: AccessLog
    ) -> None:
        self._edge = edge
        self._auth = auth
        self._app = app
        self._rule_of = rule_of
        self._access = access
        self._bodies = Bodies(edge.settings.limits)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter_ns()
        client = scope.get("client")
        address = client[0] if client else ""
        reply = _Reply(send)
        try:
            await self._pass(scope, receive, reply, address)
        except ShipwayError as error:
            await self._refuse(scope, reply, error)
        except Exception:  # the outermost loop of a request: anything here is a bug
            log.exception("request failed", extra={"fields": {"path": _log_path(scope)}})
            fault = ShipwayError("a fault of the server itself; its log says more")
            await self._refuse(scope, reply, fault)
        method = scope["method"]
        self._edge.metrics.requests[_route_of(scope), method, reply.status] += 1
        took_us = (time.perf_counter_ns() - began) // 1000
        now = self._edge.clock.now()
        label = scope.get(WHO, "-")
        self._access.note((now, method, _log_path(scope), reply.status, took_us, label, address))

    async def _pass(
        self, scope: MutableMapping[str, Any], receive: Receive, reply: _Reply, address: str
    ) -> None:
        headers = dict(scope["headers"])
        method, path = scope["method"], scope["path"]
        if path.startswith(TELEMETRY_PREFIX):
            raise NotFound("shipway takes no telemetry of clients")
        is_open = path in OPEN_PATHS or path.startswith((*OPEN_PREFIXES, SIGNED))
        caller: Caller | None = None
        if path.startswith(SIGNED):
            self._edge.signer.read(method, path)  # before a byte of the body is taken
        elif not is_open:
            caller = await self._auth.identify(headers, address)
            scope[WHO] = caller.actor.label
        body, held, is_json, is_streamed = b"", 0, False, False
        if method not in SAFE_METHODS or b"content-length" in headers:
            rule = self._rule_of(method, path)
            is_json, is_streamed = rule.is_json, rule.is_streamed
            if is_streamed:
                content_length(headers, rule.limit)
            else:
                is_whole = scope[LINE].is_whole
                body, held = await self._bodies.take(
                    receive, headers, limit=rule.limit, is_whole=is_whole
                )
        try:
            if is_json:
                check_depth(body, self._edge.settings.limits.json_depth)
            if method not in SAFE_METHODS:
                self._check_change(caller, headers, body, is_open=is_open)
            scope[KEY] = Call(
                edge=self._edge,
                auth=self._auth,
                caller=caller,
                address=address,
                headers=headers,
                body=body,
            )
            await self._app(scope, receive if is_streamed else _replay(body, receive), reply)
        finally:
            if held:
                self._bodies.give_back(held)

    def _check_change(
        self, caller: Caller | None, headers: dict[bytes, bytes], body: bytes, *, is_open: bool
    ) -> None:
        if is_open:
            if b"origin" in headers:
                check_origin(headers)
            return
        assert caller is not None
        if caller.session is not None:
            form_token = None
            if headers.get(b"content-type", b"").startswith(FORM):
                form_token = form_field(body, "csrf")
            check_change(caller, headers, form_token)

    async def _refuse(
        self, scope: MutableMapping[str, Any], reply: _Reply, error: ShipwayError
    ) -> None:
        if reply.status:
            return  # the answer has begun: it can only be cut
        if error.code is Code.UNAUTHENTICATED and _is_page(scope):
            here = quote(scope["path"], safe="/:@")
            location = f"/signin?next={here}".encode()
            await reply.answer(303, b"", [(b"location", location)])
            return
        status, body, headers = error_answer(error, is_graphql=scope["path"] == GRAPHQL_PATH)
        await reply.answer(status, body, headers)


class _Reply:
    """The sending side: adds the headers that every answer has, and keeps the status."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message["headers"] = headers + HEADERS
        await self._send(message)

    async def answer(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a whole answer."""
        length = (b"content-length", str(len(body)).encode())
        await self({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await self({"type": "http.response.body", "body": body})


def form_field(body: bytes, name: str) -> str | None:
    """Return a field of a posted form."""
    try:
        values = parse_qs(body.decode("utf-8", "replace"), max_num_fields=100)
    except ValueError:
        raise Forbidden("the form has too many fields") from None
    return next(iter(values.get(name, ())), None)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once more to whoever reads it; then listen on for the client's leaving."""
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _is_page(scope: Mapping[str, Any]) -> bool:
    if scope["method"] not in {"GET", "HEAD"} or scope["path"].startswith("/api/"):
        return False
    accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    return b"text/html" in accept


def _log_path(scope: Mapping[str, Any]) -> str:
    path: str = scope["path"]
    for secret in (LINK_PREFIX, SIGNED):
        if path.startswith(secret):
            return secret + "…"
    return path[:512]


def _route_of(scope: Mapping[str, Any]) -> str:
    """Return the route's template, a closed set: addresses would grow the metrics for ever."""
    route = scope.get(ROUTE)
    if route is None:
        path = getattr(scope.get("route"), "path", None)
        route = path if isinstance(path, str) else "other"
    return str(route)


def unknown_address(scope: Mapping[str, Any]) -> ShipwayError:
    """Return the error for an address that is none of this server's."""
    return ShipwayError(f"there is no address {scope['path'][:200]!r} here", code=Code.NO_ROUTE)
