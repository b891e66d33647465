"""`shipway sweep`: lists and shows sweeps, and lets them go on, pause and end."""

from __future__ import annotations

from typing import Any

import click

from shipway.cli.connection import connect, connection
from shipway.cli.output import as_json, emit, emit_list, fields, own_values, say, table
from shipway.domain.errors import Invalid
from shipway.domain.names import DEFAULT_PROJECT
from shipway.sdk.connection import Connection

COLUMNS = {
    "id": "sweep",
    "name": "name",
    "state": "state",
    "method": "method",
    "run_count": "runs",
    "expected_count": "of",
}
FIELDS = {
    **COLUMNS,
    "entity": "entity",
    "project": "project",
    "open_count": "open runs",
    "config": "config",
    "scheduler_item": "scheduler",
    "url": "page",
}
RUN_COLUMNS = {"id": "run", "state": "state", "config": "config", "summary": "summary"}


@click.group()
def sweep() -> None:
    """List and show sweeps, and let them go on, pause and end."""


@sweep.command("ls")
@click.option("-e", "--entity", help="Whose sweeps; default: your own entity's.")
@click.option("-p", "--project", help="Of which project.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--cursor", help="Go on where a former list ended: its `next`.")
@as_json
def list_sweeps(
    *, entity: str | None, project: str | None, limit: int, cursor: str | None, is_json: bool
) -> None:
    """List a project's sweeps, newest first."""
    link = connection()
    entity = entity or _entity(link)
    project = project or link.settings.project or DEFAULT_PROJECT
    page = link.client.sweeps.find(entity=entity, project=project, limit=limit, cursor=cursor)
    if is_json:
        emit_list(page["items"], next_cursor=page.get("next"))
    else:
        table(
            page["items"], COLUMNS, empty=f"no sweeps in {entity}/{project}: name another with -p"
        )


@sweep.command("show")
@click.argument("sweep_path", metavar="SWEEP")
@as_json
def show(*, sweep_path: str, is_json: bool) -> None:
    """Show a sweep with its runs: ENTITY/PROJECT/ID, PROJECT/ID or ID."""
    where = _where(sweep_path)
    found = connect().sweeps.get(*where)
    if is_json:
        emit(found)
        return
    fields(found, FIELDS)
    runs = connect().sweeps.runs(*where)["items"]
    rows = [{**row, "summary": own_values(row["summary"])} for row in runs]
    table(rows, RUN_COLUMNS, empty="no runs")


@sweep.command("pause")
@click.argument("sweep_path", metavar="SWEEP")
@as_json
def pause(*, sweep_path: str, is_json: bool) -> None:
    """Begin no more runs; those that run go on."""
    _set_state(sweep_path, "paused", is_json=is_json)


@sweep.command("resume")
@click.argument("sweep_path", metavar="SWEEP")
@as_json
def resume(*, sweep_path: str, is_json: bool) -> None:
    """Let a sweep go on, also one that was stopped or canceled."""
    _set_state(sweep_path, "running", is_json=is_json)


@sweep.command("stop")
@click.argument("sweep_path", metavar="SWEEP")
@as_json
def stop(*, sweep_path: str, is_json: bool) -> None:
    """End a sweep; what runs goes on to its end."""
    _set_state(sweep_path, "finished", is_json=is_json)


@sweep.command("cancel")
@click.argument("sweep_path", metavar="SWEEP")
@as_json
def cancel(*, sweep_path: str, is_json: bool) -> None:
    """End a sweep, and stop what runs."""
    _set_state(sweep_path, "canceled", is_json=is_json)


def _set_state(sweep_path: str, state: str, *, is_json: bool) -> None:
    changed = connect().sweeps.set_state(*_where(sweep_path), state)
    if is_json:
        emit(changed)
    else:
        say(f"sweep {changed['id']} is {changed['state']}")


def _where(sweep_path: str) -> tuple[str, str, str]:
    """Return entity, project and id of a path that may lack the first of them."""
    link = connection()
    parts: list[Any] = [part for part in sweep_path.split("/") if part and part != "sweeps"]
    if not 1 <= len(parts) <= 3:
        raise Invalid(
            f"{sweep_path!r} is no sweep: write ENTITY/PROJECT/ID, PROJECT/ID or ID",
            field="SWEEP",
            value=sweep_path,
        )
    if len(parts) == 1:
        parts.insert(0, link.settings.project or DEFAULT_PROJECT)
    if len(parts) == 2:
        parts.insert(0, _entity(link))
    return parts[0], parts[1], parts[2]


def _entity(link: Connection) -> str:
    return link.settings.entity or str(link.client.me()["entity"])
