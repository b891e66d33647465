"""Watches the disk of an agent's home and keeps that home within its bounds, beside the loop."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from shipway.agent.cleaning import Cleaner
from shipway.agent.events import RoomSeen
from shipway.domain.disk import Room
from shipway.domain.errors import ShipwayError

log = logging.getLogger(__name__)

LOOK_S = 5.0  # between two looks at the disk
TIDY_MS = 3_600_000  # between two looks over the home, which reads all names in it
TIDY_SHORT_MS = 300_000  # the same while the disk is short
FIRST_TIDY_MS = 600_000  # short-lived agents never look over theirs
TELL_MS = 60_000  # a server that forgot that the disk is short is told again after so long

Facts = Mapping[str, Any]


class Upkeep:
    """A thread of its own; the loop hears of it by events alone."""

    def __init__(
        self,
        *,
        cleaner: Cleaner,
        room: Callable[[], Room],
        in_use: Callable[[], Collection[Path]],
        expire: Callable[[], object],
        emit: Callable[[RoomSeen], None],
        tell: Callable[[Facts], object],
        boot_ms: Callable[[], int],
    ) -> None:
        self._cleaner = cleaner
        self._room = room
        self._in_use = in_use
        self._expire = expire  # folders that the agent alone knows of
        self._emit = emit
        self._tell = tell  # the server, facts to be changed; raises when it did not hear
        self._boot_ms = boot_ms
        self._is_short = False
        self._told = False  # what the server believes; a registration says nothing of it
        self._told_at = 0
        self._tidied_at = boot_ms() - TIDY_MS + FIRST_TIDY_MS
        self._closing = threading.Event()

    def begin(self) -> RoomSeen:
        """Look at the disk before any work is asked for."""
        self._is_short = self._room().is_low
        if self._is_short:
            log.warning("the disk is short: no new work is taken", extra={"room": self._room()})
        return RoomSeen(at=self._boot_ms(), is_short=self._is_short)

    def start(self) -> None:
        """Look again and again in a thread that keeps nobody from ending."""
        threading.Thread(target=self._run, name="upkeep", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()

    def look(self) -> None:
        """Look at the disk once, and over the home where that is due."""
        room, now = self._room(), self._boot_ms()
        if room.is_low != self._is_short:
            self._is_short = room.is_low
            self._emit(RoomSeen(at=now, is_short=room.is_low))
            if room.is_low:
                log.warning("the disk is short: no new work is taken", extra={"room": room})
                self._tidied_at = min(self._tidied_at, now - TIDY_SHORT_MS)
            else:
                log.info("the disk has room again", extra={"room": room})
        self._say(room, now)
        if now - self._tidied_at >= (TIDY_SHORT_MS if self._is_short else TIDY_MS):
            self._tidied_at = now
            self.tidy(room)

    def tidy(self, room: Room) -> None:
        """Remove what is beyond the bounds."""
        self._expire()
        gone = [one for one in self._cleaner.find(room, in_use=self._in_use()) if one.do()]
        if gone:
            freed = sum(one.bytes for one in gone)
            log.info("home tidied", extra={"removed": len(gone), "bytes": freed})

    def _say(self, room: Room, now: int) -> None:
        is_old = room.is_low and now - self._told_at >= TELL_MS
        if self._told is room.is_low and not is_old:
            return
        try:
            self._tell({"disk": room.to_json() if room.is_low else None})
        except ShipwayError:
            return  # not registered yet, or out of reach: told at the next look
        self._told, self._told_at = room.is_low, now

    def _run(self) -> None:
        while not self._closing.wait(LOOK_S):
            try:
                self.look()
            except Exception:  # an outermost loop: the disk is to be watched whatever fails
                log.exception("upkeep failed")


def room_of(folder: Path) -> Room:
    """Return what is left of the disk that a folder lies on."""
    facts = os.statvfs(folder)
    return Room(free=facts.f_bavail * facts.f_frsize, total=facts.f_blocks * facts.f_frsize)
