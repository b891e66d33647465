"""Signs browsers in and out: by key, or by a one-time link from this machine."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from shipway.domain.errors import Code, Forbidden, ShipwayError
from shipway.server.call import Call, call_in
from shipway.server.errors import STATUS
from shipway.server.gate import form_field
from shipway.server.web.html import page, render


@page
async def form(request: Request) -> Response:
    """Ask for a key."""
    return render(request, "signin.html", next=_next(request.query_params.get("next")), error=None)


@page
async def sign_in(request: Request) -> Response:
    """Begin a session with a key."""
    call = call_in(request.scope)
    key = (form_field(call.body, "key") or "").strip()
    following = _next(form_field(call.body, "next"))
    try:
        cookie = await call.auth.sign_in(key, call.address)
    except ShipwayError as error:
        if error.code not in {Code.UNAUTHENTICATED, Code.RATE_LIMITED, Code.FORBIDDEN}:
            raise
        status = STATUS[error.code]
        return render(request, "signin.html", status, next=following, error=error)
    return _welcome(call, cookie, following)


@page
async def by_link(request: Request) -> Response:
    """Begin a session with a one-time link."""
    call = call_in(request.scope)
    if not _is_loopback(call.address):
        raise Forbidden("a sign-in link works on the server's own machine only: use a key")
    secret, keys = request.path_params["secret"], call.edge.service.keys
    try:
        cookie = await call.edge.write(lambda tx: keys.take_link(tx, secret))
    except ShipwayError as error:
        if error.code is not Code.UNAUTHENTICATED:
            raise
        call.auth.count_wrong(call.address)
        return render(request, "signin.html", STATUS[error.code], next="/", error=error)
    return _welcome(call, cookie, "/")


@page
async def sign_out(request: Request) -> Response:
    """End the session."""
    call = call_in(request.scope)
    assert call.caller is not None
    if call.caller.cookie is not None:
        await call.auth.sign_out(call.caller.cookie)
    answer = RedirectResponse("/signin", 303)
    answer.headers["set-cookie"] = call.auth.cookie_header(None)
    return answer


def _welcome(call: Call, cookie: str, following: str) -> Response:
    answer = RedirectResponse(following, 303)
    answer.headers["set-cookie"] = call.auth.cookie_header(cookie)
    return answer


def _next(path: str | None) -> str:
    """Return where to go after signing in: an address of this server, nothing else."""
    is_own = path is not None and path.startswith("/") and not path.startswith(("//", "/\\"))
    if path is None or not is_own or not path.isprintable() or len(path) > 1_024:
        return "/"
    return path


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
