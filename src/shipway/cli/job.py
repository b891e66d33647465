"""`shipway job`: makes and shows jobs."""

from __future__ import annotations

import json
import os
import shlex
from typing import IO, Any

import click

from shipway.cli.connection import connection, settings
from shipway.cli.output import as_json, emit, emit_list, fields, note, say, table
from shipway.client import Client
from shipway.domain.draft_fields import check_job
from shipway.domain.errors import Invalid
from shipway.domain.launch_spec import draft
from shipway.sdk.home import choose_home

COLUMNS = {
    "address": "job",
    "kind": "kind",
    "aliases": "aliases",
    "entry_point": "entry point",
    "description": "description",
}
FIELDS = {
    "address": "job",
    "kind": "kind",
    "aliases": "aliases",
    "source": "source",
    "entry_point": "entry point",
    "args": "args",
    "run_config": "config",
    "resource": "resource",
    "resource_args": "resource args",
    "python": "python",
    "config_schema": "config schema",
    "file_schemas": "file schemas",
    "description": "description",
    "created_by": "made by",
}


@click.group()
def job() -> None:
    """Make and show jobs: reusable, versioned recipes."""


@job.command("create")
@click.argument("kind", type=click.Choice(["git", "code", "image"]))
@click.argument("path")
@click.option("-n", "--name", required=True, help="The job's name.")
@click.option("-e", "--entity", help="Whose job; default: your own entity's.")
@click.option("-p", "--project", help="The project it belongs to.")
@click.option("-E", "--entry-point", help="The program, as one would type it.")
@click.option("-g", "--version", help="git: branch, tag or commit; default: HEAD.")
@click.option("-a", "--alias", "aliases", multiple=True, help="A name beside `latest`.")
@click.option("--python", help="The Python version it wants.")
@click.option(
    "--schema",
    type=click.File("rb"),
    help="A JSON Schema in a file: a launch whose run config does not fit it is refused.",
)
@click.option("-d", "--description", default="", help="One line for people.")
@as_json
def create(*, kind: str, path: str, is_json: bool, **options: Any) -> None:
    """Store the next version of a job.

    PATH is a repository's address (git), a directory (code), or an image's name (image).
    """
    client = connection().client
    given = {name: value for name, value in options.items() if value not in (None, ())}
    version = given.pop("version", None)
    if "schema" in given:
        given["config_schema"] = _schema(given.pop("schema"))
    if "entry_point" in given:
        given["entry_point"] = shlex.split(given["entry_point"])
    source = _source(
        kind, path, version, given.get("entry_point"), client=client, entity=given.get("entity")
    )
    made = client.jobs.create({"kind": kind, "source": source, **given})
    if is_json:
        emit(made)
    else:
        say(f"job {made['address']} is there")


@job.command("ls")
@click.option("-e", "--entity", help="Only of this entity.")
@click.option("-p", "--project", help="Only of this project.")
@as_json
def list_jobs(*, entity: str | None, project: str | None, is_json: bool) -> None:
    """List the latest version of each job."""
    rows = connection().client.jobs.find(entity=entity, project=project)
    if is_json:
        emit_list(rows)
    else:
        table(rows, COLUMNS, empty="no jobs")


@job.command("describe")
@click.argument("job")
@as_json
def describe(*, job: str, is_json: bool) -> None:
    """Show one version of a job: entity/project/name[:alias]."""
    path, _, alias = check_job(job if ":" in job else f"{job}:latest").rpartition(":")
    entity, project, name = path.split("/")
    found = connection().client.jobs.get(entity, project, name, alias)
    if is_json:
        emit(found)
    else:
        fields(found, FIELDS)


def _schema(file: IO[bytes]) -> Any:
    try:
        return json.load(file)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{file.name} is not JSON: {error}", field="schema") from None


def _image_source(image: str) -> dict[str, Any]:
    """Return an image as a job's source, by its digest where its registry says it."""
    if not settings().is_image_pinned:
        return {"kind": "image", "image": image}
    from shipway.sdk.pinned_image import pin_image  # noqa: PLC0415 - for images alone

    pinned = pin_image(image, os.environ, field="path")
    if pinned.note:
        note(f"shipway: {pinned.note}")
    return dict(pinned.source)


def _source(
    kind: str,
    path: str,
    version: str | None,
    entry_point: list[str] | None,
    *,
    client: Client,
    entity: str | None,
) -> dict[str, Any]:
    """Return the pinned source of a job; a directory's files are sent first."""
    if kind == "image":
        return _image_source(path)
    from shipway.sdk.capsule import upload  # noqa: PLC0415 - packing is for this command only
    from shipway.sdk.pinned_source import pin  # noqa: PLC0415 - as above

    asked = draft(uri=path, version=version, entry_point=entry_point)
    pinned = pin(
        asked,
        base_url=client.base_url,
        include=(),
        env=os.environ,
        cache=choose_home(os.environ, explicit=settings().home).path / "cache",
    )
    source = pinned.draft.source or {}
    wanted = "git" if kind == "git" else "capsule"
    if source.get("kind") != wanted:
        raise Invalid(
            f"{path!r} is not a source of kind {kind}: 'git' wants a repository's address, 'code' "
            "a directory",
            field="path",
            value=path,
        )
    if pinned.capsule is not None:
        upload(pinned.capsule, client.blobs.of(entity))
    return dict(source)
