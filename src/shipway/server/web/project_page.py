"""The page of a project: its runs, sweeps and jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from shipway.domain.errors import NotFound
from shipway.domain.job import Job
from shipway.domain.sweep import Sweep
from shipway.server.call import call_in
from shipway.server.web.html import page, render
from shipway.service.ports import Tx
from shipway.service.runs import RunView

SHOWN = 100  # of each, the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a project has."""

    runs: Sequence[RunView]
    sweeps: Sequence[Sweep]
    jobs: Sequence[Job]


@page
async def show(request: Request) -> Response:
    """Show a project."""
    call = call_in(request.scope)
    actor, service = call.actor, call.edge.service
    entity, project = request.path_params["entity"], request.path_params["project"]

    def work(tx: Tx) -> Content:
        return Content(
            runs=service.runs.find(tx, actor, entity=entity, project=project, limit=SHOWN),
            sweeps=service.sweeps.of_project(tx, actor, entity, project, limit=SHOWN),
            jobs=service.jobs.find(tx, actor, entity=entity, project=project, limit=SHOWN),
        )

    found = await call.edge.read(work)
    if not (found.runs or found.sweeps or found.jobs):
        raise NotFound(
            f"project {entity}/{project} has no run, sweep or job yet: launch a program, or begin "
            "a run, with this project's name"
        )
    return render(request, "project.html", entity=entity, project=project, found=found, shown=SHOWN)
