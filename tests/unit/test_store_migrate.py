"""Bringing a database forward, and refusing others."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from shipway.domain.errors import Conflict, Invalid
from shipway.store.migrate import Migration, check_is_current, known, migrate, pending, statements
from shipway.store.open import open_store
from shipway.store.sqlite import SqliteSchema, connect, open_sqlite
from tests.support import jobs_before


def a_migration(number: int, text: str = "") -> Migration:
    return Migration(number=number, name="step", text=text or f"CREATE TABLE t{number} (a TEXT);\n")


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_migrations_have_no_gaps(dialect: str) -> None:
    steps = known(dialect)
    assert [one.number for one in steps] == list(range(1, len(steps) + 1))
    assert steps[0].title == "0001_first"


def test_what_is_pending_is_told_in_order() -> None:
    steps = [a_migration(number) for number in (1, 2, 3)]
    assert [one.number for one in pending([], steps)] == [1, 2, 3]
    assert [one.number for one in pending([1], steps)] == [2, 3]
    assert pending([1, 2, 3, 4], steps) == []
    with pytest.raises(Conflict, match="schema 5"):
        pending([1, 2, 3, 4, 5], steps)


def test_a_script_is_cut_into_statements() -> None:
    text = "-- why\n\nCREATE TABLE a (b TEXT DEFAULT ';');\nSELECT 1;\n-- end\n"
    assert list(statements(text)) == ["CREATE TABLE a (b TEXT DEFAULT ';');", "SELECT 1;"]


def test_a_step_and_its_record_come_together_or_not_at_all(tmp_path: Path) -> None:
    first = known("sqlite")[0]
    broken = a_migration(2, "CREATE TABLE t2 (a TEXT);\nCREATE TABLE t2 (a TEXT);\n")
    backups: list[str] = []
    with closing(connect(tmp_path / "a.db")) as connection:
        schema = SqliteSchema(connection)
        arguments = {"now": 5, "back_up": lambda one: backups.append(one.title)}
        assert migrate(schema, [first], **arguments) == [first]
        assert backups == []  # it was new
        assert migrate(schema, [first], **arguments) == []
        with pytest.raises(sqlite3.OperationalError):
            migrate(schema, [first, broken], **arguments)
        assert backups == ["0002_step"]
        assert schema.applied() == [1]
        with pytest.raises(Conflict, match="0002_step"):
            check_is_current(schema, [first, broken])
        migrate(schema, [first, a_migration(2)], **arguments)
        assert schema.applied() == [1, 2]


def test_a_store_is_migrated_only_when_asked(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shipway.db"
    with pytest.raises(Invalid, match="no database"):
        open_store(url, migrate=False)
    open_store(url, migrate=True).close()
    open_store(url, migrate=False).close()
    (tmp_path / "old.db").touch()
    with pytest.raises(Conflict, match="0001_first"):
        open_store(f"sqlite:///{tmp_path}/old.db", migrate=False)


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(Invalid, match="another program"):
        open_store(f"sqlite:///{path}", migrate=True)


def test_an_old_file_is_backed_up_before_it_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "shipway.db"
    open_store(f"sqlite:///{path}", migrate=True).close()
    number = len(known("sqlite")) + 1
    steps = [*known("sqlite"), a_migration(number)]
    open_sqlite(path, is_migrated=True, now=1, fatal=pytest.fail, migrations=steps).close()
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert (f"t{number}",) in tables.fetchall()
    with closing(sqlite3.connect(tmp_path / f"shipway.db.before-{number:04}_step")) as connection:
        numbers = connection.execute("SELECT number FROM schema_migrations").fetchall()
        assert numbers == [(one,) for one in range(1, number)]


def test_an_address_of_no_kind_is_refused() -> None:
    with pytest.raises(Invalid, match="sqlite:///"):
        open_store("mysql://x", migrate=True)


def test_jobs_of_before_are_artifacts_since(tmp_path: Path) -> None:
    path = tmp_path / "shipway.db"
    steps = known("sqlite")[: jobs_before.NUMBER]
    open_sqlite(path, is_migrated=True, now=1, fatal=pytest.fail, migrations=steps).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(jobs_before.ROWS)
    with closing(open_store(f"sqlite:///{path}", migrate=True)) as store:
        jobs_before.check_moved(store)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
