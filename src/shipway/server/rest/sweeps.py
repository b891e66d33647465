"""Shows sweeps with their runs, and lets them go on, pause and end."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query
from starlette.responses import Response

from shipway.domain.errors import Invalid
from shipway.domain.sweep import SweepState
from shipway.server.call import Asked
from shipway.server.numbers import NUMBER_LIMIT
from shipway.server.rest.answers import PAGE_LIMIT, answer, cursor, loose_answer, page, read_cursor
from shipway.server.rest.bodies import SweepChange
from shipway.server.rest.views import run_view
from shipway.service.ports import Tx
from shipway.service.sweeps import SweepView


async def find(
    call: Asked,
    entity: str,
    project: str,
    cursor_: Annotated[str | None, Query(alias="cursor")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 100,
) -> Response:
    """List a project's sweeps, newest first."""
    actor, sweeps, before = call.actor, call.edge.service.sweeps, read_cursor(cursor_)

    def work(tx: Tx) -> list[SweepView]:
        found = sweeps.of_project(tx, actor, entity, project, before_seq=before, limit=limit)
        return [sweeps.view(tx, sweep) for sweep in found]

    views = await call.edge.read(work)
    following = cursor(views[-1].sweep.seq) if len(views) == limit else None
    return answer(page([sweep_view(view, call.edge.base_url) for view in views], following))


async def get(call: Asked, entity: str, project: str, sweep_id: str) -> Response:
    """Return a sweep."""
    actor, sweeps = call.actor, call.edge.service.sweeps
    view = await call.edge.read(
        lambda tx: sweeps.view(tx, sweeps.get(tx, actor, entity, project, sweep_id))
    )
    return answer(sweep_view(view, call.edge.base_url))


async def runs(  # noqa: PLR0917 - FastAPI reads the query from the signature
    call: Asked,
    entity: str,
    project: str,
    sweep_id: str,
    after: Annotated[int, Query(ge=0, le=NUMBER_LIMIT)] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 100,
) -> Response:
    """List a sweep's runs in the order in which they were made; `next` goes into `after`."""
    actor, sweeps = call.actor, call.edge.service.sweeps

    def work(tx: Tx) -> tuple[list[dict[str, Any]], int]:
        sweep = sweeps.get(tx, actor, entity, project, sweep_id)
        found = sweeps.runs(tx, sweep, after=after, limit=limit)
        total = sweeps.view(tx, sweep).counts.total
        return [run_view(view, call.edge.base_url) for view in found], total

    shown, total = await call.edge.read(work)
    return loose_answer(page(shown, str(after + limit) if after + limit < total else None))


async def update(
    call: Asked, entity: str, project: str, sweep_id: str, body: SweepChange
) -> Response:
    """Let a sweep go on (`running`), pause (`paused`) or end (`finished`, `canceled`)."""
    actor, sweeps = call.actor, call.edge.service.sweeps
    asked = [SweepState.RUNNING, SweepState.PAUSED, SweepState.FINISHED, SweepState.CANCELED]
    if body.state not in asked:
        raise Invalid(
            f"state must be one of {', '.join(asked)}, not {body.state!r}",
            field="state",
            value=body.state,
        )

    def work(tx: Tx) -> SweepView:
        sweep = sweeps.get(tx, actor, entity, project, sweep_id)
        return sweeps.view(tx, sweeps.set_state(tx, actor, sweep, SweepState(body.state)))

    return answer(sweep_view(await call.edge.write(work), call.edge.base_url))


def sweep_view(view: SweepView, base_url: str) -> dict[str, Any]:
    """Return a sweep."""
    sweep = view.sweep
    path = "/".join(quote(part, safe="") for part in (sweep.entity, sweep.project))
    return {
        "id": sweep.id,
        "name": sweep.name or sweep.id,
        "entity": sweep.entity,
        "project": sweep.project,
        "state": sweep.state.value,
        "description": sweep.description,
        "method": view.config.method,
        "config": dict(sweep.config),
        "run_count": view.counts.total,
        "open_count": view.counts.open,
        "expected_count": view.expected,
        "scheduler_item": sweep.scheduler_item,
        "created_by": sweep.created_by,
        "created_at": sweep.created_at,
        "updated_at": sweep.updated_at,
        "heard_at": sweep.heard_at,
        "url": f"{base_url}/{path}/sweeps/{sweep.id}",
        "seq": sweep.seq,
    }
