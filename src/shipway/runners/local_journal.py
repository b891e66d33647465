"""Keeps results in a slot's preallocated journal, where one fdatasync makes each durable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from shipway.domain.spool import (
    RECORD_SIZE,
    SEGMENT_RECORDS,
    Cell,
    Record,
    Word,
    journal_name,
    pack_record,
    split_journal_name,
    unpack_record,
)

Place = tuple[int, int]  # cell and segment: one journal file
_SEGMENT, _INDEX = int(Word.SEGMENT), int(Word.INDEX)  # an Enum's member costs ten times more


class Journal:
    """The results of one slot, written by it, or by who buries it."""

    def __init__(self, folder: Path, number: int, cell: Cell) -> None:
        self._folder = folder
        self._number = number
        self._words = cell.words
        self._segment = -1
        self._file = -1

    def prepare(self) -> None:
        """Make room for one more record on disk; call it before taking an order."""
        if self._words[_INDEX] >= SEGMENT_RECORDS:
            self._words[_INDEX] = 0
            self._words[_SEGMENT] += 1
        segment = self._words[_SEGMENT]
        if self._segment == segment:
            return
        self.close()
        path = self._folder / journal_name(self._number, segment)
        if not path.exists():
            _preallocate(path)
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._segment = segment
        index = self._words[Word.INDEX]
        if read_record(self._folder, (self._number, segment), index) is not None:
            self._words[Word.INDEX] = index + 1  # its writer died before it counted it
            self.prepare()

    def append(self, text: bytes) -> tuple[int, int]:
        """Write a record's text and make it durable; return segment and index."""
        segment, index = self._words[_SEGMENT], self._words[_INDEX]
        assert self._segment == segment
        assert index < SEGMENT_RECORDS
        os.pwrite(self._file, pack_record(text), index * RECORD_SIZE)
        os.fdatasync(self._file)
        self._words[_INDEX] = index + 1
        return segment, index

    def last(self) -> Record | None:
        """Return the newest record, also one whose writer died before it counted it."""
        place, index = (self._number, self._words[Word.SEGMENT]), self._words[Word.INDEX]
        newest = read_record(self._folder, place, index)
        return newest or (read_record(self._folder, place, index - 1) if index else None)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._segment = -1, -1


def read_record(folder: Path, place: Place, index: int) -> Record | None:
    """Return one record of a journal file."""
    try:
        with (folder / journal_name(*place)).open("rb") as file:
            file.seek(index * RECORD_SIZE)
            return unpack_record(file.read(RECORD_SIZE))
    except FileNotFoundError:
        return None


def read_journals(folder: Path) -> Iterator[tuple[Place, Record]]:
    """Yield all records of a generation's folder."""
    for path in sorted(folder.iterdir()):
        place = split_journal_name(path.name)
        if place is None:
            continue
        data = path.read_bytes()
        for at in range(0, len(data), RECORD_SIZE):
            record = unpack_record(data[at : at + RECORD_SIZE])
            if record is not None:
                yield place, record


def _preallocate(path: Path) -> None:
    # Written zeros, not fallocate: an unwritten extent would make every later fdatasync a
    # metadata commit. Made whole under another name, so that no half-sized file is ever used.
    fresh = path.with_name(path.name + ".new")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, bytes(RECORD_SIZE * SEGMENT_RECORDS))
        os.fsync(file)
    finally:
        os.close(file)
    fresh.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path | str) -> None:
    """Make a folder's names durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
