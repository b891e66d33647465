"""The table of pages, and the pages of the front, queues, runs and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from shipway.domain.agent import Agent, AgentState
from shipway.domain.errors import NotFound
from shipway.domain.item import Item
from shipway.domain.run import RunFile
from shipway.server.call import Call, call_in
from shipway.server.console import console_lines
from shipway.server.web import item_page, project_page, signin, sweep_page
from shipway.server.web.html import page, render
from shipway.server.web.plots import plots
from shipway.service.ports import ItemFilter, Tx
from shipway.service.queues import QueueView
from shipway.service.runs import RunView

RECENT = 50  # items on a page
AGENTS = 100  # on the front page
RECENT_RUNS = 200  # whose projects the front page names
ROWS = 2_000  # rows of a history that are drawn
LINES = 500  # of a client's console
BLOCKS = 20  # a longer history is drawn from so many places
STATIC = {"style.css": "text/css", "tail.js": "text/javascript"}
PROJECT_PATHS = (  # those that clients print all lead to the one page
    "/{entity}/{project}",
    "/{entity}/{project}/workspace",
    "/{entity}/{project}/jobs",
    "/{entity}/{project}/sweeps",
)
CACHED = {"cache-control": "public, max-age=300"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What the first page shows."""

    queues: Sequence[QueueView]
    agents: Sequence[Agent]
    projects: Sequence[tuple[str, str]]  # entity and name
    items: Sequence[Item]


def page_routes() -> Sequence[BaseRoute]:
    """Return every page; the run's and the project's come last, as they match much."""
    return (
        Route("/", front, methods=["GET"]),
        Route("/static/{name}", static, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
        Route("/signin", signin.form, methods=["GET"]),
        Route("/signin", signin.sign_in, methods=["POST"]),
        Route("/signin/link/{secret}", signin.by_link, methods=["GET"]),
        Route("/signout", signin.sign_out, methods=["POST"]),
        Route("/queues/{entity}/{name}", queue, methods=["GET"]),
        Route("/items/{item_id}", item_page.show, methods=["GET"]),
        Route("/items/{item_id}/tail", item_page.tail, methods=["GET"]),
        Route("/items/{item_id}/stop", item_page.stop, methods=["POST"]),
        Route("/items/{item_id}/retry", item_page.retry, methods=["POST"]),
        Route("/{entity}/{project}/sweeps/{sweep_id}", sweep_page.show, methods=["GET"]),
        Route("/{entity}/{project}/runs/{run_id}", run, methods=["GET"]),
        *(Route(path, project_page.show, methods=["GET"]) for path in PROJECT_PATHS),
    )


@page
async def front(request: Request) -> Response:
    """Show queues, agents, projects with recent runs, and recent items."""
    call = call_in(request.scope)
    actor, service = call.actor, call.edge.service

    def work(tx: Tx) -> Front:
        runs = service.runs.find(tx, actor, entity=None, project=None, limit=RECENT_RUNS)
        agents = service.agents.find(tx, actor)
        return Front(
            queues=service.queues.find(tx, actor),
            agents=[one for one in agents if one.state is not AgentState.GONE][:AGENTS],
            projects=list(dict.fromkeys((view.run.entity, view.run.project) for view in runs)),
            items=service.items.find(tx, actor, ItemFilter(limit=RECENT)),
        )

    found = await call.edge.read(work)
    return render(request, "front.html", found=found, now=call.edge.clock.now())


@page
async def queue(request: Request) -> Response:
    """Show a queue with its items."""
    call = call_in(request.scope)
    actor, service = call.actor, call.edge.service
    entity, name = request.path_params["entity"], request.path_params["name"]
    project = request.query_params.get("project")

    def work(tx: Tx) -> tuple[QueueView, list[Item]]:
        view = service.queues.get(tx, actor, name, entity=entity, project=project)
        query = ItemFilter(queue_id=view.queue.id, limit=RECENT)
        return view, service.items.find(tx, actor, query)

    view, items = await call.edge.read(work)
    return render(request, "queue.html", view=view, items=items)


@page
async def run(request: Request) -> Response:
    """Show a run: state, config, summary, history, files; its item has log and events."""
    call = call_in(request.scope)
    view, rows, files = await call.edge.read(lambda tx: _run(tx, call, request))
    lines = list((await console_lines(call, view)).values())
    return render(
        request,
        "run.html",
        view=view,
        plots=plots(rows),
        files=files,
        lines=lines[-LINES:],
        is_cut=len(lines) > LINES,
        now=call.edge.clock.now(),
    )


@page
async def docs(request: Request) -> Response:
    """Show the REST interface."""
    document: dict[str, Any] = request.app.state.openapi
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = {
        name: json.dumps(s, indent=2) for name, s in document["components"]["schemas"].items()
    }
    return render(request, "docs.html", operations=operations, schemas=schemas)


async def static(request: Request) -> Response:
    """Return a stylesheet or a script."""
    name = request.path_params["name"]
    if name not in STATIC:
        return RedirectResponse("/", 303)
    data = package_files("shipway.server.web").joinpath("static", name).read_bytes()
    return Response(data, headers=CACHED, media_type=STATIC[name])


def _run(
    tx: Tx, call: Call, request: Request
) -> tuple[RunView, list[dict[str, Any]], list[RunFile]]:
    runs, actor, where = call.edge.service.runs, call.actor, request.path_params
    entity, project, run_id = where["entity"], where["project"], where["run_id"]
    try:
        view = runs.get(tx, actor, entity, project, run_id)
    except NotFound as error:
        raise NotFound(f"{error.message}. A run appears here once an agent took it.") from None
    size = view.run.history_size
    if size <= ROWS:
        rows = runs.history(tx, actor, view, limit=ROWS)
    else:
        rows = []
        for block in range(BLOCKS):
            after = block * (size - ROWS // BLOCKS) // (BLOCKS - 1)
            rows += runs.history(tx, actor, view, after=after, limit=ROWS // BLOCKS)
    return view, rows, runs.files(tx, actor, view)
