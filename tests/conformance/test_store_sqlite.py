"""What is SQLite's own: one file, its disk, kills."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shipway.domain.errors import Invalid, Overloaded, ShipwayError, StorageFull
from shipway.store.migrate import schema
from shipway.store.open import open_store
from shipway.store.sqlite import SqliteStore, back_up, connect
from shipway.testing.store_samples import a_queue, an_item, filled, write

KILLS = 5
CHILD = """
import sys
from shipway.store.open import open_store
from shipway.testing.store_samples import a_queue, an_item
store = open_store(sys.argv[1], migrate=True)
first = int(sys.argv[2])
with store.read() as tx:
    queue = tx.queues.by_name("ada", "demo", "default")
queue = queue or store.write(lambda tx: tx.queues.insert(a_queue())).result(30)
def ack(future, number):
    if future.exception() is None:
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
number = first
while True:
    futures = []
    for number in range(number, number + 20):
        future = store.write(lambda tx, n=number: tx.items.insert(an_item(queue, n)))
        future.add_done_callback(lambda done, n=number: ack(done, n))
        futures.append(future)
    number += 1
    for future in futures:
        future.result(30)
"""
LIMITED_CHILD = """
import resource, signal, sys
from shipway.domain.errors import UnknownOutcome
from shipway.store.open import open_store
from shipway.testing.store_samples import a_queue, an_item
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_store(sys.argv[1], migrate=True)
queue = store.write(lambda tx: tx.queues.insert(a_queue())).result(30)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
for number in range(10_000):
    spec = "x" * 10_000
    store.write(lambda tx: tx.items.insert(an_item(queue, number, spec=spec))).result(30)
    print(number, flush=True)
"""


_COMMA = re.compile(r"\s*(?:,\s*(?![^()]*\)(?!\Z))|\)\Z)\s*")  # between definitions, and last


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shipway.db"


@pytest.fixture
def sqlite_store(path: Path) -> Iterator[SqliteStore]:
    store = open_store(f"sqlite:///{path}", migrate=True, fatal=pytest.fail)
    assert isinstance(store, SqliteStore)
    with closing(store):
        yield store


def test_migrations_lead_to_the_schema_file(path: Path, sqlite_store: SqliteStore) -> None:
    sqlite_store.close()
    question = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"
    with closing(sqlite3.connect(path)) as migrated, closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(schema("sqlite"))
        assert defined(migrated.execute(question)) == defined(fresh.execute(question))


def defined(rows: Iterable[tuple[str, str, str, str | None]]) -> list[tuple[object, ...]]:
    """Return what is defined; SQLite writes an added column behind the table's constraints."""
    return [
        (kind, name, table, sorted(_COMMA.split(text)) if kind == "table" and text else text)
        for kind, name, table, text in rows
    ]


def test_every_connection_syncs_each_commit(path: Path, sqlite_store: SqliteStore) -> None:
    sqlite_store.close()
    with closing(connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_database_that_cannot_do_wal_is_refused() -> None:
    with pytest.raises(Invalid, match="journal_mode"):
        connect(Path(":memory:"))


def test_readers_cannot_write(sqlite_store: SqliteStore) -> None:
    with sqlite_store.read() as tx, pytest.raises(ShipwayError, match="readonly"):
        tx.queues.insert(a_queue())


def test_a_reader_sees_one_moment(sqlite_store: SqliteStore) -> None:
    queue, _ = filled(sqlite_store, 1)
    with sqlite_store.read() as tx:
        before = sum(tx.queues.counts(queue.id).values())
        write(sqlite_store, lambda tx: tx.items.insert(an_item(queue, 9)))
        assert sum(tx.queues.counts(queue.id).values()) == before == 1
    with sqlite_store.read() as tx:
        assert sum(tx.queues.counts(queue.id).values()) == 2


def test_many_threads_read_beside_the_writer(sqlite_store: SqliteStore) -> None:
    queue, items = filled(sqlite_store, 5)
    errors: list[BaseException] = []

    def look() -> None:
        try:
            for _ in range(30):
                with sqlite_store.read() as tx:
                    assert tx.items.get(items[0].id) == items[0]
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(12)]
    for thread in threads:
        thread.start()
    for number in range(10, 40):
        write(sqlite_store, lambda tx, n=number: tx.items.insert(an_item(queue, n)))  # type: ignore[misc] # bound now
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_full_disk_is_said_and_gets_over_it(sqlite_store: SqliteStore) -> None:
    queue, items = filled(sqlite_store, 1)
    connection = sqlite_store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    big = "x" * 200_000
    futures = [
        sqlite_store.write(lambda tx, n=number: tx.items.insert(an_item(queue, n, spec=big)))  # type: ignore[misc] # bound now
        for number in range(10, 14)
    ]
    assert all(isinstance(future.exception(30), StorageFull) for future in futures)
    with sqlite_store.read() as tx:
        assert tx.items.get(items[0].id) == items[0]
    connection.execute("PRAGMA max_page_count = 1073741823")
    write(sqlite_store, lambda tx: tx.items.insert(an_item(queue, 20, spec=big)))


def test_another_process_in_the_way_is_said(path: Path, sqlite_store: SqliteStore) -> None:
    with closing(connect(path)) as other:
        sqlite_store._connection.execute("PRAGMA busy_timeout = 20")
        other.execute("BEGIN IMMEDIATE")
        future = sqlite_store.write(lambda tx: tx.clock.advance(1))
        assert isinstance(future.exception(30), Overloaded)
        other.execute("ROLLBACK")
        assert write(sqlite_store, lambda tx: tx.clock.advance(1)) == 1


def test_a_backup_is_a_whole_database(
    tmp_path: Path, path: Path, sqlite_store: SqliteStore
) -> None:
    _, items = filled(sqlite_store, 3)
    with closing(connect(path)) as connection:
        back_up(connection, tmp_path / "copy.db")
    copy = open_store(f"sqlite:///{tmp_path}/copy.db", migrate=False)
    with closing(copy), copy.read() as tx:
        assert [tx.items.get(item.id) for item in items] == items


def test_foreign_keys_and_checks_are_enforced(sqlite_store: SqliteStore) -> None:
    queue, _ = filled(sqlite_store, 1)
    unchecked = an_item(queue, 2, rank=9)
    error = sqlite_store.write(lambda tx: tx.items.insert(unchecked)).exception(30)
    assert "CHECK" in str(error)
    with pytest.raises(AssertionError, match="no run"):
        write(sqlite_store, lambda tx: tx.runs.add_history(99, [{}]))


def test_an_acked_add_survives_kill_9(path: Path) -> None:
    """Earns its time: only a killed process shows what was acked too early."""
    dice = random.Random(11)
    acked: list[int] = []
    for turn in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, f"sqlite:///{path}", str(1_000_000 * turn)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert child.stdout is not None
            acks = dice.randrange(1, 300)
            lines = [child.stdout.readline() for _ in range(acks)]
            child.kill()
            lines += child.stdout.read().splitlines(keepends=True)
            acked += [int(line) for line in lines if line.endswith("\n")]
        finally:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()
    assert len(acked) > KILLS
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = {int(id[4:]) for (id,) in connection.execute("SELECT id FROM items")}
    assert stored.issuperset(acked)


def test_a_failed_write_of_the_disk_ends_the_process(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED_CHILD, f"sqlite:///{path}"],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    acked = [int(line) for line in done.stdout.split()]
    assert done.returncode == 70, done.stderr
    assert acked
    with closing(sqlite3.connect(path)) as connection:
        stored = {int(id[4:]) for (id,) in connection.execute("SELECT id FROM items")}
    assert stored.issuperset(acked)
