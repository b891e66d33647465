"""Rows on SQLite: a file on a local disk, one writer, readers beside it."""

from __future__ import annotations

import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from enum import StrEnum
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from shipway.domain.errors import Invalid, Overloaded, ShipwayError, StorageFull
from shipway.domain.item import ItemEvent
from shipway.store.file_system import check_is_local
from shipway.store.migrate import Migration, check_is_current, known, migrate, statements
from shipway.store.queries import sqlite_queries, to_numbered
from shipway.store.readers import Readers
from shipway.store.session import DiskFailed, Params, Row
from shipway.store.transaction import Transaction
from shipway.store.writer import Claim, Take, Writer

T = TypeVar("T")

Query = tuple[str, Callable[[Params], Sequence[Any]]]  # its text, and its values in their order

BUSY_MS = 5_000  # that a transaction waits for another process's, such as a backup's
CACHED_STATEMENTS = 256
WRITER_CACHE_KIB = 16_384  # of pages
READER_CACHE_KIB = 2_048  # of each reader
WAL_PAGES = 4_000  # of 4 KiB; then its content goes into the database
OLDEST = (3, 38, 0)  # RETURNING, UPDATE FROM and JSON are there

_FULL = sqlite3.SQLITE_FULL
_IO = sqlite3.SQLITE_IOERR
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_ANY = (sqlite3.Error, UnicodeEncodeError, OverflowError)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Durability(StrEnum):
    """What a commit is worth."""

    FULL = "full"  # it survives power loss
    OFF = "off"  # it survives nothing: for simulations, on a file in memory


class SqliteSession:
    """Named statements on one SQLite connection."""

    def __init__(self, connection: sqlite3.Connection, queries: Mapping[str, Query]) -> None:
        self._execute = connection.execute
        self._executemany = connection.executemany
        self._queries = queries

    def one(self, name: str, params: Params) -> Row | None:
        """Run a statement and return its first row."""
        rows = self.all(name, params)
        return rows[0] if rows else None

    def all(self, name: str, params: Params) -> list[Row]:
        """Run a statement and return its rows."""
        text, values = self._queries[name]
        try:
            return self._execute(text, values(params)).fetchall()
        except _ANY as error:
            raise in_our_words(error) from error

    def run(self, name: str, params: Params) -> None:
        """Run a statement that has no rows to give."""
        text, values = self._queries[name]
        try:
            self._execute(text, values(params))
        except _ANY as error:
            raise in_our_words(error) from error

    def many(self, name: str, params: Sequence[Params]) -> None:
        """Run a statement that has no rows to give, once for each."""
        text, values = self._queries[name]
        try:
            self._executemany(text, map(values, params))
        except _ANY as error:
            raise in_our_words(error) from error


class SqliteEngine:
    """The writer's transactions on its own connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self) -> None:
        """Begin as a writer at once: nobody can come in between."""
        self._run("BEGIN IMMEDIATE")

    def begin_part(self) -> None:
        """Set a savepoint."""
        self._run("SAVEPOINT request")

    def end_part(self) -> None:
        """Keep what came after it."""
        self._run("RELEASE request")

    def undo_part(self) -> None:
        """Undo what came after it."""
        self._run("ROLLBACK TO request")
        self._run("RELEASE request")

    def is_open(self) -> bool:
        """Tell whether SQLite rolled everything back by itself, as it does on a full disk."""
        return self._connection.in_transaction

    def lock_events(self) -> None:
        """Do nothing: there is one writer."""

    def commit(self, events: Sequence[ItemEvent]) -> None:  # noqa: ARG002 - others read the file
        """Make all durable."""
        self._run("COMMIT")

    def rollback(self) -> None:
        """Drop the transaction, if there is one."""
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:  # it is gone then, and the next begin says what is wrong
                return

    def _run(self, statement: str) -> None:
        try:
            self._connection.execute(statement)
        except sqlite3.Error as error:
            raise in_our_words(error) from error


class SqliteStore:
    """The port `Store` on a SQLite file."""

    def __init__(
        self,
        path: Path,
        *,
        fatal: Callable[[BaseException], None],
        durability: Durability = Durability.FULL,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._durability = durability
        self._queries = _named_queries()
        self._connection = connect(path, durability=durability, cache_kib=WRITER_CACHE_KIB)
        transaction = Transaction(SqliteSession(self._connection, self._queries))
        engine = SqliteEngine(self._connection)
        self.writer = Writer(engine, transaction, fatal=fatal, seconds=seconds)
        self._readers = Readers(self._connect_reader)

    def start(self) -> None:
        """Begin to write in a thread; without it, `writer.drain()` is the caller's to call."""
        self.writer.start()

    def write(self, work: Callable[[Transaction], T]) -> Future[T]:
        """Queue work for the writer: its own savepoint, answered only after the commit."""
        return self.writer.write(work)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a read-only view of what is committed."""
        connection, transaction = taken = self._readers.take()
        try:
            try:
                connection.execute("BEGIN")
            except sqlite3.Error as error:
                raise in_our_words(error) from error
            try:
                yield transaction
            finally:
                connection.execute("ROLLBACK")
                transaction.events.drop()
        except BaseException:
            if connection.in_transaction:
                connection.close()
                self._readers.discard()
            else:
                self._readers.give_back(taken)
            raise
        self._readers.give_back(taken)

    def subscribe(self, take: Take) -> None:
        """Call `take` with the events of each commit, after it, from the writer's thread."""
        self.writer.subscribe(take)

    def before_commit(self, claim: Claim) -> None:
        """Ask, before each commit, for work that its events call for: it joins their group."""
        self.writer.before_commit(claim)

    def holds_upkeep(self) -> bool:
        """Tell whether this server does the periodic chores: it is the only one there is."""
        return True

    def close(self) -> None:
        """Finish the work that is queued, then close; a second call does nothing."""
        self.writer.close()
        for connection, _ in self._readers.close():
            connection.close()
        self._connection.close()

    def _connect_reader(self) -> tuple[sqlite3.Connection, Transaction]:
        connection = connect(self._path, durability=self._durability, cache_kib=READER_CACHE_KIB)
        connection.execute("PRAGMA query_only = ON")
        return connection, Transaction(SqliteSession(connection, self._queries))


class SqliteSchema:
    """The schema of a SQLite file, for `migrate`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def applied(self) -> list[int]:
        """Return the numbers on record; `Invalid` for a file that is not shipway's."""
        names = "SELECT name FROM sqlite_master WHERE type = 'table'"
        tables = {name for (name,) in self._connection.execute(names)}
        if not tables:
            return []
        if "schema_migrations" not in tables:
            raise Invalid("this SQLite file belongs to another program: choose another path")
        numbers = "SELECT number FROM schema_migrations ORDER BY number"
        return [number for (number,) in self._connection.execute(numbers)]

    def apply(self, migration: Migration, *, now: int) -> None:
        """Run one migration with its record in one transaction."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            if migration.number not in self.applied():  # another process may have been faster
                for statement in statements(migration.text):
                    connection.execute(statement)
                record = "INSERT INTO schema_migrations VALUES (?, ?, ?)"
                connection.execute(record, (migration.number, migration.name, now))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def open_sqlite(
    path: Path,
    *,
    is_migrated: bool,
    now: int,
    fatal: Callable[[BaseException], None],
    durability: Durability = Durability.FULL,
    migrations: Sequence[Migration] | None = None,
) -> SqliteStore:
    """Open a store, made or brought forward first if that is asked; nothing is written yet."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise Invalid(f"SQLite {sqlite3.sqlite_version} is too old: shipway needs 3.38 or newer")
    steps = known("sqlite") if migrations is None else migrations
    if not is_migrated and not path.exists():
        raise Invalid(f"there is no database at {path}", field="database", value=str(path))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_is_local(path.parent)
    try:
        with closing(connect(path, durability=durability)) as connection:
            schema = SqliteSchema(connection)
            if is_migrated:
                migrate(
                    schema,
                    steps,
                    now=now,
                    back_up=lambda first: _back_up_before(connection, path, first),
                )
            check_is_current(schema, steps)
        for folder in itertools.takewhile(_is_ours, path.parents):
            sync_folder(folder)  # whoever made it: without one of them the file is lost
    except sqlite3.Error as error:
        raise in_our_words(error) from error
    return SqliteStore(path, fatal=fatal, durability=durability)


def connect(
    path: Path, *, durability: Durability = Durability.FULL, cache_kib: int = READER_CACHE_KIB
) -> sqlite3.Connection:
    """Open a connection, and refuse it unless SQLite does what was asked of it."""
    connection = sqlite3.connect(
        path,
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    try:
        _set_up(connection, path, durability)
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    except sqlite3.Error as error:
        connection.close()
        raise in_our_words(error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Copy a database as it is at this moment into a new file, durably; writers go on."""
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(partial)) as copy:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = delete")
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make durable which names a folder has."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def in_our_words(error: Exception) -> ShipwayError:
    """Turn an error of SQLite's into one with a code."""
    if isinstance(error, UnicodeEncodeError | OverflowError):
        return Invalid(f"a value cannot be stored: {error}")
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == _FULL:
        return StorageFull("the disk of the database is full: nothing was stored")
    if primary == _IO:
        return DiskFailed(f"the disk of the database failed ({error}): what is stored is not known")
    if primary in _DAMAGED:
        return DiskFailed(f"the database is damaged ({error}): restore a backup")
    if primary in _BUSY:
        return Overloaded("another process holds the database: try again later")
    return ShipwayError(f"the database refused a statement: {error}")


def _set_up(connection: sqlite3.Connection, path: Path, durability: Durability) -> None:
    wanted: dict[str, object] = {
        "journal_mode": "wal",
        "synchronous": 2 if durability is Durability.FULL else 0,
        "foreign_keys": 1,
    }
    for name, value in wanted.items():
        connection.execute(f"PRAGMA {name} = {value}")
        found = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if found != value:
            raise Invalid(
                f"SQLite keeps {name} = {found} where {value} is needed ({path}): "
                "put the database on a local disk of this machine",
                field="database",
                value=str(path),
            )


@cache
def _named_queries() -> Mapping[str, Query]:
    return {name: _query(text) for name, text in sqlite_queries().items()}


def _query(text: str) -> Query:
    numbered, names = to_numbered(text)
    if len(names) > 1:
        return numbered, itemgetter(*names)
    return numbered, lambda params: [params[name] for name in names]


def _back_up_before(connection: sqlite3.Connection, path: Path, first: Migration) -> None:
    back_up(connection, path.with_name(f"{path.name}.before-{first.title}"))


def _is_ours(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.W_OK)
