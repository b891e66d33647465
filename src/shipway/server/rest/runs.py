"""Shows runs with their history and files, and takes what programs report."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Query
from starlette.responses import Response

from shipway.domain.errors import NotFound
from shipway.domain.run import RunFile
from shipway.server.call import Asked, Call
from shipway.server.console import console_lines
from shipway.server.numbers import NUMBER_LIMIT
from shipway.server.rest.answers import (
    PAGE_LIMIT,
    answer,
    cursor,
    loose_answer,
    page,
    read_cursor,
)
from shipway.server.rest.bodies import HistoryBody, RunChange
from shipway.server.rest.views import file_view, run_view
from shipway.service.ports import Tx
from shipway.service.runs import HISTORY_LIMIT, RunView


async def find(
    call: Asked,
    entity: str | None = None,
    project: str | None = None,
    cursor_: Annotated[str | None, Query(alias="cursor")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 100,
) -> Response:
    """List runs, newest first."""
    actor, runs, before = call.actor, call.edge.service.runs, read_cursor(cursor_)
    views = await call.edge.read(
        lambda tx: runs.find(
            tx, actor, entity=entity, project=project, before_seq=before, limit=limit
        )
    )
    following = cursor(views[-1].run.seq) if len(views) == limit else None
    return loose_answer(page([run_view(view, call.edge.base_url) for view in views], following))


async def get(call: Asked, entity: str, project: str, run_id: str) -> Response:
    """Return a run."""
    view = await _get(call, entity, project, run_id)
    return loose_answer(run_view(view, call.edge.base_url))


async def history(  # noqa: PLR0917 - FastAPI reads the query from the signature
    call: Asked,
    entity: str,
    project: str,
    run_id: str,
    after: Annotated[int, Query(ge=0, le=NUMBER_LIMIT)] = 0,
    limit: Annotated[int, Query(ge=1, le=HISTORY_LIMIT)] = 1_000,
) -> Response:
    """Return rows of a run's history; `next` is what to pass as `after`."""
    actor, runs = call.actor, call.edge.service.runs

    def work(tx: Tx) -> list[dict[str, object]]:
        view = runs.get(tx, actor, entity, project, run_id)
        return runs.history(tx, actor, view, after=after, limit=limit)

    rows = await call.edge.read(work)
    following = str(after + len(rows)) if len(rows) == limit else None
    return loose_answer(page(rows, following))


async def files(call: Asked, entity: str, project: str, run_id: str) -> Response:
    """List the files that a run saved."""
    found = await _files(call, entity, project, run_id)
    return answer(page([file_view(file) for file in found]))


async def file(call: Asked, entity: str, project: str, run_id: str, path: str) -> Response:
    """Return a file's bytes, as an attachment."""
    found = await _files(call, entity, project, run_id)
    match = next((one for one in found if one.path == path), None)
    if match is None:
        raise NotFound(f"run {entity}/{project}/{run_id} has no file {path!r}")
    digest = match.digest
    data = await call.edge.run(lambda: call.edge.blobs.get(digest))
    name = quote(path.rpartition("/")[2], safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(data, headers=headers, media_type="application/octet-stream")


async def console(  # noqa: PLR0917 - FastAPI reads the query from the signature
    call: Asked,
    entity: str,
    project: str,
    run_id: str,
    after: Annotated[int, Query(ge=0, le=NUMBER_LIMIT)] = 0,
    limit: Annotated[int, Query(ge=1, le=HISTORY_LIMIT)] = 1_000,
) -> Response:
    """Return lines that a run's own client saw; `next` is what to pass as `after`."""
    view = await _get(call, entity, project, run_id)
    lines = await console_lines(call, view)
    shown = [number for number in lines if number >= after][:limit]
    rows = [
        {
            "number": number,
            "stream": lines[number].stream,
            "at": lines[number].at,
            "text": lines[number].text,
        }
        for number in shown
    ]
    is_more = bool(shown) and shown[-1] != next(reversed(lines))
    return answer(page(rows, str(shown[-1] + 1) if is_more else None))


async def update(call: Asked, entity: str, project: str, run_id: str, body: RunChange) -> Response:
    """Merge values into a run's config and summary."""
    actor, runs = call.actor, call.edge.service.runs

    def work(tx: Tx) -> RunView:
        view = runs.get(tx, actor, entity, project, run_id)
        runs.update(tx, actor, view, config=body.config, summary=body.summary)
        return runs.get(tx, actor, entity, project, run_id)

    return loose_answer(run_view(await call.edge.write(work), call.edge.base_url))


async def stop(call: Asked, entity: str, project: str, run_id: str) -> Response:
    """Ask for a run's end; that of an item is the item's."""
    actor, tracked = call.actor, call.edge.service.tracked

    def work(tx: Tx) -> RunView:
        tracked.stop(tx, actor, tracked.get(tx, actor, entity, project, run_id))
        return tracked.get(tx, actor, entity, project, run_id)

    return loose_answer(run_view(await call.edge.write(work), call.edge.base_url))


async def add_history(
    call: Asked, entity: str, project: str, run_id: str, body: HistoryBody
) -> Response:
    """Append rows to a run's history."""
    actor, runs = call.actor, call.edge.service.runs

    def work(tx: Tx) -> int:
        view = runs.get(tx, actor, entity, project, run_id)
        return runs.add_history(tx, actor, view, body.rows)

    return answer({"history_size": await call.edge.write(work)})


async def _get(call: Call, entity: str, project: str, run_id: str) -> RunView:
    actor, runs = call.actor, call.edge.service.runs
    return await call.edge.read(lambda tx: runs.get(tx, actor, entity, project, run_id))


async def _files(call: Call, entity: str, project: str, run_id: str) -> list[RunFile]:
    actor, runs = call.actor, call.edge.service.runs
    return await call.edge.read(
        lambda tx: runs.files(tx, actor, runs.get(tx, actor, entity, project, run_id))
    )
