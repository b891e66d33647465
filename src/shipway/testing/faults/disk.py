"""A disk as a power cut may leave it: what was synced is there, of the rest anything may be."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from shipway.testing.faults.recording import CREATE, SYNC, UNREAD, Call

SECTOR = 512  # bytes that a disk writes as a whole
PAGE = 4096  # bytes that a kernel writes back as a whole


class Luck(StrEnum):
    """Which of the changes that were not synced reached the disk."""

    NONE = "none"  # not one
    ALL = "all"  # every one
    NAMES = "names"  # bytes as they are, but no name
    BYTES = "bytes"  # names as they are, but no bytes
    FIRST = "first"  # those before a moment, the last one torn
    WHOLE = "whole"  # some, each as a whole
    PAGES = "pages"  # some pages of some
    SECTORS = "sectors"  # some sectors of some
    MIXED = "mixed"  # each file has a luck of its own


_SINGLE = tuple(luck for luck in Luck if luck is not Luck.MIXED)


@dataclass(eq=False, slots=True)
class File:
    """A file or a folder, whatever names it has."""

    number: int
    is_folder: bool
    synced: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    version: int = 0  # counts what changed `synced`


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Bytes that were written at an offset, or a new size; not synced so far."""

    at: int
    data: bytes | None  # None: the file's size becomes `at`
    end: int  # the line on which it was done; a sync that began later covers it


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """A change of names that happens as a whole: entries set, entries cleared."""

    links: tuple[tuple[File, str, File], ...] = ()  # folder, name, what has it
    clears: tuple[tuple[File, str], ...] = ()
    end: int

    @property
    def places(self) -> set[tuple[int, str]]:
        """The entries that it sets or clears."""
        made = {(folder.number, name) for folder, name, _ in self.links}
        return made | {(folder.number, name) for folder, name in self.clears}

    def is_synced_by(self, folder: File) -> bool:
        """Tell whether a sync of this folder makes it lasting."""
        if self.links:
            return any(place is folder for place, _, _ in self.links)
        return any(place is folder for place, _ in self.clears)


class Disk:
    """What is surely on the disk, and what may be, as calls are made one after the other."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._files = 0
        self.top = self._new(is_folder=True)
        self._now: dict[str, File] = {root: self.top}  # every path, as programs see it
        self._names: dict[int, dict[str, File]] = {self.top.number: {}}  # synced, by folder
        self.namings: list[Naming] = []  # not synced so far
        self._offsets: dict[tuple[int | None, str], int] = {}

    def begin(self, call: Call) -> None:
        """Let a call begin: from now on it may have reached the disk."""
        if call.name in CREATE:
            self._open(call)
        elif call.name in SYNC:
            return
        elif call.handle is not None:
            self._change(call)
        elif call.texts:
            self._rename(call)

    def end(self, call: Call) -> None:
        """Let a call end; the end of a sync settles what was done before it began."""
        if call.name not in SYNC or call.path is None or call.is_deleted:
            return
        file = self._now.get(call.path)
        if file is None:
            return
        if file.is_folder:
            self._sync_names(file, call.begin)
        else:
            covered = [change for change in file.pending if change.end < call.begin]
            for change in covered:
                _apply(file.synced, change)
            file.pending = [change for change in file.pending if change.end >= call.begin]
            file.version += bool(covered)

    def after_a_cut(self, luck: Luck, chance: Random) -> dict[str, tuple[File, bytes | None]]:
        """Return a disk that a cut at this moment may leave: files with their bytes, by path.

        A file without changes that are not synced has None: its bytes are `synced`.
        """
        names = {folder: dict(entries) for folder, entries in self._names.items()}
        for naming in self.namings:
            if luck in (Luck.ALL, Luck.BYTES) or (
                luck not in (Luck.NONE, Luck.NAMES) and chance.getrandbits(1)
            ):
                _settle(names, naming)
        found: dict[str, tuple[File, bytes | None]] = {}
        bytes_of: dict[int, bytes | None] = {}
        for path, file in self._reachable(names):
            if file.number not in bytes_of:
                own = chance.choice(_SINGLE) if luck is Luck.MIXED else luck
                bytes_of[file.number] = _left(file, own, chance) if file.pending else None
            found[path] = (file, bytes_of[file.number])
        return found

    def _new(self, *, is_folder: bool) -> File:
        self._files += 1
        return File(self._files, is_folder)

    def _open(self, call: Call) -> None:
        if call.path is None or not self._is_ours(call.path):
            return
        self._offsets[call.handle, call.path] = 0
        file = self._now.get(call.path)
        if file is None:
            file = self._new(is_folder="O_DIRECTORY" in call.flags)
            self._name(call.path, file, call.end)
        elif "O_TRUNC" in call.flags:
            file.pending.append(Change(at=0, data=None, end=call.end))

    def _change(self, call: Call) -> None:
        if call.path is None or not self._is_ours(call.path) or call.is_deleted:
            return
        assert call.name not in UNREAD, f"{call.name} of {call.path} cannot be replayed"
        file = self._now[call.path]
        place = (call.handle, call.path)
        if call.name == "lseek":
            self._offsets[place] = call.result
        elif call.name in ("ftruncate", "fallocate"):
            size = call.numbers[0] if call.name == "ftruncate" else sum(call.numbers[-2:])
            file.pending.append(Change(at=size, data=None, end=call.end))
        else:
            data = b"".join(call.texts)[: call.result]
            at = self._offsets.get(place, 0) if call.name != "pwrite64" else call.numbers[-1]
            if call.name != "pwrite64":
                self._offsets[place] = at + len(data)
            file.pending.append(Change(at=at, data=data, end=call.end))

    def _rename(self, call: Call) -> None:
        paths = [text.decode() for text in call.texts]
        if not all(map(self._is_ours, paths)):
            assert not any(map(self._is_ours, paths)), f"{paths} cross the recorded folder"
            return
        if call.name.startswith("mkdir"):
            self._name(paths[0], self._new(is_folder=True), call.end)
        elif call.name.startswith("link"):
            self._name(paths[1], self._now[paths[0]], call.end)
        elif call.name.startswith("rename"):
            self._move(*paths, end=call.end)
        else:
            self._now.pop(paths[0])
            clears = (self._place(paths[0]),)
            self.namings.append(Naming(clears=clears, end=call.end))

    def _move(self, old: str, new: str, *, end: int) -> None:
        file = self._now.pop(old)
        assert not file.is_folder, "a folder's paths would have to move with it"
        self._now[new] = file
        for (handle, path), offset in list(self._offsets.items()):
            if path == old:
                self._offsets[handle, new] = offset
        link = (*self._place(new), file)
        self.namings.append(Naming(links=(link,), clears=(self._place(old),), end=end))

    def _name(self, path: str, file: File, end: int) -> None:
        self._now[path] = file
        if file.is_folder:
            self._names.setdefault(file.number, {})
        self.namings.append(Naming(links=((*self._place(path), file),), end=end))

    def _place(self, path: str) -> tuple[File, str]:
        folder, name = os.path.split(path)
        return self._now[folder], name

    def _is_ours(self, path: str) -> bool:
        # SQLite makes the index of its log (-shm) anew after a crash, from the log.
        return path.startswith(self.root + "/") and not path.endswith("-shm")

    def _sync_names(self, folder: File, begin: int) -> None:
        left: list[Naming] = []
        settled: set[tuple[int, str]] = set()
        for naming in reversed(self.namings):  # what is synced is not undone by what came before
            if naming.end < begin and naming.is_synced_by(folder):
                settled |= naming.places
                left.append(replace(naming, end=-1))
            elif naming.end >= begin or not naming.places <= settled:
                left.append(naming)
        self.namings = []
        for naming in reversed(left):
            if naming.end == -1:
                _settle(self._names, naming)
            else:
                self.namings.append(naming)

    def _reachable(self, names: dict[int, dict[str, File]]) -> Iterator[tuple[str, File]]:
        folders = [(self.root, self.top)]
        while folders:
            path, folder = folders.pop()
            for name, file in names.get(folder.number, {}).items():
                yield f"{path}/{name}", file
                if file.is_folder:
                    folders.append((f"{path}/{name}", file))


def _settle(names: dict[int, dict[str, File]], naming: Naming) -> None:
    for folder, name in naming.clears:
        names.setdefault(folder.number, {}).pop(name, None)
    for folder, name, file in naming.links:
        names.setdefault(folder.number, {})[name] = file


def _apply(data: bytearray, change: Change) -> None:
    if change.data is None:
        _resize(data, change.at)
        return
    _reach(data, change.at)
    data[change.at : change.at + len(change.data)] = change.data


def _resize(data: bytearray, size: int) -> None:
    del data[size:]
    _reach(data, size)


def _reach(data: bytearray, size: int) -> None:
    if len(data) < size:
        data.extend(bytes(size - len(data)))


def _left(file: File, luck: Luck, chance: Random) -> bytes:
    """Return a file's bytes with some of the changes that were not synced."""
    data = bytearray(file.synced)
    if luck in {Luck.NONE, Luck.BYTES}:
        return bytes(data)
    is_every = luck in {Luck.ALL, Luck.NAMES, Luck.FIRST}
    changes = file.pending
    if luck is Luck.FIRST:
        changes = changes[: chance.randrange(len(changes) + 1)]
    for number, change in enumerate(changes):
        is_torn = luck in {Luck.PAGES, Luck.SECTORS}
        if luck is Luck.FIRST:
            is_torn = number == len(changes) - 1
        if is_torn and change.data is not None:
            _tear(data, change, PAGE if luck is Luck.PAGES else SECTOR, chance)
        elif is_every or chance.getrandbits(1):
            _apply(data, change)
    return bytes(data)


def _tear(data: bytearray, change: Change, unit: int, chance: Random) -> None:
    """Apply some pieces of a write, cut where the disk's units end."""
    assert change.data is not None
    at, end = change.at, change.at + len(change.data)
    bits = chance.getrandbits((end - at) // unit + 2)
    while at < end:
        after = min(end, at - at % unit + unit)
        if bits & 1:
            _reach(data, at)
            data[at:after] = change.data[at - change.at : after - change.at]
        bits >>= 1
        at = after
