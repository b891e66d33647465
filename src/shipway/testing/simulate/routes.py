"""Takes a simulated request to the handler of its route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from shipway.domain.errors import Code, ShipwayError
from shipway.server.auth import Auth, Caller
from shipway.server.call import KEY
from shipway.server.call import Call as Asked
from shipway.server.edge import Edge
from shipway.server.protocol import LINE
from shipway.server.rest import adds, agents, items, leases, logs
from shipway.server.rest.bodies import AgentBody, PriorityBody, StopBody
from shipway.testing.simulate.memory import ANN
from shipway.testing.simulate.network import Call

_CALLER = Caller(actor=ANN)
_encode = msgspec.json.Encoder().encode


class Line:
    """A request's connection, as far as a handler looks at it."""

    def __init__(self) -> None:
        self._is_gone = False
        self._when_gone: Callable[[], None] | None = None

    def when_gone(self, call: Callable[[], None] | None) -> None:
        """Call this once the client has gone."""
        self._when_gone = call
        if call is not None and self._is_gone:
            call()

    def leave(self) -> None:
        """Take note that the client has gone."""
        self._is_gone = True
        if self._when_gone is not None:
            self._when_gone()


async def dispatch(edge: Edge, call: Call, line: Line) -> Response:
    """Answer a request; `ShipwayError` where it is refused."""
    body = call.body
    hot = _HOT.get(call.route)
    if hot is not None:
        return await hot(_request(edge, _encode(body), line))
    item = body.get("item", "")
    if call.route == "append":
        path = {"item_id": item, "name": body["name"]}
        query = "&".join(f"{key}={body[key]}" for key in ("attempt", "offset"))
        headers = {b"shipway-token": body["token"].encode()}
        return await logs.append(
            _request(edge, body["packed"], line, path=path, query=query, headers=headers)
        )
    if call.route == "pin":
        raw = _encode({"token": body["token"], "lock": body["lock"]})
        return await leases.pin(_request(edge, raw, line, path={"item_id": item}))
    headers = {b"idempotency-key": body["key"].encode()} if body.get("key") else {}
    asked = _asked(edge, b"", headers)
    if call.route == "add":
        raw = _encode(body["draft"])
        return await adds.add(_request(edge, raw, line, headers=headers))
    cold = _COLD.get(call.route)
    if cold is None:
        raise ShipwayError(f"no route {call.route}", code=Code.NO_ROUTE)
    return await cold(asked, item, body)


def tokens_of(call: Call) -> frozenset[str] | None:
    """Return the leases that a request speaks for; None for one that needs none."""
    body = call.body
    if call.route == "lease" and body.get("held") is None:
        return frozenset(report["token"] for report in body["reports"])
    if call.route == "renew":
        return frozenset(lease["token"] for lease in body["leases"])
    if call.route == "report":
        return frozenset(report["token"] for report in body["reports"])
    if call.route in {"append", "pin"}:
        return frozenset({body["token"]})
    return None


def _asked(edge: Edge, body: bytes, headers: dict[bytes, bytes]) -> Asked:
    return Asked(
        edge=edge, auth=cast(Auth, None), caller=_CALLER, address="", headers=headers, body=body
    )


def _request(
    edge: Edge, body: bytes, line: Line, *, path: dict[str, Any] | None = None, query: str = "",
    headers: dict[bytes, bytes] | None = None,
) -> Request:  # fmt: skip
    return Request(
        {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": [],
            "path_params": path or {},
            "query_string": query.encode(),
            KEY: _asked(edge, body, headers or {}),
            LINE: line,
        }
    )


async def _stop(call: Asked, item: str, body: dict[str, Any]) -> Response:
    return await items.stop(call, item, StopBody(grace_s=body.get("grace_s")))


async def _set_priority(call: Asked, item: str, body: dict[str, Any]) -> Response:
    return await items.set_priority(call, item, PriorityBody(priority=body["priority"]))


async def _delete(call: Asked, item: str, _: dict[str, Any]) -> Response:
    return await items.delete(call, item)


async def _retry(call: Asked, item: str, _: dict[str, Any]) -> Response:
    return await items.retry(call, item)


async def _wait(call: Asked, item: str, body: dict[str, Any]) -> Response:
    return await items.wait(call, item, "ended", body["timeout_s"])


async def _register(call: Asked, _: str, body: dict[str, Any]) -> Response:
    return await agents.register(call, AgentBody(**body["agent"]))


_Hot = Callable[[Request], Awaitable[Response]]
_Cold = Callable[[Asked, str, dict[str, Any]], Awaitable[Response]]
_HOT: dict[str, _Hot] = {"lease": leases.lease, "renew": leases.renew, "report": leases.report}
_COLD: dict[str, _Cold] = {
    "stop": _stop,
    "priority": _set_priority,
    "delete": _delete,
    "retry": _retry,
    "wait": _wait,
    "register": _register,
}
