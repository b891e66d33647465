"""Backs a server's data up into one file while it goes on."""

from __future__ import annotations

import glob
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from shipway import __version__
from shipway.blobs.directory import DirectoryBlobs
from shipway.domain.errors import Exists, Invalid, NotFound
from shipway.domain.ids import Digest
from shipway.server.archive import ArchiveWriter
from shipway.store import copies
from shipway.store.sqlite import sync_folder

PAGE = 10_000  # blobs listed at once
DATABASE = "database"
KEY = "key"
LOST_LIMIT = 100  # lost blobs that are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a server's data lies."""

    database: str  # an address
    blobs: Path
    key: Path | None = None  # the owner's key of an embedded home


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup came to."""

    file: Path
    bytes: int
    blobs: int
    lost: tuple[Digest, ...]  # damaged on the disk, so they are not in it


def back_up(places: Places, target: Path, *, is_forced: bool = False) -> Backup:
    """Write a backup: whole and durable, or not at all.

    The database first, then the blobs: those that its rows lead to were stored before the rows
    were, and none is dropped meanwhile.
    """
    if target.exists() and not is_forced:
        raise Exists(f"{target} is there already: choose another name, or --force to replace it")
    if not copies.holds_data(places.database):
        where = f" at {path}" if (path := copies.file_of(places.database)) else ""
        raise Invalid(f"there is no database{where}", field="database")
    if not places.blobs.is_dir():
        raise Invalid(
            f"there are no blobs at {places.blobs}", field="blobs", value=str(places.blobs)
        )
    _clear(target)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    scratch.mkdir(mode=0o700)
    try:
        blobs = DirectoryBlobs(places.blobs)
        with blobs.keep():
            copies.dump(places.database, scratch / DATABASE)
            made = _write(places, blobs, scratch)
        (scratch / "new").replace(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Backup(file=target, bytes=target.stat().st_size, blobs=made[0], lost=made[1])


def _clear(target: Path) -> None:
    """Remove what backups to this file left that were killed."""
    for scratch in target.parent.glob(f".{glob.escape(target.name)}.*"):
        number = scratch.name.rpartition(".")[2]
        if number.isdecimal() and not _lives(int(number)):
            shutil.rmtree(scratch, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _write(places: Places, blobs: DirectoryBlobs, scratch: Path) -> tuple[int, tuple[Digest, ...]]:
    lost: list[Digest] = []
    head = {
        "shipway": __version__,
        "created_at": time.time_ns() // 1_000_000,
        "database": copies.kind_of(places.database).value,
    }
    handle = os.open(scratch / "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        writer = ArchiveWriter(file, head)
        writer.add_file(DATABASE, scratch / DATABASE)
        (scratch / DATABASE).unlink()
        if places.key is not None and places.key.exists():
            writer.add_bytes(KEY, places.key.read_bytes())
        after = ""
        while page := blobs.old(before=_FAR, after=after, limit=PAGE):
            for digest, _ in page:
                try:
                    writer.add_blob(digest, blobs.get(digest))
                except NotFound:
                    lost.append(digest)
            after = page[-1][0]
        writer.close(lost[:LOST_LIMIT])
        file.flush()
        os.fsync(file.fileno())
    return writer.count, tuple(lost)


_FAR = 1 << 62  # ms UTC: every blob is older
