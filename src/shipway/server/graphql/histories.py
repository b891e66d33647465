"""Answers what runs logged: whole, by pages of steps, and in samples."""

from __future__ import annotations

import json
from typing import Any

from shipway.domain.errors import Invalid
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.service.run_history import Spec
from shipway.service.runs import RunView

SAMPLES = 500  # rows, where the client does not say
SPECS_LIMIT = 50


async def history(
    view: RunView,
    info: Info,
    *,
    minStep: object = None,  # noqa: N803 - the schema's name
    maxStep: object = None,  # noqa: N803 - the schema's name
    samples: int | None = None,
) -> list[str]:
    """Return rows as JSON: a page of steps, or a sample of all."""
    call = info.context
    rows = call.edge.service.history
    limit = SAMPLES if samples is None else samples
    first, end = _bound("minStep", minStep), _bound("maxStep", maxStep)
    if first is None and end is None:
        return await call.edge.read(lambda tx: rows.sample(tx, view.run, limit=limit))
    return await call.edge.read(lambda tx: rows.page(tx, view.run, min_step=first, max_step=end))


async def events(view: RunView, info: Info, *, samples: int | None = None) -> list[str]:
    """Return a sample of the machine's metrics, as JSON."""
    call = info.context
    limit = SAMPLES if samples is None else samples
    rows = call.edge.service.history
    return await call.edge.read(lambda tx: rows.system(tx, view.run, limit=limit))


async def sampled_history(
    view: RunView, info: Info, *, specs: list[str]
) -> list[list[dict[str, Any]]]:
    """Return, for each spec, rows that have all of its keys, and of them only these."""
    call = info.context
    asked = [_spec(text) for text in specs[:SPECS_LIMIT]]
    rows = call.edge.service.history
    return await call.edge.read(lambda tx: [rows.of_keys(tx, view.run, spec) for spec in asked])


async def history_keys(view: RunView, info: Info) -> dict[str, Any]:
    """Return the last step, and which keys were logged."""
    call = info.context
    last = await call.edge.read(lambda tx: call.edge.service.history.last_step(tx, view.run))
    keys = {
        key: {"typeCounts": [{"type": _type(value), "count": view.run.history_size}]}
        for key, value in view.run.summary.items()
    }
    return {"lastStep": last, "sets": [], "keys": keys}


async def history_line_count(view: RunView, info: Info) -> int:
    """Return the number that a client's next line gets."""
    call = info.context
    return await call.edge.read(lambda tx: call.edge.service.history.next_line(tx, view.run))


async def system_metrics(view: RunView, info: Info) -> str | None:
    """Return the machine's metrics as they were last."""
    call = info.context
    return await call.edge.read(lambda tx: call.edge.service.history.last_system(tx, view.run))


def parquet_history(_view: RunView, _info: Info, **_: object) -> dict[str, Any]:
    """Say that all rows are live: clients that look for exported ones go on to `history`."""
    return {"parquetUrls": [], "liveData": []}


async def history_tail(view: RunView, info: Info) -> str:
    """Return the last row, as a resumed client takes up its step from it."""
    call = info.context

    last = await call.edge.read(lambda tx: call.edge.service.history.last(tx, view.run))
    return json.dumps([] if last is None else [last])


async def events_tail(view: RunView, info: Info) -> str:
    """Return the last line of the machine's metrics."""
    last = await system_metrics(view, info)
    return json.dumps([] if last is None else [last])


async def events_line_count(view: RunView, info: Info) -> int:
    """Return how many lines of the machine's metrics there are."""
    call = info.context
    return await call.edge.read(lambda tx: call.edge.service.history.system_size(tx, view.run))


async def log_line_count(view: RunView, info: Info) -> int:
    """Return how many lines of the console there are."""
    call = info.context
    return await call.edge.read(lambda tx: call.edge.service.history.console_size(tx, view.run))


def _spec(text: str) -> Spec:
    try:
        value = json.loads(text)
        keys = tuple(str(key) for key in value.get("keys", ()))
        max_step = _whole(value.get("maxStep"))
        if max_step is not None and keys.count("_step") > 1:
            max_step += 1  # newer clients count their last step in, and add `_step` once more
        return Spec(
            keys=keys,
            min_step=_whole(value.get("minStep")),
            max_step=max_step,
            limit=_whole(value.get("samples")) or SAMPLES,
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise Invalid("a spec is a JSON object with keys", field="specs", value=text) from None


def _bound(name: str, step: object) -> int | None:
    if step is None or (isinstance(step, int) and abs(step) < 1 << 62):
        return step
    raise Invalid(f"{name} must be a whole number of 62 bits", field=name, value=step)


def _whole(value: object) -> int | None:
    if not isinstance(value, int | float) or not abs(value) < 1 << 62:
        return None
    return int(value)


def _type(value: object) -> str:
    if isinstance(value, bool | str):
        return "string"
    return "number" if isinstance(value, int | float) else "map"


RESOLVERS: Resolvers = {
    "Run": {
        "history": history,
        "events": events,
        "sampledHistory": sampled_history,
        "parquetHistory": parquet_history,
        "historyKeys": history_keys,
        "historyLineCount": history_line_count,
        "historyTail": history_tail,
        "systemMetrics": system_metrics,
        "eventsTail": events_tail,
        "eventsLineCount": events_line_count,
        "logLineCount": log_line_count,
    }
}
