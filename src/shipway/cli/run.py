"""`shipway run`: lists, shows and compares runs."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import click

from shipway.cli.connection import connect, connection
from shipway.cli.output import as_json, emit, emit_list, fields, own_values, say, table
from shipway.domain.errors import Conflict, Invalid
from shipway.domain.names import DEFAULT_PROJECT

COLUMNS = {"id": "run", "state": "state", "place": "project", "name": "name", "summary": "summary"}
FIELDS = {
    "id": "run",
    "name": "name",
    "entity": "entity",
    "project": "project",
    "state": "state",
    "exit_code": "exit code",
    "config": "config",
    "summary": "summary",
    "history_size": "history rows",
    "item_id": "item",
    "url": "page",
}
HISTORY_LIMIT = 10_000  # rows compared or counted


@click.group()
def run() -> None:
    """List, show and compare runs."""


@run.command("ls")
@click.option("-e", "--entity", help="Only of this entity.")
@click.option("-p", "--project", help="Only of this project.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--cursor", help="Go on where a former list ended: its `next`.")
@as_json
def list_runs(*, is_json: bool, **query: Any) -> None:
    """List runs, newest first."""
    page = connect().runs.find(**query)
    if is_json:
        emit_list(page["items"], next_cursor=page.get("next"))
        return
    rows = [
        {
            **row,
            "place": f"{row['entity']}/{row['project']}",
            "summary": own_values(row["summary"]),
        }
        for row in page["items"]
    ]
    table(rows, COLUMNS, empty="no runs")


@run.command("show")
@click.argument("run_path", metavar="RUN")
@as_json
def show(*, run_path: str, is_json: bool) -> None:
    """Show a run: ENTITY/PROJECT/ID, PROJECT/ID or ID."""
    found = _find(run_path)
    if is_json:
        emit(found)
    else:
        fields(found, FIELDS)


@run.command("logs")
@click.argument("run_path", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on until the program has ended.")
@as_json
def logs(*, run_path: str, follow: bool, is_json: bool) -> None:
    """Print the log of a run's last attempt."""
    from shipway.cli.log import print_log  # noqa: PLC0415 - the other commands need no log reader

    found = _find(run_path)
    if not found.get("item_id") or found.get("log") == "run":
        print_console(found, is_following=follow, is_json=is_json)
        return
    item_id = _item_of(found)
    print_log(
        connect(), item_id, name="program", attempt=None, is_following=follow, is_json=is_json
    )


@run.command("stop")
@click.argument("run_path", metavar="RUN")
@click.option("--grace", type=float, metavar="S", help="Seconds from SIGTERM to SIGKILL.")
@as_json
def stop(*, run_path: str, grace: float | None, is_json: bool) -> None:
    """Stop a run."""
    found = _find(run_path)
    if found.get("item_id"):
        stopped = connect().items.stop(_item_of(found), grace_s=grace)
    else:
        stopped = connect().runs.stop(found["entity"], found["project"], found["id"])
    if is_json:
        emit(stopped)
    else:
        say(f"run {run_path} was asked to stop")


@run.command("files")
@click.argument("run_path", metavar="RUN")
@click.option(
    "--get",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the files below this directory.",
)
@as_json
def files(*, run_path: str, folder: Path | None, is_json: bool) -> None:
    """List a run's files, or fetch them."""
    found = _find(run_path)
    place = (found["entity"], found["project"], found["id"])
    runs = connect().runs
    rows = runs.files(*place)
    if folder is not None:
        for row in rows:
            _write(folder, row["path"], runs.file(*place, row["path"]))
    if is_json:
        emit_list(rows)
    else:
        table(rows, {"path": "file", "size": "bytes", "digest": "digest"}, empty="no files")


@run.command("diff")
@click.argument("left")
@click.argument("right")
@as_json
def diff(*, left: str, right: str, is_json: bool) -> None:
    """Compare two runs: state, config and summary, only what differs."""
    rows = differences(_find(left), _find(right))
    if is_json:
        emit_list(rows)
    else:
        table(rows, {"key": "key", "left": left, "right": right}, empty="no difference")


def differences(left: dict[str, Any], right: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what differs between two runs, key by key, in order of key."""
    one, other = _flat(left), _flat(right)
    return [
        {"key": key, "left": one.get(key), "right": other.get(key)}
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key)
    ]


def _flat(run: dict[str, Any]) -> dict[str, Any]:
    found = {"state": run.get("state"), "exit_code": run.get("exit_code")}
    for part in ("config", "summary"):
        found.update({f"{part}.{key}": value for key, value in (run.get(part) or {}).items()})
    return found


def _find(path: str) -> dict[str, Any]:
    """Return the run of a path whose left parts may be left out."""
    parts = path.strip("/").removesuffix("/").split("/")
    if len(parts) == 4 and parts[2] == "runs":
        parts = [parts[0], parts[1], parts[3]]
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise Invalid(f"run {path!r} is not ENTITY/PROJECT/ID", field="run", value=path)
    link = connection()
    if len(parts) < 2:
        parts.insert(0, link.settings.project or DEFAULT_PROJECT)
    if len(parts) < 3:
        parts.insert(0, link.settings.entity or str(link.client.me()["entity"]))
    return link.client.runs.get(*parts)


def print_console(found: dict[str, Any], *, is_following: bool, is_json: bool) -> None:
    """Print what the client of a run saw, which no item has."""
    from shipway.sdk.line import Line  # noqa: PLC0415 - the other commands need no SDK
    from shipway.sdk.run import load_run  # noqa: PLC0415 - as above

    run = load_run(Line(connection()), found["entity"], found["project"], found["id"])
    lines = run.logs(follow=is_following)
    if is_json:
        emit_list([{"stream": one.stream, "at": one.at, "text": one.text} for one in lines])
        return
    for one in lines:
        say(one.text)


def _item_of(run: dict[str, Any]) -> str:
    if not run.get("item_id"):
        raise Conflict(f"run {run['id']} was not launched by shipway: it has no item")
    return str(run["item_id"])


def _write(folder: Path, name: str, data: bytes) -> None:
    """Write a run's file below a folder; a name that leads out of it is refused."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise Invalid(f"the file name {name!r} leads out of {folder}", field="path", value=name)
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
