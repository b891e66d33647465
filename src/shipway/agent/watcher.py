"""Hears of each change to the entries of folders, so that nobody has to look them over."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_READ = 64 << 10
WATCHES = 4_096  # entries that are watched at once: others on this machine want some, too
_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_DONT_FOLLOW = 0x2000000
_COMES, _GOES = _CREATE | _MOVED_TO, _DELETE | _MOVED_FROM
_OF_FOLDER = _COMES | _GOES | _ATTRIB
_OF_ENTRY = _OF_FOLDER | _MODIFY | _CLOSE_WRITE | _DELETE_SELF | _MOVE_SELF | _DONT_FOLLOW


@dataclass(slots=True, eq=False)
class Guard:
    """What was heard of one folder since it was last known to be as it was made."""

    parts: Collection[str]  # the names that belong into it
    is_touched: bool = False  # an entry below a part was changed, or may have been
    extras: set[str] = field(default_factory=set)  # names in it that are no parts
    watches: dict[int, bool] = field(default_factory=dict)  # to whether it is the folder's own

    @property
    def is_quiet(self) -> bool:
        """Whether all that came is gone, and all else is as it was."""
        return not self.is_touched and not self.extras

    def clear(self) -> None:
        """Begin anew: somebody looked, and all is as it was."""
        self.is_touched = False
        self.extras = set()


class Watcher:
    """The kernel's ear (inotify): each entry is watched by itself.

    So a write through a hard link elsewhere, or through a mapping that its process left behind, is
    heard too: the file is closed for writing then. What is heard is there before the writer's end
    can be waited for. Where there is no such ear, or no more room for it, there are no guards.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._guards: dict[int, Guard] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        """Begin to listen, where that is possible; once."""
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        except (OSError, AttributeError):  # not Linux
            self._fd = -1

    def guard(self, folder: Path, parts: Collection[str], entries: Sequence[str]) -> Guard | None:
        """Watch a folder and entries in it that nobody else uses yet; None where it cannot be."""
        if self._fd < 0 or len(self._guards) + len(entries) >= WATCHES:
            return None
        guard = Guard(parts)
        with self._lock:
            for path, mask in (
                (os.fsencode(folder), _OF_FOLDER),
                *((os.fsencode(folder / name), _OF_ENTRY) for name in entries),
            ):
                watch = int(self._libc.inotify_add_watch(self._fd, path, mask))
                if watch < 0:
                    self._drop(guard)
                    return None
                guard.watches[watch] = mask == _OF_FOLDER
                self._guards[watch] = guard
            guard.extras = {path.name for path in folder.iterdir() if path.name not in parts}
        return guard

    def drop(self, guard: Guard) -> None:
        """Watch it no more."""
        with self._lock:
            self._drop(guard)

    def hear(self) -> None:
        """Take what has happened; all guards know it afterwards."""
        if not self._guards:
            return
        with self._lock:
            while True:
                try:
                    data = os.read(self._fd, _READ)
                except BlockingIOError:
                    return
                self._take(data)
                if len(data) < _READ // 2:  # else more may be waiting
                    return

    def _take(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            if mask & _OVERFLOW:
                for guard in self._guards.values():
                    guard.is_touched = True
                continue
            known = self._guards.get(watch)
            if known is None:
                continue
            if mask & _IGNORED:
                del self._guards[watch]
            name = os.fsdecode(data[at - length : at].rstrip(b"\0"))
            _note(known, name, mask, is_folder=known.watches[watch])

    def _drop(self, guard: Guard) -> None:
        for watch in guard.watches:
            if self._guards.pop(watch, None) is not None:
                self._libc.inotify_rm_watch(self._fd, watch)


def _note(guard: Guard, name: str, mask: int, *, is_folder: bool) -> None:
    if not is_folder or not name or name in guard.parts or mask & _IGNORED:
        guard.is_touched = True
    elif mask & _COMES:
        guard.extras.add(name)
    elif mask & _GOES:
        guard.extras.discard(name)
