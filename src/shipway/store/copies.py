"""Copies a whole database into a file, and a file into a database, whichever kind it is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from enum import StrEnum
from pathlib import Path

from shipway.domain.errors import Conflict, Invalid
from shipway.store.sqlite import back_up, connect, in_our_words, sync_folder


class Kind(StrEnum):
    """What a database is kept in; a copy of one goes into no other."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


def kind_of(url: str) -> Kind:
    """Return what an address names."""
    if url.startswith("sqlite:///"):
        return Kind.SQLITE
    if url.startswith(("postgresql://", "postgres://")):
        return Kind.POSTGRESQL
    raise Invalid("a database address begins with sqlite:/// or postgresql://", field="database")


def file_of(url: str) -> Path | None:
    """Return the file of a SQLite database; None for another kind."""
    return _path(url) if kind_of(url) is Kind.SQLITE else None


def dump(url: str, target: Path) -> None:
    """Write a database as it is at this moment into a new file; writers go on."""
    if kind_of(url) is Kind.POSTGRESQL:
        from shipway.store import postgres_dump  # noqa: PLC0415 - psycopg is an extra

        postgres_dump.dump(url, target)
        return
    path = _path(url)
    if not path.exists():
        raise Invalid(f"there is no database at {path}", field="database", value=str(path))
    try:
        with closing(connect(path)) as connection:
            back_up(connection, target)
    except sqlite3.Error as error:
        raise in_our_words(error) from error


def holds_data(url: str) -> bool:
    """Tell whether a database is there already."""
    if kind_of(url) is Kind.POSTGRESQL:
        from shipway.store import postgres_dump  # noqa: PLC0415 - psycopg is an extra

        return postgres_dump.has_tables(url)
    path = _path(url)
    return path.exists() and path.stat().st_size > 0


def load(url: str, source: Path, *, is_forced: bool) -> None:
    """Make a database what a copy is, wholly or not at all; forced: in place of what is there."""
    if kind_of(url) is Kind.POSTGRESQL:
        from shipway.store import postgres_dump  # noqa: PLC0415 - psycopg is an extra

        postgres_dump.load(url, source, is_forced=is_forced)
        return
    path = _path(url)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if holds_data(url):
        assert is_forced, "the caller has asked"
        _replace(path, source)
    else:
        with closing(sqlite3.connect(source)) as connection:
            back_up(connection, path)
    sync_folder(path.parent)


def check_is_free(url: str) -> None:
    """Raise `Conflict` while another process has a SQLite database open."""
    if kind_of(url) is Kind.SQLITE and holds_data(url):
        with closing(_alone(_path(url))):
            pass


def _replace(path: Path, source: Path) -> None:
    """Write one database over another in one transaction of SQLite's own."""
    with closing(_alone(path)) as connection, closing(sqlite3.connect(source)) as copy:
        copy.backup(connection)


def _alone(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        connection.close()
        raise Conflict(f"another process uses the database {path}: end its server first") from error
    except sqlite3.Error as error:
        connection.close()
        raise in_our_words(error) from error
    return connection


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///")).absolute()
