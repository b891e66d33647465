"""Copies a PostgreSQL database into a file and back, with its own programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from shutil import which

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from shipway.domain.errors import Conflict, NotAvailable
from shipway.store.postgres_connection import in_our_words


def dump(url: str, target: Path) -> None:
    """Write the database as it is at this moment into a file; writers go on."""
    _run("pg_dump", ["--format=custom", "--no-owner", f"--file={target}"], url)


def load(url: str, source: Path, *, is_forced: bool) -> None:
    """Put a dump's tables into the database, all of them or none; forced: in place of its own."""
    clean = ["--clean", "--if-exists"] if is_forced else []
    flags = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", *clean]
    _run("pg_restore", [*flags, str(source)], url)


def has_tables(url: str) -> bool:
    """Tell whether the database holds anything of shipway's."""
    try:
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT to_regclass('schema_migrations')").fetchone()
    except psycopg.Error as error:
        raise in_our_words(error) from error
    return found is not None and found[0] is not None


def _run(name: str, flags: list[str], url: str) -> None:
    program = which(name)
    if program is None:
        raise NotAvailable(
            f"{name} is not installed here, and a PostgreSQL database is copied with it: install "
            "PostgreSQL's client programs, of the server's version or newer"
        )
    facts = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    password = facts.pop("password", "")  # never on a command line
    env = {**os.environ, **({"PGPASSWORD": password} if password else {})}
    done = subprocess.run(
        [program, *flags, f"--dbname={make_conninfo(**facts)}"],
        check=False,
        capture_output=True,
        text=True,
        env=env,
    )
    if done.returncode != 0:
        raise Conflict(f"{name} failed: {done.stderr.strip()}")
