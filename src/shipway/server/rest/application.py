"""Makes the REST application of the table of routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.routing import Route as PlainRoute

from shipway import __version__
from shipway.domain.actor import Role
from shipway.domain.errors import Code, Forbidden, Invalid, ShipwayError, Unauthenticated
from shipway.server.auth import NO_KEY
from shipway.server.call import call_in
from shipway.server.errors import error_answer
from shipway.server.gate import ROUTE, App, Receive, Send
from shipway.server.rest.routes import ROUTES, Route


def rest_application(pages: Sequence[BaseRoute]) -> FastAPI:
    """Return FastAPI with every route that is not hot, and the pages behind them."""
    app = FastAPI(
        title="shipway",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,  # a JSON body may come without saying so
    )
    for route in ROUTES:
        if not route.is_hot:
            app.add_api_route(
                route.path,
                route.handler,
                methods=[route.method],
                status_code=route.status,
                summary=route.summary,
                operation_id=operation_id(route),
                dependencies=[Depends(_guard(route))],
            )
    app.router.routes.extend(pages)
    app.add_exception_handler(ShipwayError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_fault)
    return app


class HotRoutes:
    """The routes in front of everything else: found by a table, without any middleware.

    They are the hot ones of REST, and those of the wandb client, which has no others.
    """

    def __init__(self, rest: App, plain: Sequence[PlainRoute]) -> None:
        self._rest = rest
        hot = [
            _Hot(PlainRoute(route.path, route.handler, methods=[route.method]), route.roles)
            for route in ROUTES
            if route.is_hot
        ]
        routes = [*hot, *(_Hot(route, frozenset()) for route in plain)]
        self._fixed = {one.route.path: one for one in routes if "{" not in one.route.path}
        self._others = [one for one in routes if "{" in one.route.path]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request to its hot route, or on to the rest."""
        hot = self._find(scope)
        if hot is None:
            await self._rest(scope, receive, send)
            return
        path = hot.route.path
        scope[ROUTE] = path
        request = Request(scope, receive)
        check_role(request, path, hot.roles)
        response: Response = await hot.route.endpoint(request)
        await response(scope, receive, send)

    def _find(self, scope: MutableMapping[str, Any]) -> _Hot | None:
        hot = self._fixed.get(scope["path"])
        if hot is not None and scope["method"] in (hot.route.methods or ()):
            return hot
        for other in self._others:
            match, found = other.route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                return other
        return None


@dataclass(frozen=True, slots=True)
class _Hot:
    route: PlainRoute
    roles: frozenset[Role]


def operation_id(route: Route) -> str:
    """Return a route's name in the OpenAPI document."""
    module = route.handler.__module__.rpartition(".")[2]
    return f"{module}_{route.handler.__name__}"


def check_role(request: Request, path: str, roles: frozenset[Role]) -> None:
    """Raise `Forbidden` unless the caller's role may use the route."""
    caller = call_in(request.scope).caller
    if not roles:
        return
    if caller is None:
        raise Unauthenticated(NO_KEY)
    if caller.actor.role not in roles:
        allowed = ", ".join(sorted(roles))
        raise Forbidden(
            f"a key with the role {caller.actor.role} may not use {path} (roles: {allowed})"
        )


def _guard(route: Route) -> Callable[[Request], Awaitable[None]]:
    async def guard(request: Request) -> None:
        check_role(request, route.path, route.roles)

    return guard


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ShipwayError)
    status, body, headers = error_answer(error)
    pairs = {name.decode(): value.decode() for name, value in headers}
    return Response(body, status, headers=pairs)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", first["msg"])
        return await _on_error(request, Invalid(f"the body is not JSON: {reason}", field="body"))
    where = [str(part) for part in first["loc"] if part not in {"body", "query", "path"}]
    field = ".".join(where) or "body"
    refusal = Invalid(f"{field}: {first['msg']}", field=field, value=first.get("input"))
    return await _on_error(request, refusal)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.scope["path"][:200]
    if error.status_code == 404:
        unknown = ShipwayError(f"there is no address {path!r} here", code=Code.NO_ROUTE)
        return await _on_error(request, unknown)
    if error.status_code == 405:
        method = request.method
        unknown = ShipwayError(f"{path!r} does not take {method}", code=Code.NO_ROUTE)
        answer = await _on_error(request, unknown)
        answer.status_code = 405
        return answer
    return await _on_error(request, Invalid(str(error.detail), field="body"))


async def _on_fault(request: Request, _: Exception) -> Response:
    """Answer a bug; it is raised again, and the gate writes it down."""
    return await _on_error(request, ShipwayError("a fault of the server itself; its log says more"))
