"""The page of a sweep: how it stands, its config, and its runs with what was tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from shipway.domain.sweep import metric_in
from shipway.domain.sweep_space import values_in
from shipway.server.call import call_in
from shipway.server.web.html import page, render
from shipway.service.ports import Tx
from shipway.service.runs import RunView
from shipway.service.sweeps import SweepView

SHOWN = 1_000  # runs on a page, the last ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A run as its sweep's page shows it."""

    view: RunView
    values: dict[str, Any]  # of the parameters that vary, by name
    metric: float | None


@page
async def show(request: Request) -> Response:
    """Show a sweep."""
    call = call_in(request.scope)
    sweeps, actor, where = call.edge.service.sweeps, call.actor, request.path_params

    def work(tx: Tx) -> tuple[SweepView, list[RunView], float | None]:
        sweep = sweeps.get(tx, actor, where["entity"], where["project"], where["sweep_id"])
        view = sweeps.view(tx, sweep)
        after = max(0, view.counts.total - SHOWN)
        return view, sweeps.runs(tx, sweep, after=after, limit=SHOWN), sweeps.best(tx, view)

    view, runs, best = await call.edge.read(work)
    rows = [_row(view, run) for run in reversed(runs)]
    names = [".".join(one.path) for one in view.config.space.varied]
    return render(request, "sweep.html", view=view, rows=rows, names=names, best=best)


def _row(view: SweepView, run: RunView) -> Row:
    metric = view.config.metric
    return Row(
        view=run,
        values={
            ".".join(path): value
            for path, value in values_in(view.config.space, run.run.config).items()
        },
        metric=None if metric is None else metric_in(run.run.summary, metric.name),
    )
