"""Holds what a server finds after a power cut against what it had acknowledged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from shipway.blobs.directory import DirectoryBlobs
from shipway.domain.attempt import LogChunk
from shipway.domain.errors import NotFound, ShipwayError
from shipway.domain.ids import Digest, ItemId, is_digest
from shipway.server.log_bytes import LogBytes
from shipway.store.migrate import known
from shipway.store.sqlite import Durability, open_sqlite
from shipway.testing.faults.facts import (
    BLOBS,
    DATABASE,
    Added,
    Fact,
    Logged,
    Moved,
    Stored,
    digest_of,
    log_of,
)

_EVENTS = "SELECT item_id, attempt, event, state FROM item_events ORDER BY seq"
_ITEMS = "SELECT id, idempotency_key, attempt, state FROM items"
_CHUNKS = """
SELECT item_id, attempt, start_byte, length, digest FROM log_chunks
WHERE name = 'program' ORDER BY item_id, attempt, start_byte
"""
_SIZES = "SELECT item_id, attempt, size FROM logs WHERE name = 'program'"


@dataclass(slots=True)
class Acknowledged:
    """All facts so far, by kind."""

    keys: dict[str, str] = field(default_factory=dict)  # idempotency key to item
    moves: set[tuple[str, int, str]] = field(default_factory=set)
    logs: dict[tuple[str, int], int] = field(default_factory=dict)  # their sizes
    blobs: set[str] = field(default_factory=set)

    def take(self, fact: Fact) -> None:
        """Add a fact."""
        match fact:
            case Added():
                self.keys[fact.key] = fact.item
            case Moved():
                self.moves.add((fact.item, fact.attempt, fact.event))
            case Logged():
                log = (fact.item, fact.attempt)
                self.logs[log] = max(fact.size, self.logs.get(log, 0))
            case Stored():
                self.blobs.add(fact.digest)


class Verdict:
    """Opens a home as a server does, and names each broken promise; for one home after another."""

    def __init__(self) -> None:
        self._migrations = known("sqlite")
        self._whole: set[str] = set()  # blobs that need not be read again
        self._read: set[tuple[object, ...]] = set()  # logs made of such blobs, likewise

    def broken(
        self, home: Path, acknowledged: Acknowledged, *, there: set[str], changed: set[str]
    ) -> list[str]:
        """Return a sentence for each promise that this home breaks.

        `there` are the names of its files, `changed` those that the last home had otherwise.
        """
        self._whole -= changed
        database = home / DATABASE
        try:
            store = open_sqlite(
                database,
                is_migrated=True,
                now=0,
                fatal=lambda _error: None,
                durability=Durability.OFF,
                migrations=self._migrations,
            )
            blobs = DirectoryBlobs(home / BLOBS, free_floor=0)
            blobs.open()
        except (ShipwayError, OSError) as error:
            return [f"I2: the home does not open: {error}"]
        try:
            with closing(sqlite3.connect(database)) as rows:
                return [
                    *_damage(rows),
                    *_key(rows, home / "key", acknowledged),
                    *_items(rows, acknowledged),
                    *self._blobs(rows, blobs, acknowledged, set(filter(is_digest, there))),
                    *self._logs(rows, blobs, acknowledged),
                ]
        except sqlite3.Error as error:
            return [f"I2: the database cannot be read: {error}"]
        finally:
            store.close()

    def _blobs(
        self,
        rows: sqlite3.Connection,
        blobs: DirectoryBlobs,
        acknowledged: Acknowledged,
        there: set[str],
    ) -> Iterator[str]:
        noted = {digest for (digest,) in rows.execute("SELECT digest FROM blobs")}
        for digest in acknowledged.blobs - noted:
            yield f"I2: the acknowledged blob {digest} has no row"
        used = {digest for (digest,) in rows.execute("SELECT digest FROM log_chunks")}
        named = noted | used
        for digest in (named | there) - self._whole:
            try:
                blobs.get(Digest(digest))
                self._whole.add(digest)
            except NotFound as error:
                what = "a row names it, but " if digest in named else ""
                yield f"I17: blob {digest}: {what}{error.message}"

    def _logs(
        self, rows: sqlite3.Connection, blobs: DirectoryBlobs, acknowledged: Acknowledged
    ) -> Iterator[str]:
        sizes = {(item, attempt): size for item, attempt, size in rows.execute(_SIZES)}
        for log, size in acknowledged.logs.items():
            if sizes.get(log, 0) < size:
                yield f"I15: of log {log} {size} bytes were acknowledged: {sizes.get(log, 0)} left"
        chunks: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
        for item, attempt, *chunk in rows.execute(_CHUNKS):
            chunks.setdefault((item, attempt), []).append(tuple(chunk))
        for (item, attempt), size in sizes.items():
            parts = chunks.get((item, attempt), [])
            made = (item, attempt, size, *parts)
            is_whole = all(digest in self._whole for _, _, digest in parts)
            if is_whole and made in self._read:
                continue
            fault = _fault_of_log(blobs, item, attempt, size, parts)
            if fault:
                yield f"I15: the log of attempt {attempt} of item {item} {fault}"
            else:
                self._read.add(made)


def _damage(rows: sqlite3.Connection) -> Iterator[str]:
    for (line,) in rows.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield f"I2: the database is damaged: {line}"
    for found in rows.execute("PRAGMA foreign_key_check"):
        yield f"I2: a row points nowhere: {found}"


def _key(rows: sqlite3.Connection, path: Path, acknowledged: Acknowledged) -> Iterator[str]:
    if not acknowledged.keys:
        return
    text = path.read_text().strip() if path.exists() else ""
    known = {secret_hash for (secret_hash,) in rows.execute("SELECT secret_hash FROM keys")}
    if digest_of(text.encode()) not in known:
        yield f"I2: the owner's key was used, and {'is another' if text else 'its file is gone'}"


def _items(rows: sqlite3.Connection, acknowledged: Acknowledged) -> Iterator[str]:
    events = rows.execute(_EVENTS).fetchall()
    last = {item: (attempt, state) for item, attempt, _, state in events}
    items = rows.execute(_ITEMS).fetchall()
    by_key = {key: item for item, key, _, _ in items}
    for key, item in acknowledged.keys.items():
        if by_key.get(key) != item:
            yield f"I1: the acknowledged item {item} of key {key} is {by_key.get(key, 'gone')}"
    missing = acknowledged.moves - {(item, attempt, event) for item, attempt, event, _ in events}
    for item, attempt, event in sorted(missing):
        yield f"I2: the acknowledged {event} of attempt {attempt} of item {item} is gone"
    for item, _, attempt, state in items:
        if last.get(item) != (attempt, state):
            yield f"I2: item {item} is {(attempt, state)}, its last event says {last.get(item)}"


def _fault_of_log(
    blobs: DirectoryBlobs, item: str, attempt: int, size: int, parts: Sequence[tuple[int, int, str]]
) -> str | None:
    chunks = [_chunk(item, attempt, *part) for part in parts]
    try:
        data = LogBytes(blobs=blobs).read(chunks, 0, size)
    except NotFound as error:
        return f"cannot be read: {error}"
    return None if data == log_of(item)[:size] else "has other bytes than were sent"


def _chunk(item: str, attempt: int, offset: int, length: int, digest: str) -> LogChunk:
    return LogChunk(
        item_id=ItemId(item), attempt=attempt, name="program", offset=offset, length=length,
        digest=Digest(digest), first_at=0, last_at=0,
    )  # fmt: skip
