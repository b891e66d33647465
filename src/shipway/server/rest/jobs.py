"""Makes and shows jobs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from shipway.server.call import Asked
from shipway.server.rest.answers import PAGE_LIMIT, answer, created, page
from shipway.server.rest.bodies import JobBody
from shipway.server.rest.views import job_view


async def create(call: Asked, body: JobBody) -> Response:
    """Store a job's next version."""
    actor, jobs = call.actor, call.edge.service.jobs
    values = body.model_dump(exclude_none=True)

    async def work() -> dict[str, Any]:
        return job_view(await call.edge.write(lambda tx: jobs.create(tx, actor, values)))

    return await created(call, "jobs", work)


async def find(
    call: Asked,
    entity: str | None = None,
    project: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 100,
) -> Response:
    """List the latest version of each job."""
    actor, jobs = call.actor, call.edge.service.jobs
    found = await call.edge.read(
        lambda tx: jobs.find(tx, actor, entity=entity, project=project, limit=limit)
    )
    return answer(page([job_view(job) for job in found]))


async def get(call: Asked, entity: str, project: str, address: str) -> Response:
    """Return a job's version by `NAME:ALIAS`."""
    actor, jobs = call.actor, call.edge.service.jobs
    whole = f"{entity}/{project}/{address if ':' in address else address + ':latest'}"
    return answer(job_view(await call.edge.read(lambda tx: jobs.get(tx, actor, whole))))
