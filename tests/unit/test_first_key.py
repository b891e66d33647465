"""The owner's key is never known to the database alone, wherever a first start breaks off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from shipway.domain.errors import Invalid
from shipway.server.app import SystemClock, build_service
from shipway.server.first_key import adopt_key, make_admin
from shipway.service.keys import Keys
from shipway.store.open import open_store
from shipway.store.sqlite import SqliteStore

Make = Callable[..., object]


class Death(BaseException):
    """The server's end, at this moment."""


class Dying:
    """A store whose server dies just before, or just after, its first commit."""

    def __init__(self, store: SqliteStore, *, is_committed: bool) -> None:
        self._store = store
        self._is_committed = is_committed

    def write(self, work: Callable[[Any], Any]) -> Future[Any]:
        if self._is_committed:
            self._store.write(work).result()
        raise Death

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(f"sqlite:///{tmp_path}/shipway.db", migrate=True)
    assert isinstance(opened, SqliteStore)
    with closing(opened):
        yield opened


@pytest.fixture
def keys() -> Keys:
    return build_service(SystemClock()).keys


@pytest.mark.parametrize("is_committed", [False, True])
@pytest.mark.parametrize("make", [adopt_key, make_admin])
def test_the_start_after_a_broken_first_start_has_a_key_that_works(
    make: Make, store: SqliteStore, keys: Keys, tmp_path: Path, *, is_committed: bool
) -> None:
    path = tmp_path / "key"
    with suppress(Death):
        make(Dying(store, is_committed=is_committed), keys, path, name="ann")
    make(store, keys, path, name="ann")
    with store.read() as tx:
        assert keys.authenticate(tx, path.read_text().strip()).user == "ann"
    assert path.stat().st_mode & 0o777 == 0o600
    assert {one.name for one in tmp_path.iterdir() if "key" in one.name} == {"key"}


def test_a_first_admin_is_not_made_where_its_key_cannot_be_written(
    store: SqliteStore, keys: Keys, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="No such file"):
        make_admin(store, keys, tmp_path / "missing" / "key", name="ann")
    with store.read() as tx:
        assert tx.actors.users() == []


def test_a_leftover_key_of_another_database_is_not_put_in_place(
    store: SqliteStore, keys: Keys, tmp_path: Path
) -> None:
    make_admin(store, keys, tmp_path / "key", name="ann")
    (tmp_path / "key").rename(tmp_path / "mine")
    (tmp_path / "key.new").write_text(keys.make() + "\n")
    assert not make_admin(store, keys, tmp_path / "key", name="ann")
    assert not (tmp_path / "key").exists()


def test_a_file_of_that_name_is_not_overwritten(
    store: SqliteStore, keys: Keys, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("somebody else's")
    with pytest.raises(Invalid, match="is there already"):
        make_admin(store, keys, tmp_path / "key", name="ann")
    assert (tmp_path / "key").read_text() == "somebody else's"
