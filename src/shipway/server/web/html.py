"""Renders templates: every value is text unless a template says otherwise, and none does."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from shipway import __version__
from shipway.domain.errors import Code, ShipwayError
from shipway.server.call import call_in
from shipway.server.errors import STATUS
from shipway.server.web.ansi import pieces

BRIEF_KEYS = 4  # of a summary in a table
BRIEF_TEXT = 40  # characters of one of its values

Handler = Callable[[Request], Awaitable[Response]]


def environment() -> Environment:
    """Return the templates with the filters that they use."""
    found = Environment(
        loader=PackageLoader("shipway.server.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["when"] = when
    found.filters["span"] = span
    found.filters["pretty"] = pretty
    found.filters["pieces"] = pieces
    found.filters["number"] = number
    found.filters["brief"] = brief
    found.filters["parted"] = parted
    found.globals["version"] = __version__
    return found


def render(request: Request, name: str, status: int = 200, **values: Any) -> Response:
    """Return a page."""
    call = call_in(request.scope)
    templates: Environment = request.app.state.templates
    text = templates.get_template(name).render(
        **values,
        actor=call.caller.actor if call.caller else None,
        csrf=call.caller.session.csrf if call.caller and call.caller.session else "",
    )
    return Response(text, status, media_type="text/html")


def page(handler: Handler) -> Handler:
    """Answer errors of a page with a page."""

    @wraps(handler)
    async def shown(request: Request) -> Response:
        try:
            return await handler(request)
        except ShipwayError as error:
            if error.code is Code.UNAUTHENTICATED:
                raise
            return render(request, "error.html", STATUS[error.code], error=error)

    return shown


def when(at: int | None) -> str:
    """Return a time for people, UTC."""
    if at is None:
        return "-"
    try:
        return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return str(at)


def span(ms: int | None) -> str:
    """Return a duration for people."""
    if ms is None:
        return "-"
    seconds = max(0, ms) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{minutes // 60} h {minutes % 60} min"


def pretty(value: object) -> str:
    """Return JSON for people."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str)


def number(value: float) -> str:
    """Return a number in few digits."""
    return f"{value:.6g}"


def parted(summary: Mapping[str, Any]) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Return a summary's values as the program named them, and those that its client added."""
    own = [pair for pair in summary.items() if not pair[0].startswith("_")]
    return own, [pair for pair in summary.items() if pair[0].startswith("_")]


def brief(summary: Mapping[str, Any]) -> str:
    """Return the first values of a summary in one line."""
    own, _ = parted(summary)
    return ", ".join(f"{key} {_short(value)}" for key, value in own[:BRIEF_KEYS])


def _short(value: object) -> str:
    text = number(value) if isinstance(value, float) else str(value)
    return text if len(text) <= BRIEF_TEXT else text[: BRIEF_TEXT - 1] + "…"
