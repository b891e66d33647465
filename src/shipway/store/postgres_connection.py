"""Connects to PostgreSQL, and says its errors in our words."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import errors
from psycopg.types.numeric import Int8Dumper

from shipway.domain.errors import Invalid, Overloaded, ShipwayError, StorageFull
from shipway.store.session import Contended, Params, Row
from shipway.store.writer import quietly

Connection = psycopg.Connection[Row]

CONNECT_S = 5  # for one attempt to connect
LOCK_MS = 5_000  # that a statement waits for another server's transaction

_CONTENDED = (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable)
_FULL = (errors.DiskFull, errors.OutOfMemory)
_BAD_VALUE = (UnicodeEncodeError, OverflowError)
_ANY = (psycopg.Error, *_BAD_VALUE)


class PostgresSession:
    """Named statements on one PostgreSQL connection, which its holder may exchange."""

    def __init__(self, queries: dict[str, str]) -> None:
        self._queries = queries
        self._cursor: psycopg.Cursor[Row] | None = None

    def use(self, connection: Connection) -> None:
        """Run what comes on this connection."""
        self._cursor = connection.cursor()

    def one(self, name: str, params: Params) -> Row | None:
        """Run a statement and return its first row."""
        assert self._cursor is not None
        try:
            return self._cursor.execute(self._queries[name], params).fetchone()
        except _ANY as error:
            raise in_our_words(error) from error

    def all(self, name: str, params: Params) -> list[Row]:
        """Run a statement and return its rows."""
        assert self._cursor is not None
        try:
            return self._cursor.execute(self._queries[name], params).fetchall()
        except _ANY as error:
            raise in_our_words(error) from error

    def run(self, name: str, params: Params) -> None:
        """Run a statement that has no rows to give."""
        assert self._cursor is not None
        try:
            self._cursor.execute(self._queries[name], params)
        except _ANY as error:
            raise in_our_words(error) from error

    def many(self, name: str, params: Sequence[Params]) -> None:
        """Run a statement that has no rows to give, once for each, in one round trip."""
        assert self._cursor is not None
        try:
            self._cursor.executemany(self._queries[name], params)
        except _ANY as error:
            raise in_our_words(error) from error


def connect(url: str, *, is_durable: bool = True) -> Connection:
    """Open a connection, and refuse it unless commits survive power loss."""
    try:
        connection: Connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_S,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            prepare_threshold=2,
            options=f"-c lock_timeout={LOCK_MS} -c TimeZone=UTC -c client_encoding=UTF8",
        )
    except psycopg.Error as error:
        raise Overloaded(f"the database cannot be reached: {error}") from error
    # Numbers always travel as bigint: one plan for each statement, whatever their size.
    connection.adapters.register_dumper(int, Int8Dumper)
    if is_durable:
        try:
            _check_durability(connection)
        except BaseException:
            quietly(connection.close)
            raise
    return connection


def in_our_words(error: Exception) -> ShipwayError:
    """Turn an error of PostgreSQL's or of its driver's into one with a code."""
    if isinstance(error, (*_BAD_VALUE, psycopg.DataError)):
        return Invalid(f"a value cannot be stored: {error}")
    if isinstance(error, _CONTENDED):
        return Contended("another server holds what this needs: try again later")
    if isinstance(error, _FULL):
        return StorageFull("the disk of the database is full: nothing was stored")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Overloaded(f"the database went away ({error}): nothing was stored, try again later")
    return ShipwayError(f"the database refused a statement: {error}")


def _check_durability(connection: Connection) -> None:
    for name, allowed in (
        ("fsync", {"on"}),
        ("full_page_writes", {"on"}),
        ("synchronous_commit", {"on", "local", "remote_write", "remote_apply"}),
    ):
        row = connection.execute(f"SHOW {name}".encode()).fetchone()
        assert row is not None
        if row[0] not in allowed:
            raise Invalid(
                f"PostgreSQL has {name} = {row[0]}, with which a commit can be lost: set it to on",
                field="database",
                value=name,
            )
