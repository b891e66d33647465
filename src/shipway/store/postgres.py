"""Rows on PostgreSQL: several servers may share one database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from shipway.domain.errors import Conflict, ShipwayError
from shipway.domain.item import ItemEvent
from shipway.store import postgres_dump
from shipway.store.follow import EVENT_CHANNEL, Follower
from shipway.store.migrate import Migration, check_is_current, known, migrate
from shipway.store.postgres_connection import Connection, PostgresSession, connect, in_our_words
from shipway.store.queries import postgres_queries
from shipway.store.readers import Readers
from shipway.store.transaction import Transaction
from shipway.store.writer import Claim, Take, Writer, quietly, unknown_outcome

T = TypeVar("T")

EVENT_LOCK = 0x5348_4950_0001  # held from the numbering of events until their commit
MIGRATION_LOCK = 0x5348_4950_0002  # held by the one server that migrates
UPKEEP_LOCK = 0x5348_4950_0003  # held by the one server that does the periodic chores


class PostgresEngine:
    """The writer's transactions; a lost connection is made anew at the next begin."""

    def __init__(
        self, connect: Callable[[], Connection], session: PostgresSession, follower: Follower
    ) -> None:
        self._connect = connect
        self._session = session
        self._follower = follower
        self._connection: Connection | None = None
        self._has_part = False

    def begin(self) -> None:
        """Begin, on a new connection where the old one is lost."""
        self._has_part = False
        if self._connection is None or self._connection.closed:
            self._reconnect()
        try:
            self._run("BEGIN")
        except ShipwayError:  # it was lost while nobody used it
            self._reconnect()
            self._run("BEGIN")

    def begin_part(self) -> None:
        """Set a savepoint; in one round trip with the release of the one before it."""
        if self._has_part:
            self._run("RELEASE SAVEPOINT request; SAVEPOINT request")
        else:
            self._run("SAVEPOINT request")
        self._has_part = True

    def end_part(self) -> None:
        """Check that no error was swallowed: PostgreSQL would drop everything after it."""
        assert self._connection is not None
        status = self._connection.info.transaction_status
        if status is not TransactionStatus.INTRANS:
            raise ShipwayError("an error of the database was swallowed: nothing was stored")

    def undo_part(self) -> None:
        """Undo what came after the savepoint."""
        self._run("ROLLBACK TO SAVEPOINT request")

    def is_open(self) -> bool:
        """Tell whether the connection, and with it the transaction, is still there."""
        return self._connection is not None and not self._connection.closed

    def lock_events(self) -> None:
        """Wait for other servers that number events at this moment; held until the commit."""
        self._run(f"SELECT pg_advisory_xact_lock({EVENT_LOCK})")

    def commit(self, events: Sequence[ItemEvent]) -> None:
        """Make all durable, and wake the other servers when there are events."""
        assert self._connection is not None
        if events:
            self._run(f"NOTIFY {EVENT_CHANNEL}")
            self._follower.own(events[0].seq, events[-1].seq)
        try:
            status = self._connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            self._follower.failed()
            if self._connection.closed:
                raise unknown_outcome(error) from error
            raise in_our_words(error) from error
        if status != "COMMIT":
            self._follower.failed()
            raise ShipwayError("an error of the database was swallowed: nothing was stored")
        self._follower.committed()

    def rollback(self) -> None:
        """Drop the transaction, if there is one."""
        if self._connection is None or self._connection.closed:
            return
        connection = self._connection
        if connection.info.transaction_status is not TransactionStatus.IDLE:
            quietly(lambda: connection.execute("ROLLBACK"))

    @property
    def pid(self) -> int:
        """The connection's number on the server, which its hints carry."""
        return 0 if self._connection is None else self._connection.info.backend_pid

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            quietly(self._connection.close)

    def _reconnect(self) -> None:
        self.close()
        self._connection = self._connect()
        self._session.use(self._connection)

    def _run(self, statement: str) -> None:
        assert self._connection is not None
        try:
            self._connection.execute(statement.encode())
        except psycopg.Error as error:
            raise in_our_words(error) from error


class PostgresStore:
    """The port `Store` on a PostgreSQL database."""

    def __init__(
        self, url: str, *, fatal: Callable[[BaseException], None], is_durable: bool = True
    ) -> None:
        self._url = url
        self._is_durable = is_durable
        self._queries = postgres_queries()
        session = PostgresSession(self._queries)
        transaction = Transaction(session)
        self._follower = Follower(self._events_after, self._listen)
        self._engine = PostgresEngine(self._connect, session, self._follower)
        self.writer = Writer(self._engine, transaction, fatal=fatal)
        self._readers = Readers(self._connect_reader)
        self._upkeep: Connection | None = None
        self._upkeep_lock = threading.Lock()

    def start(self) -> None:
        """Begin to write, and to follow other servers' commits, in threads."""
        with self.read() as tx:
            last = tx.events.last_seq()
        self.writer.start()
        self._follower.start(last, self.writer.hear)

    def write(self, work: Callable[[Transaction], T]) -> Future[T]:
        """Queue work for the writer: its own savepoint, answered only after the commit."""
        return self.writer.write(work)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a read-only view of what is committed."""
        taken = self._readers.take()
        connection, transaction = taken
        try:
            try:
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            except psycopg.Error:  # it was lost while nobody used it
                quietly(connection.close)
                connection, transaction = taken = self._connect_reader()
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield transaction
        except psycopg.Error as error:
            raise in_our_words(error) from error
        finally:
            transaction.events.drop()
            if not connection.closed:
                quietly(lambda: connection.execute("ROLLBACK"))
            if connection.closed:
                self._readers.discard()
            else:
                self._readers.give_back(taken)

    def subscribe(self, take: Take) -> None:
        """Call `take` with the events of each commit, after it, from the writer's thread."""
        self.writer.subscribe(take)

    def before_commit(self, claim: Claim) -> None:
        """Ask, before each commit, for work that its events call for: it joins their group."""
        self.writer.before_commit(claim)

    def holds_upkeep(self) -> bool:
        """Tell whether this server, of all that share the database, does the periodic chores."""
        with self._upkeep_lock:
            try:
                if self._upkeep is None or self._upkeep.closed:
                    self._upkeep = self._connect()
                return _holds_lock(self._upkeep)
            except (psycopg.Error, ShipwayError):  # nobody knows, so we do not
                if self._upkeep is not None:
                    quietly(self._upkeep.close)
                return False

    def close(self) -> None:
        """Finish the work that is queued, then close; a second call does nothing."""
        self._follower.stop(self._hint)
        self.writer.close()
        self._engine.close()
        for connection, _ in self._readers.close():
            quietly(connection.close)
        with self._upkeep_lock:
            if self._upkeep is not None:
                connection = self._upkeep  # unlocked by word: a closed one lingers for a moment
                quietly(lambda: connection.execute("SELECT pg_advisory_unlock_all()"))
                quietly(connection.close)

    def _hint(self) -> None:
        with suppress(ShipwayError, psycopg.Error), self._connect() as connection:
            connection.execute(f"NOTIFY {EVENT_CHANNEL}".encode())

    def _events_after(self, seq: int, limit: int) -> list[ItemEvent]:
        with self.read() as tx:
            return tx.events.after(seq, limit=limit)

    def _listen(self, timeout_s: float) -> Iterator[Callable[[], None]]:
        """Yield a function that waits for the next hint; ends with an error with its connection."""
        connection = self._connect()
        try:
            connection.execute(f"LISTEN {EVENT_CHANNEL}".encode())

            def wait() -> None:
                try:
                    for hint in connection.notifies(timeout=timeout_s):
                        if hint.pid != self._engine.pid:
                            return
                except psycopg.Error as error:
                    raise in_our_words(error) from error

            while True:
                yield wait
        finally:
            quietly(connection.close)

    def _connect_reader(self) -> tuple[Connection, Transaction]:
        connection = self._connect()
        session = PostgresSession(self._queries)
        session.use(connection)
        return connection, Transaction(session)

    def _connect(self) -> Connection:
        return connect(self._url, is_durable=self._is_durable)


class PostgresSchema:
    """The schema of a PostgreSQL database, for `migrate`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def applied(self) -> list[int]:
        """Return the numbers on record."""
        found = self._connection.execute("SELECT to_regclass('schema_migrations')").fetchone()
        if found is None or found[0] is None:
            return []
        numbers = "SELECT number FROM schema_migrations ORDER BY number"
        return [row[0] for row in self._connection.execute(numbers)]

    def apply(self, migration: Migration, *, now: int) -> None:
        """Run one migration with its record in one transaction."""
        with self._connection.transaction():
            self._connection.execute(migration.text.encode())
            record = "INSERT INTO schema_migrations VALUES (%s, %s, %s)"
            self._connection.execute(record, (migration.number, migration.name, now))


def open_postgres(
    url: str,
    *,
    is_migrated: bool,
    now: int,
    fatal: Callable[[BaseException], None],
    is_durable: bool = True,
    back_up: Callable[[Migration], None] | None = None,
    migrations: Sequence[Migration] | None = None,
) -> PostgresStore:
    """Open a store, its schema made or brought forward first if that is asked."""
    steps = known("postgres") if migrations is None else migrations
    with connect(url, is_durable=is_durable) as connection:
        schema = PostgresSchema(connection)
        try:
            if is_migrated:
                connection.execute("SET lock_timeout = 0")  # wait for a server that migrates now
                connection.execute(f"SELECT pg_advisory_lock({MIGRATION_LOCK})".encode())
                save = back_up or (lambda first: dump(url, first))
                migrate(schema, steps, now=now, back_up=save)
            check_is_current(schema, steps)
        except psycopg.Error as error:
            raise in_our_words(error) from error
    return PostgresStore(url, fatal=fatal, is_durable=is_durable)


def dump(url: str, first: Migration) -> None:
    """Back a database up with pg_dump into the present folder before it is migrated."""
    target = Path(f"shipway-before-{first.title}.dump").absolute()
    try:
        postgres_dump.dump(url, target)
    except ShipwayError as error:
        raise Conflict(
            f"no backup could be made, so nothing was migrated: {error.message}; or make a backup "
            "and migrate with --no-backup"
        ) from error


def _holds_lock(connection: Connection) -> bool:
    """Tell whether this connection has, or can get, the lock that it keeps until it closes."""
    mine = (
        "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND pid = pg_backend_pid() AND objid = %s AND classid = %s"
    )
    halves = (UPKEEP_LOCK & 0xFFFF_FFFF, UPKEEP_LOCK >> 32)
    held = connection.execute(mine, halves).fetchone()
    if held is not None and held[0]:
        return True
    got = connection.execute("SELECT pg_try_advisory_lock(%s)", (UPKEEP_LOCK,)).fetchone()
    return got is not None and bool(got[0])
