"""Answers what a run's client saw on its terminal, by pages or from the end."""

from __future__ import annotations

from typing import Any

from shipway.domain.console import ConsoleLine
from shipway.domain.errors import Invalid
from shipway.server.console import console_lines
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate import LEVELS, time_of
from shipway.service.runs import RunView

PAGE = 1_000  # lines, where the client does not say
PAGE_LIMIT = 10_000


async def log_lines(
    view: RunView,
    info: Info,
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    **_: object,
) -> dict[str, Any]:
    """Return lines by their numbers: the first ones after a cursor, or the last ones."""
    lines = await console_lines(info.context, view)
    size = min(max(last if last is not None else PAGE if first is None else first, 0), PAGE_LIMIT)
    if last is not None:
        shown = list(lines)[max(len(lines) - size, 0) :]
        is_more = False
    else:
        start = _number(after)
        rest = [number for number in lines if number > start]
        shown, is_more = rest[:size], len(rest) > size
    edges = [{"node": _node(number, lines[number]), "cursor": str(number)} for number in shown]
    end = edges[-1]["cursor"] if edges else None
    return {"edges": edges, "pageInfo": {"endCursor": end, "hasNextPage": is_more}}


def _number(after: str | None) -> int:
    if not after:
        return -1
    if not after.isdecimal():
        raise Invalid("after must be a cursor of an earlier page", field="after", value=after)
    return int(after)


def _node(number: int, line: ConsoleLine) -> dict[str, Any]:
    return {
        "number": number,
        "timestamp": time_of(line.at or None),
        "level": LEVELS[line.stream],
        "label": "",
        "line": line.text,
    }


RESOLVERS: Resolvers = {"Run": {"logLines": log_lines}}
