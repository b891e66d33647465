"""`shipway server`: a server for several machines."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.option(
    "--database",
    default="sqlite:///shipway.db",
    show_default=True,
    metavar="URL",
    help="sqlite:///FILE, or postgresql://….",
)
@click.option("--blobs", default="blobs", show_default=True, metavar="URL", help="Where bytes go.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free one.")
@click.option("--base-url", help="How others reach it, when that is not host and port.")
@click.option("--migrate", is_flag=True, help="Bring the schema up to date; SQLite always does.")
@click.option(
    "--admin-key-file",
    type=click.Path(path_type=Path),
    default=Path("shipway-admin.key"),
    show_default=True,
    help="Where the first admin's key is written, on an empty database.",
)
def server(
    *,
    database: str,
    blobs: str,
    host: str,
    port: int,
    base_url: str | None,
    migrate: bool,
    admin_key_file: Path,
) -> int:
    """Run a server for several machines, in the foreground.

    On an empty database it makes an admin and writes the key to a file that only you can read.
    SQLite is migrated at the start, after a backup; PostgreSQL only with --migrate.
    """
    from shipway.server.main import run_server  # noqa: PLC0415 - the CLI loads no server library
    from shipway.server.settings import Settings  # noqa: PLC0415 - as above

    settings = Settings(
        database=database,
        blobs=Path(blobs.removeprefix("file://")),
        host=host,
        port=port,
        base_url=base_url,
        migrate=migrate,
        admin_key_file=admin_key_file,
    )
    os.umask(0o077)  # the database holds what keys are made from
    return run_server(settings)
