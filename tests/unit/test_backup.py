"""A backup comes back whole, and one that is not whole changes nothing."""

from __future__ import annotations

import hashlib
import io
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shipway.blobs.directory import DirectoryBlobs
from shipway.domain.capsule import Entry, Mode, digest_of, encode
from shipway.domain.errors import Conflict, Exists, Invalid
from shipway.domain.ids import Digest
from shipway.server.backup import Places, back_up
from shipway.server.restore import missing_blobs, restore
from shipway.store.open import open_store
from shipway.store.sqlite import Durability
from tests.unit.conftest import World


def places(folder: Path) -> Places:
    return Places(
        database=f"sqlite:///{folder}/data/shipway.db",
        blobs=folder / "data/blobs",
        key=folder / "key",
    )


@pytest.fixture
def made(world: World, tmp_path: Path) -> Places:
    """Give a server's data: an item with a capsule, its blobs and a key."""
    blobs = DirectoryBlobs(tmp_path / "from/blobs", free_floor=0, sync=lambda _: None)
    blobs.root.parent.mkdir()
    blobs.open()
    text = b"print(1)\n"
    entry = Entry(path=b"main.py", mode=Mode.FILE, size=len(text), digest=digest_of(text))
    manifest, now = encode([entry]), world.clock.now()
    for data in (text, manifest):
        blobs.put(digest_of(data), data)
        world.do(lambda tx, d=data: tx.blobs.add("ann", {digest_of(d): len(d)}, now=now))
    world.add(source={"kind": "capsule", "digest": digest_of(manifest)}, name="kept")
    (tmp_path / "from/key").write_text("sw_secret")
    return Places(
        database=f"sqlite:///{world.folder}/shipway.db",
        blobs=blobs.root,
        key=tmp_path / "from/key",
    )


def names(where: Places) -> list[str | None]:
    store = open_store(where.database, migrate=False, durability=Durability.OFF, is_threaded=False)
    with closing(store), store.read() as tx:
        items = tx.references.items(after=0, limit=100)
        assert list(missing_blobs(tx, DirectoryBlobs(where.blobs))) == []
    return [spec for _, spec, _ in items]


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal", ".lock"))
    }


def test_what_was_backed_up_comes_back(made: Places, tmp_path: Path) -> None:
    done = back_up(made, tmp_path / "b.tar")
    assert (done.blobs, done.lost) == (2, ())
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    to = places(tmp_path / "to")
    restored = restore(tmp_path / "b.tar", to)
    assert (restored.blobs, restored.missing) == (2, ())
    assert '"name":"kept"' in str(names(to)[0])
    assert to.key is not None
    assert to.key.read_text() == "sw_secret"
    assert to.key.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (tmp_path / "to/data").iterdir()) == [
        "blobs",
        "shipway.db",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "from", "to"]


def test_a_backup_is_not_replaced_unasked(made: Places, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("mine")
    with pytest.raises(Exists, match="--force"):
        back_up(made, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_text() == "mine"
    back_up(made, tmp_path / "b.tar", is_forced=True)
    assert tarfile.is_tarfile(tmp_path / "b.tar")


def test_a_damaged_blob_is_named_and_the_rest_is_saved(made: Places, tmp_path: Path) -> None:
    blobs = DirectoryBlobs(made.blobs, free_floor=0)
    digest = digest_of(b"print(1)\n")
    blobs._path(digest).write_bytes(b"print(2)\n")
    done = back_up(made, tmp_path / "b.tar")
    assert (done.blobs, done.lost) == (1, (digest,))
    restored = restore(tmp_path / "b.tar", places(tmp_path / "to"))
    assert restored.missing == (digest,)


def test_data_that_are_there_are_replaced_only_when_asked(
    made: Places, tmp_path: Path, world: World
) -> None:
    to = places(tmp_path / "to")
    restore_from = tmp_path / "b.tar"
    back_up(made, restore_from)
    restore(restore_from, to)
    world.add(name="later")
    back_up(made, restore_from, is_forced=True)
    before = everything(tmp_path / "to")
    with pytest.raises(Conflict, match="--force"):
        restore(restore_from, to)
    assert everything(tmp_path / "to") == before
    other = DirectoryBlobs(to.blobs, free_floor=0)
    other.put(digest_of(b"mine"), b"mine")
    restore(restore_from, to, is_forced=True)
    assert len(names(to)) == 2
    assert other.has(digest_of(b"mine"))  # nothing leads to it, so a reclaim takes it in a week


def test_a_database_in_use_is_not_replaced(made: Places, tmp_path: Path) -> None:
    to = places(tmp_path / "to")
    back_up(made, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", to)
    store = open_store(to.database, migrate=False, durability=Durability.OFF, is_threaded=False)
    with closing(store), pytest.raises(Conflict, match="end its server first"):
        restore(tmp_path / "b.tar", to, is_forced=True)


def test_a_backup_of_another_kind_of_database_is_refused(made: Places, tmp_path: Path) -> None:
    back_up(made, tmp_path / "b.tar")
    other = Places(database="postgresql://x", blobs=tmp_path / "to")
    with pytest.raises(Invalid, match="of a sqlite database"):
        restore(tmp_path / "b.tar", other)


def refused(file: Path, to: Path) -> None:
    with pytest.raises(Invalid):
        restore(file, places(to))
    assert everything(to) == {}


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_a_changed_byte_or_a_cut_is_found(
    made: Places, tmp_path: Path, data: st.DataObject
) -> None:
    file = tmp_path / "b.tar"
    if not file.exists():
        back_up(made, file)
    whole = file.read_bytes()
    with tarfile.open(file) as tar:
        member = data.draw(st.sampled_from(tar.getmembers()))
    at = member.offset_data + data.draw(st.integers(0, member.size - 1))
    changed = bytearray(whole)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "bad.tar").write_bytes(changed)
    refused(tmp_path / "bad.tar", tmp_path / "to")
    (tmp_path / "bad.tar").write_bytes(whole[: data.draw(st.integers(0, at))])
    refused(tmp_path / "bad.tar", tmp_path / "to")


@pytest.mark.parametrize(
    "name", ["../out", "/out", "a/b", "blobs/../../out", "blobs/" + "g" * 64, "link"]
)
def test_a_hostile_member_writes_nothing(made: Places, tmp_path: Path, name: str) -> None:
    back_up(made, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar", "a") as tar:
        member = tarfile.TarInfo(name)
        member.size = 1
        if name == "link":
            member.type, member.size, member.linkname = tarfile.SYMTYPE, 0, "/etc/passwd"
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(Invalid):
        restore(tmp_path / "b.tar", places(tmp_path / "to"))
    assert everything(tmp_path / "to") == {}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"text", bytes(10_240)])
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.tar").write_bytes(content)
    with pytest.raises(Invalid, match="no backup"):
        restore(tmp_path / "b.tar", places(tmp_path / "to"))
    with pytest.raises(Invalid, match="there is no backup"):
        restore(tmp_path / "absent.tar", places(tmp_path / "to"))


def test_a_restore_that_was_killed_is_no_obstacle(made: Places, tmp_path: Path) -> None:
    back_up(made, tmp_path / "b.tar")
    to = places(tmp_path / "to")
    stage = to.blobs.with_name("blobs.restoring")
    stage.mkdir(parents=True)
    (stage / "database").write_text("half")
    to.blobs.mkdir()
    DirectoryBlobs(to.blobs, free_floor=0).open()
    restore(tmp_path / "b.tar", to)
    assert len(names(to)) == 1
    assert not stage.exists()


def test_the_copy_has_no_journal_beside_it(made: Places, tmp_path: Path) -> None:
    back_up(made, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as tar:
        tar.extract("database", tmp_path, filter="data")
    with closing(sqlite3.connect(tmp_path / "database")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    digest = Digest(hashlib.sha256((tmp_path / "database").read_bytes()).hexdigest())
    with tarfile.open(tmp_path / "b.tar") as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert digest in manifest.read().decode()
