"""`shipway queue`: makes, shows and changes queues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from shipway.cli.connection import connect
from shipway.cli.output import as_json, emit, emit_list, fields, say, table
from shipway.domain.errors import Invalid

COLUMNS = {
    "name": "queue",
    "entity": "entity",
    "project": "project",
    "resource": "resource",
    "is_paused": "paused",
    "counts.pending": "pending",
    "counts.leased": "leased",
    "counts.running": "running",
}
FIELDS = {
    "name": "queue",
    "entity": "entity",
    "project": "project",
    "resource": "resource",
    "is_paused": "paused",
    "priorities": "priorities",
    "on_lost": "on lost",
    "lost_after_s": "lost after s",
    "max_attempts": "max attempts",
    "config": "config",
    "template_variables": "template variables",
    "external_links": "links",
    "personal": "personal",
    "counts": "items",
    "url": "page",
}

in_entity = click.option("-e", "--entity", help="Whose queue; default: your own entity's.")
in_project = click.option("-p", "--project", help="The queue's project; default: model-registry.")


@click.group()
def queue() -> None:
    """Make, show and change queues: where items wait."""


@queue.command("create")
@click.argument("name")
@click.option("--resource", required=True, help="local-process, …, or any.")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file: resource_args, ….")
@click.option("--template-variables", type=click.Path(path_type=Path), help="JSON file.")
@click.option("--priorities", is_flag=True, help="Order items by their priority.")
@click.option("--on-lost", metavar="fail|retry:N", help="What a lost agent means.")
@click.option("--lost-after", type=int, metavar="S", help="Seconds until an agent counts as lost.")
@click.option("--max-attempts", type=int, metavar="N", help="Leases an item may have.")
@in_entity
@in_project
@as_json
def create(*, name: str, is_json: bool, **options: Any) -> None:
    """Make a queue."""
    made = connect().queues.create({"name": name, **_settings(options), **_place(options)})
    if is_json:
        emit(made)
    else:
        say(
            f"queue {made['name']} of {made['entity']} is there: {made.get('url', '')}".rstrip(": ")
        )


@queue.command("ls")
@in_entity
@as_json
def list_queues(*, entity: str | None, is_json: bool) -> None:
    """List the queues that you may see."""
    rows = connect().queues.find(entity=entity)
    if is_json:
        emit_list(rows)
    else:
        table(rows, COLUMNS, empty="no queues")


@queue.command("show")
@click.argument("name")
@in_entity
@in_project
@as_json
def show(*, name: str, entity: str | None, project: str | None, is_json: bool) -> None:
    """Show a queue with its counts of items."""
    _print(connect().queues.get(name, entity=entity, project=project), is_json=is_json)


@queue.command("update")
@click.argument("name")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file: resource_args, ….")
@click.option("--template-variables", type=click.Path(path_type=Path), help="JSON file.")
@click.option("--priorities/--no-priorities", default=None, help="Order items by priority.")
@click.option("--on-lost", metavar="fail|retry:N", help="What a lost agent means.")
@click.option("--lost-after", type=int, metavar="S", help="Seconds until an agent counts as lost.")
@click.option("--max-attempts", type=int, metavar="N", help="Leases an item may have.")
@in_entity
@in_project
@as_json
def update(*, name: str, is_json: bool, **options: Any) -> None:
    """Change a queue; items that wait keep the spec they were queued with."""
    changes = _settings(options)
    if not changes:
        raise Invalid("nothing to change: give at least one option (see shipway queue update -h)")
    changed = connect().queues.update(name, changes, **_place(options, is_whole=True))
    _print(changed, is_json=is_json)


@queue.command("delete")
@click.argument("name")
@in_entity
@in_project
@as_json
def delete(*, name: str, entity: str | None, project: str | None, is_json: bool) -> None:
    """Delete a queue that has no live items."""
    gone = connect().queues.delete(name, entity=entity, project=project)
    if is_json:
        emit(gone)
    else:
        say(f"queue {name} is gone")


@queue.command("pause")
@click.argument("name")
@in_entity
@in_project
@as_json
def pause(*, name: str, entity: str | None, project: str | None, is_json: bool) -> None:
    """Let nothing more be taken from a queue; what runs goes on."""
    changed = connect().queues.pause(name, entity=entity, project=project)
    _answer(changed, f"queue {name} is paused", is_json=is_json)


@queue.command("resume")
@click.argument("name")
@in_entity
@in_project
@as_json
def resume(*, name: str, entity: str | None, project: str | None, is_json: bool) -> None:
    """Let items be taken from a queue again."""
    changed = connect().queues.resume(name, entity=entity, project=project)
    _answer(changed, f"queue {name} goes on", is_json=is_json)


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return what was given as the route wants it; files are read as JSON objects."""
    names = {"lost_after": "lost_after_s"}
    given = {
        names.get(name, name): value
        for name, value in options.items()
        if name not in {"entity", "project"} and value is not None
    }
    for name in ("config", "template_variables"):
        if name in given:
            given[name] = read_object(given[name], field=name)
    return given


def _place(options: dict[str, Any], *, is_whole: bool = False) -> dict[str, Any]:
    place = {name: options[name] for name in ("entity", "project")}
    return place if is_whole else {k: v for k, v in place.items() if v is not None}


def read_object(path: Path, *, field: str) -> dict[str, Any]:
    """Read a JSON object from a file; raise `Invalid` naming the file and the place."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Invalid(
            f"{path} cannot be read as JSON: {error}", field=field, value=str(path)
        ) from (error)
    if not isinstance(value, dict):
        raise Invalid(f"{path} must hold a JSON object", field=field, value=str(path))
    return value


def _print(found: dict[str, Any], *, is_json: bool) -> None:
    if is_json:
        emit(found)
    else:
        fields(found, FIELDS)


def _answer(found: dict[str, Any], sentence: str, *, is_json: bool) -> None:
    if is_json:
        emit(found)
    else:
        say(sentence)
