"""`shipway item`: lists, shows, stops and retries queue items."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import click

from shipway.cli.connection import connect
from shipway.cli.output import ago, as_json, cell, emit, emit_list, fields, say, table

LIST_LIMIT = 100  # rows of a list unless `--limit` says otherwise

COLUMNS = {
    "id": "item",
    "state": "state",
    "queue": "queue",
    "place": "project",
    "name": "name",
    "priority": "priority",
    "age": "added",
}
FIELDS = {
    "id": "item",
    "state": "state",
    "standing": "why",
    "queue": "queue",
    "entity": "entity",
    "project": "project",
    "run_id": "run",
    "run_state": "run state",
    "name": "name",
    "author": "author",
    "submitted_by": "submitted by",
    "priority": "priority",
    "resource": "resource",
    "spec.template_variables": "template variables",
    "attempt": "attempt",
    "exit_code": "exit code",
    "error.stage": "failed at",
    "error.failure_class": "failure",
    "error.reason": "reason",
    "error.remedy": "remedy",
    "retry_of": "retry of",
    "url": "page",
}


@click.group()
def item() -> None:
    """List, show, stop and retry queue items."""


@item.command("ls")
@click.option("-q", "--queue", help="Only of this queue.")
@click.option("-e", "--entity", help="Only of this entity.")
@click.option("-p", "--project", help="Only of this project.")
@click.option("--state", help="pending, leased, running, finished, failed or stopped.")
@click.option("--limit", type=click.IntRange(1, 1000), default=LIST_LIMIT, show_default=True)
@click.option("--cursor", help="Go on where a former list ended: its `next`.")
@as_json
def list_items(*, is_json: bool, **query: Any) -> None:
    """List items, newest first."""
    page = connect().items.find(**query)
    if is_json:
        emit_list(page["items"], next_cursor=page.get("next"))
        return
    now = time.time_ns() // 1_000_000
    rows = [
        {
            **row,
            "place": f"{row.get('entity')}/{row.get('project')}",
            "age": ago(row.get("created_at"), now),
        }
        for row in page["items"]
    ]
    table(rows, COLUMNS, empty="no items")


@item.command("show")
@click.argument("item_id", metavar="ITEM")
@as_json
def show(*, item_id: str, is_json: bool) -> None:
    """Show an item: its state, and why it stands so."""
    client = connect()
    found = client.items.get(item_id)
    if is_json:
        emit(found)
        return
    standing = client.items.explain(item_id)["sentence"]
    fields({**found, "standing": standing}, FIELDS)
    for event in client.items.events(item_id):
        stamp = time.strftime("%H:%M:%S", time.localtime(event["at"] / 1000))
        say(f"  {stamp}  {event['event']:<13} {event['actor']}  {cell(event.get('data'))}".rstrip())


@item.command("logs")
@click.argument("item_id", metavar="ITEM")
@click.option("-f", "--follow", is_flag=True, help="Go on until the program has ended.")
@click.option(
    "--stream",
    type=click.Choice(["program", "build"]),
    default="program",
    show_default=True,
    help="What the program printed, or what fetching and building did.",
)
@click.option("--attempt", type=int, help="Which attempt; default: the last one.")
@as_json
def logs(*, item_id: str, follow: bool, stream: str, attempt: int | None, is_json: bool) -> None:
    """Print an item's log."""
    from shipway.cli.log import print_log  # noqa: PLC0415 - the other commands need no log reader
    from shipway.cli.run import print_console  # noqa: PLC0415 - as above

    client = connect()
    found = client.items.get(item_id)
    if found.get("log") == "run" and stream == "program":
        run = {**found, "id": found["run_id"]}
        print_console(run, is_following=follow, is_json=is_json)
        return
    print_log(client, item_id, name=stream, attempt=attempt, is_following=follow, is_json=is_json)


@item.command("cancel")
@click.argument("item_id", metavar="ITEM")
@click.option("--grace", type=float, metavar="S", help="Seconds from SIGTERM to SIGKILL.")
@as_json
def cancel(*, item_id: str, grace: float | None, is_json: bool) -> None:
    """Stop an item, whether it waits or runs."""
    found = connect().items.stop(item_id, grace_s=grace)
    is_over = found["state"] in {"finished", "failed", "stopped"}
    _answer(
        found,
        f"item {item_id} is {found['state']}" if is_over else f"item {item_id} was asked to stop",
        is_json=is_json,
    )


@item.command("retry")
@click.argument("item_id", metavar="ITEM")
@as_json
def retry(*, item_id: str, is_json: bool) -> None:
    """Queue the same launch spec again, as a new item with a run of its own."""
    made = connect().items.retry(item_id, idempotency_key=uuid4().hex)
    _answer(made, f"item {made['id']} was queued: {made.get('url', '')}", is_json=is_json)


@item.command("explain")
@click.argument("item_id", metavar="ITEM")
@as_json
def explain(*, item_id: str, is_json: bool) -> None:
    """Say why an item waits, who is ahead, and what would let it run."""
    found = connect().items.explain(item_id)
    _answer(found, str(found["sentence"]), is_json=is_json)


@item.command("priority")
@click.argument("item_id", metavar="ITEM")
@click.argument("priority")
@as_json
def priority(*, item_id: str, priority: str, is_json: bool) -> None:
    """Change a waiting item's priority: 0-3 or critical, high, medium, low."""
    value: int | str = int(priority) if priority.isdecimal() else priority
    found = connect().items.set_priority(item_id, value)
    _answer(found, f"item {item_id} has priority {found['priority']}", is_json=is_json)


@item.command("delete")
@click.argument("item_id", metavar="ITEM")
@as_json
def delete(*, item_id: str, is_json: bool) -> None:
    """Stop an item and hide it; its id and its idempotency key stay taken."""
    found = connect().items.delete(item_id)
    _answer(found, f"item {item_id} is deleted", is_json=is_json)


def _answer(found: dict[str, Any], sentence: str, *, is_json: bool) -> None:
    if is_json:
        emit(found)
    else:
        say(sentence)
