"""A database's copy holds what it held at one moment, on every kind of database."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from shipway.blobs.directory import DirectoryBlobs
from shipway.domain.errors import Conflict, NotAvailable
from shipway.server.backup import Places, back_up
from shipway.server.restore import restore
from shipway.service.ports import Store
from shipway.store import copies
from shipway.store.open import open_store
from shipway.store.sqlite import Durability
from shipway.testing.postgres import new_database
from shipway.testing.store_samples import a_queue, add, an_item, filled, write


@pytest.fixture
def other_url(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> str:
    """The address of a second empty database of the same kind."""
    if database_url.startswith("sqlite:"):
        return f"sqlite:///{tmp_path}/other/shipway.db"
    return new_database(request.getfixturevalue("postgres_server"), f"other{tmp_path.name[-6:]}")


def ids(url: str) -> list[int]:
    opened = open_store(url, migrate=False, durability=Durability.OFF)
    with closing(opened) as store, store.read() as tx:
        return [seq for seq, _, _ in tx.references.items(after=0, limit=100_000)]


def test_a_copy_under_load_is_a_prefix(
    store: Store, database_url: str, other_url: str, tmp_path: Path
) -> None:
    queue = write(store, lambda tx: tx.queues.insert(a_queue()))
    numbers = itertools.count(1)
    is_over, has_begun = threading.Event(), threading.Event()

    def load() -> None:
        while not is_over.is_set():
            write(store, lambda tx: add(tx, an_item(queue, next(numbers))))
            has_begun.set()

    thread = threading.Thread(target=load)
    thread.start()
    has_begun.wait()
    try:
        copies.dump(database_url, tmp_path / "copy")
    finally:
        is_over.set()
        thread.join()
    copies.load(other_url, tmp_path / "copy", is_forced=False)
    found, whole = ids(other_url), ids(database_url)
    assert found
    assert found == whole[: len(found)]


def test_a_copy_takes_the_place_of_what_is_there_only_when_asked(
    store: Store, database_url: str, other_url: str, tmp_path: Path
) -> None:
    filled(store, 3)
    blobs = DirectoryBlobs(tmp_path / "blobs", free_floor=0, sync=lambda _: None)
    blobs.open()
    back_up(Places(database=database_url, blobs=blobs.root), tmp_path / "b.tar")
    to = Places(database=other_url, blobs=tmp_path / "to")
    restore(tmp_path / "b.tar", to)
    assert len(ids(other_url)) == 3
    with closing(open_store(other_url, migrate=False, durability=Durability.OFF)) as other:
        queue = write(other, lambda tx: tx.queues.insert(a_queue(name="more")))
        write(other, lambda tx: add(tx, an_item(queue, 9)))
    assert len(ids(other_url)) == 4
    with pytest.raises(Conflict, match="--force"):
        restore(tmp_path / "b.tar", to)
    restore(tmp_path / "b.tar", to, is_forced=True)
    assert ids(other_url) == ids(database_url)


@pytest.mark.postgres
def test_without_the_programs_it_is_said_what_to_install(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotAvailable, match="pg_dump is not installed"):
        copies.dump(postgres_url, tmp_path / "copy")


@pytest.mark.postgres
def test_a_password_is_on_no_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_program: Callable[[str, str], None]
) -> None:
    pytest.importorskip("psycopg")
    make_program("pg_dump", f'echo "$@" > {tmp_path}/argv; echo "$PGPASSWORD" > {tmp_path}/env')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    copies.dump("postgresql://ann:s3cret@db.example.org/shipway", tmp_path / "copy")
    assert "s3cret" not in (tmp_path / "argv").read_text()
    assert "db.example.org" in (tmp_path / "argv").read_text()
    assert (tmp_path / "env").read_text() == "s3cret\n"


@pytest.fixture
def make_program(tmp_path: Path) -> Callable[[str, str], None]:
    def make(name: str, text: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)

    return make
