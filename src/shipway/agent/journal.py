"""Keeps what an agent owes across its own death: an append-only file of marks."""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shipway.agent.effects import DURABLE, Mark, Record
from shipway.agent.lease import Key, Lease, read_lease, write_lease
from shipway.domain.errors import ShipwayError

COMPACT_BYTES = 4 << 20  # a journal longer than this is written anew, if most of it is done
VERSION = 1

Later = Callable[[Callable[[], None]], Any]

_encode = json.JSONEncoder(separators=(",", ":")).encode  # `dumps` would make one each time
_quoted = json.encoder.encode_basestring_ascii  # what `_encode` does with text


class JournalDamaged(ShipwayError):
    """A record other than the last cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the journal knows of an attempt that is not done."""

    lease: Lease
    leased_at: int  # ms on the boot clock
    has_passed: bool = False  # the start gate
    handle: str | None = None


class Journal:
    """An open journal; one process at a time.

    A mark is written before what follows from it is done, so the death of the agent loses none.
    The death of the machine may: then its programs are gone too, and the next agent, which finds
    another boot in the head, owes nothing. It holds nothing either, so the server settles each
    item by what it knows of it. The disk is synced behind the agent's back, once for all marks
    that came meanwhile.
    """

    def __init__(self, path: Path, *, boot_id: str, later: Later | None = None) -> None:
        self._path = path
        self._boot_id = boot_id
        self._later = later or _at_once
        self._lines: dict[Key, list[bytes]] = {}  # of attempts that are not done
        self._size = 0
        self.is_whole = False  # it has every mark that an agent made before this one
        self._fd = -1
        self._is_syncing = False
        self._spec: Mapping[str, Any] = {}  # the last one written
        self._spec_text = "{}"
        self._lock = threading.Lock()

    def open(self) -> list[Kept]:
        """Read what is there, cut a torn end off, and return what is owed, in order."""
        data = self._path.read_bytes() if self._path.exists() else b""
        head = _parse(data.partition(b"\n")[0])
        self.is_whole = head is not None and head.get("boot") == self._boot_id
        kept: dict[Key, Kept] = {}
        for raw, value in _records(data, self._path, self._boot_id):
            self._keep(Mark(value["mark"]), value["key"], raw)
            _apply(kept, value)
        self._rewrite()
        return list(kept.values())

    def write(self, records: Sequence[Record]) -> None:
        """Append records with one write."""
        if not records:
            return
        lines = []
        is_durable = False
        for record in records:
            line = self._line(record)
            self._keep(record.mark, record.key, line)
            lines.append(line)
            is_durable = is_durable or record.mark in DURABLE
        data = b"".join(lines)
        _write_all(self._fd, data)
        self._size += len(data)
        if self._size > COMPACT_BYTES:
            self._compact()
        if is_durable and not self._is_syncing:
            self._is_syncing = True
            self._later(self._sync)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _sync(self) -> None:
        self._is_syncing = False
        with self._lock:
            if self._fd >= 0:
                os.fdatasync(self._fd)

    def _line(self, record: Record) -> bytes:
        # Most records have two words: put together by hand, which costs a tenth of `_encode`.
        text = f'{{"mark":"{record.mark}","key":"{record.key}"'
        if record.lease is not None:
            text += f',"at":{record.at},"lease":{self._lease_text(record.lease)}'
        if record.handle is not None:
            text += f',"handle":{_quoted(record.handle)}'
        return _sealed((text + "}").encode())

    def _lease_text(self, lease: Lease) -> str:
        """Return a lease's JSON; many have the very spec of the one before, its largest part."""
        value = write_lease(lease)
        facts = dict(lease.facts)
        if facts.pop("spec", None) is not lease.spec or not facts:
            return _encode(value)
        if lease.spec is not self._spec:
            self._spec, self._spec_text = lease.spec, _encode(lease.spec)
        text = _encode({**value, "item_json": facts})  # which ends both with the facts
        assert text.endswith("}}")
        return f'{text[:-2]},"spec":{self._spec_text}}}}}'

    def _keep(self, mark: Mark, key: Key, line: bytes) -> None:
        if mark is Mark.DONE:
            self._lines.pop(key, None)
        elif mark is Mark.LEASE:
            self._lines[key] = [line]
        elif key in self._lines:
            self._lines[key].append(line)

    def _compact(self) -> None:
        if sum(len(line) for lines in self._lines.values() for line in lines) * 2 < self._size:
            self.close()
            self._rewrite()

    def _rewrite(self) -> None:
        """Write what is owed into a new file, and put that in the place of the old one."""
        assert self._fd < 0
        data = b"".join(line for lines in self._lines.values() for line in lines)
        data = _sealed(_encode({"version": VERSION, "boot": self._boot_id}).encode()) + data
        fresh = self._path.with_name(self._path.name + ".new")
        fd = os.open(
            fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        _write_all(fd, data)
        os.fsync(fd)
        fresh.rename(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._fd = fd
        self._size = len(data)


def _records(data: bytes, path: Path, boot_id: str) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    """Yield the whole records of this boot; only the last line of the file may be torn."""
    lines = data.split(b"\n")
    torn_tail = lines.pop()
    for number, line in enumerate(lines, 1):
        value = _parse(line)
        if value is None:
            if number == len(lines) and not torn_tail:
                return
            raise JournalDamaged(
                f"line {number} of {path} is damaged: move the file away to start without it; "
                "programs that still run are found again, what was only being prepared goes back "
                "to its queue"
            )
        if number == 1:
            _check_head(value, path)
            if value.get("boot") != boot_id:
                return
            continue
        yield line + b"\n", value


def _check_head(value: Mapping[str, Any], path: Path) -> None:
    if value.get("version") != VERSION:
        raise JournalDamaged(
            f"{path} has journal version {value.get('version')}, this agent reads {VERSION}: use "
            "the agent that wrote it, or move the file away"
        )


def _apply(kept: dict[Key, Kept], value: Mapping[str, Any]) -> None:
    mark, key = Mark(value["mark"]), value["key"]
    if mark is Mark.LEASE:
        lease = read_lease(value["lease"])
        kept[key] = Kept(lease=lease, leased_at=value["at"], has_passed=lease.is_started)
    elif mark is Mark.DONE:
        kept.pop(key, None)
    elif key in kept:
        known = kept[key]
        kept[key] = replace(
            known,
            has_passed=True,
            handle=value.get("handle", known.handle),
        )


def _sealed(text: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _at_once(call: Callable[[], None]) -> None:
    call()


def _parse(line: bytes) -> Mapping[str, Any] | None:
    crc, space, text = line.partition(b" ")
    if not space or len(crc) != 8 or crc != b"%08x" % zlib.crc32(text):
        return None
    value: Mapping[str, Any] = json.loads(text)
    return value


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
