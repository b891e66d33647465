"""Restores a backup: wholly, or not at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from shipway.blobs.directory import DirectoryBlobs
from shipway.domain.capsule import digests_in
from shipway.domain.errors import Conflict, Invalid
from shipway.domain.ids import Digest
from shipway.server.archive import ArchiveReader
from shipway.server.backup import DATABASE, KEY, Places
from shipway.service.ports import Blobs, Tx
from shipway.service.reclaim import names_in
from shipway.store import copies
from shipway.store.open import open_store

STAGE = "restoring"  # beside the blobs: what is not yet the server's
PAGE = 1_000
BATCH = 256  # blobs stored at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore came to."""

    created_at: int  # when the backup was made, ms UTC
    shipway: str  # by which version
    blobs: int
    missing: tuple[Digest, ...]  # rows lead to them, and the backup has them not


def restore(file: Path, places: Places, *, is_forced: bool = False) -> Restored:
    """Put a backup's database, blobs and key in place; the server must not run.

    All of it is read and checked before anything changes. Blobs come first, then the database in
    one step; whatever ends this before that step leaves the former data as they were.
    """
    archive = ArchiveReader(path=file)
    archive.open()
    _check(archive, places, is_forced=is_forced)
    places.blobs.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    stage = places.blobs.with_name(f"{places.blobs.name}.{STAGE}")
    shutil.rmtree(stage, ignore_errors=True)  # of one that was killed
    stage.mkdir(mode=0o700)
    try:
        staged = DirectoryBlobs(stage / "blobs", free_floor=0, sync=_later)
        staged.open()
        archive.extract(stage, staged.put)
        os.sync()
        missing = _examine(stage / DATABASE, staged, places)
        count = _move(staged, places.blobs)
        copies.load(places.database, stage / DATABASE, is_forced=is_forced)
        if places.key is not None and (stage / KEY).exists():
            _keep_key(stage / KEY, places.key)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return Restored(
        created_at=int(archive.head["created_at"]),
        shipway=str(archive.head["shipway"]),
        blobs=count,
        missing=missing,
    )


def missing_blobs(tx: Tx, blobs: Blobs) -> Iterator[Digest]:
    """Yield what rows lead to and is not stored; files of capsules too."""
    last = ""
    while page := tx.references.stored(after=last, limit=PAGE):
        yield from (digest for digest in page if not blobs.has(digest))
        last = page[-1]
    place = ("", 0, "", -1)
    while chunks := tx.references.chunks(after=place, limit=PAGE):
        yield from (chunk[4] for chunk in chunks if not blobs.has(chunk[4]))
        place = chunks[-1][:4]
    seq = 0
    seen: set[Digest] = set()
    while items := tx.references.items(after=seq, limit=PAGE):
        for item_seq, spec, _ in items:
            seq = item_seq
            for digest in names_in(spec):
                if digest not in seen and blobs.has(digest):
                    seen.add(digest)
                    files = digests_in(blobs.get(digest))
                    yield from (name for name in files if not blobs.has(name))


def _check(archive: ArchiveReader, places: Places, *, is_forced: bool) -> None:
    kind = copies.kind_of(places.database)
    if archive.head.get("database") != kind.value:
        raise Invalid(
            f"{archive.path} is of a {archive.head.get('database')} database and cannot go into "
            f"{kind}: give --database of its kind",
            field="database",
        )
    if copies.holds_data(places.database):
        if not is_forced:
            where = copies.file_of(places.database) or "in that database"
            raise Conflict(
                f"there are data already ({where}): restore into an empty home, or replace them "
                "with --force"
            )
        copies.check_is_free(places.database)


def _examine(database: Path, blobs: DirectoryBlobs, places: Places) -> tuple[Digest, ...]:
    """Bring a SQLite copy forward and look whether all that it leads to came with it."""
    if copies.kind_of(places.database) is not copies.Kind.SQLITE:
        return ()
    url = f"sqlite:///{database}"
    with closing(open_store(url, migrate=True, is_threaded=False)) as store, store.read() as tx:
        return tuple(dict.fromkeys(missing_blobs(tx, blobs)))


def _move(staged: DirectoryBlobs, target: Path) -> int:
    """Put the blobs where they belong; those that are there already are as good."""
    blobs = DirectoryBlobs(target, free_floor=0)
    count, after = 0, ""
    if not target.exists() or not any(target.iterdir()):
        if target.exists():
            target.rmdir()
        count = sum(1 for _ in staged.all())
        staged.root.rename(target)
        blobs.open()
        return count
    blobs.open()
    while page := staged.old(before=_FAR, after=after, limit=BATCH):
        blobs.put_many({digest: staged.get(digest) for digest, _ in page})
        count += len(page)
        after = page[-1][0]
    return count


def _keep_key(source: Path, target: Path) -> None:
    fresh = target.with_name(f".{target.name}.{time.time_ns()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(target)


def _later(_handle: int) -> None:
    """Leave it to the one sync that comes before anything is used."""


_FAR = 1 << 62  # ms UTC: every blob is older
