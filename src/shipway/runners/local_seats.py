"""Knows which slots of the supervisor wait for an order, which attempt has which slot."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from shipway.domain.attempt import Ending, Phase
from shipway.domain.order import BIG_ORDER, LOOK, ORDER_FILE, ORDER_LIMIT
from shipway.domain.spool import (
    Claim,
    GuardianWord,
    Seat,
    Word,
    journal_name,
)
from shipway.plugins.runner import RunStatus
from shipway.runners.local_guardian import Generation
from shipway.runners.local_home import ControlKind, slot_socket
from shipway.runners.local_log import LogReader
from shipway.runners.local_machine import boot_ms, is_process
from shipway.runners.local_watchdog import Suspicion

Chair = tuple[int, int]  # generation and cell: one slot's seat
RecordPlace = tuple[int, int, int]  # generation, cell and segment: one journal file
_STATE, _PID, _SEGMENT = int(Word.STATE), int(Word.PID), int(Word.SEGMENT)  # Enums cost ten times
_IDLE = int(Seat.IDLE)
_UNSUSPECTED = Suspicion()


class Held:
    """An attempt that the runner knows; changes as notes come in, under the runner's lock."""

    __slots__ = (
        "attempt",
        "cell",
        "claim",
        "deadline",
        "ending",
        "folder",
        "generation",
        "handle",
        "is_order_big",
        "item",
        "log",
        "order",
        "phase",
        "pid",
        "place",
        "sent_at",
        "stop_by",
        "stop_cause",
        "suspicion",
        "token",
        "told",
    )

    def __init__(self, item: str, attempt: int, token: str, folder: Path) -> None:
        self.item = item
        self.attempt = attempt
        self.token = token
        self.folder = folder
        self.handle = folder.name
        self.phase = self.told = Phase.STARTING  # where it is, and where it was told to be
        self.ending: Ending | None = None
        self.generation: Generation | None = None
        self.cell = 0
        self.pid = 0  # of the slot; 0 = no slot has its order
        self.place: RecordPlace | None = None  # where its record stands
        self.order = b""  # kept until it is known to have been taken
        self.is_order_big = False
        self.sent_at = 0
        self.claim: Claim | None = None  # once it was looked for
        self.deadline = self.stop_by = self.stop_cause = 0  # as last asked for
        self.suspicion = _UNSUSPECTED
        self.log: LogReader | None = None  # once somebody read it

    def status(self) -> RunStatus:
        """Return how it stands."""
        return RunStatus(
            item=self.item,
            attempt=self.attempt,
            token=self.token,
            handle=self.handle,
            phase=self.phase,
            ending=self.ending,
            log_size=self.log_size(),
        )

    def log_size(self) -> int:
        """Return how many bytes of its log can be read now."""
        if self.ending is not None:
            return self.ending.log_size
        words = self.words()
        return 0 if words is None else words[Word.LOG_SIZE]

    def words(self) -> memoryview[int] | None:
        """Return the words of its slot's cell, while it has one."""
        if self.generation is None or self.pid == 0 or self.ending is not None:
            return None
        return self.generation.cell(self.cell).words

    @property
    def chair(self) -> Chair | None:
        """The seat that it has, or None."""
        return (self.generation.number, self.cell) if self.generation and self.pid else None


class Seats:
    """The slots of the present supervisor, the journals of all; used under the runner's lock."""

    def __init__(self, home: Path, end: socket.socket, slots: int) -> None:
        self.home = home
        self._end = end
        self._slots = slots
        self._idle: dict[Chair, int] = {}  # to the slot's process
        self._taken: dict[Chair, Held] = {}
        self._records: dict[RecordPlace, int] = {}  # needed ones, by journal file
        self.generations: dict[int, Generation] = {}
        self.current: Generation | None = None

    def use(self, number: int) -> None:
        """Take a supervisor as the present one; its slots will say that they are there."""
        self.current = self.open(number)
        self._idle = {}
        self.look_for_idle()

    def look_for_idle(self) -> None:
        """Ask slots that wait without our knowing to say that they are there.

        Their answer comes after what was sent to them before, so no earlier order is on its way.
        """
        if self.current is None:
            return
        for cell in range(1, self.current.count() + 1):
            chair = (self.current.number, cell)
            if chair in self._idle or chair in self._taken:
                continue
            if self.current.cell(cell).words[Word.STATE] == Seat.IDLE:
                self.current.send(self._end, slot_socket(cell), LOOK)

    def open(self, number: int) -> Generation:
        """Return a generation, opened once."""
        found = self.generations.get(number)
        if found is None:
            found = self.generations[number] = Generation(self.home, number)
        return found

    def occupant(self, chair: Chair) -> Held | None:
        """Return the attempt that has this seat."""
        return self._taken.get(chair)

    def order_form(self) -> int:
        """Return the newest form of an order that the present supervisor's slots read."""
        return 0 if self.current is None else self.current.header.words[GuardianWord.ORDERS]

    def has_idle(self) -> bool:
        """Tell whether a slot waits; ask for more slots if none does and more are allowed."""
        if self._idle:
            return True
        taken = len(self._taken)
        if self.current is not None and (not self._slots or taken < self._slots):
            self.current.control(self._end, ControlKind.GROW, taken + 1 + taken // 4)
        return False

    def offer(self, chair: Chair, pid: int) -> None:
        """Note that a slot waits for an order."""
        is_ours = self.current is not None and chair[0] == self.current.number
        if is_ours and chair not in self._taken:
            self._idle[chair] = pid

    def seat(self, held: Held) -> bool:
        """Send an attempt's order to a slot that waits; False when none would have it."""
        while self._idle and self.current is not None:
            chair, pid = self._idle.popitem()
            cell = self.current.cell(chair[1])
            words = cell.words
            if words[_PID] != pid or words[_STATE] != _IDLE:
                continue
            cell.assign(held.handle, held.token, held.deadline)
            if held.stop_by:
                words[Word.STOP_CAUSE] = held.stop_cause
                words[Word.STOP_BY] = held.stop_by
            if not self.current.send(self._end, slot_socket(chair[1]), _datagram(held)):
                continue
            held.generation, held.cell, held.pid = self.current, chair[1], pid
            held.sent_at = boot_ms()
            self._taken[chair] = held
            return True
        return False

    def adopt(self, held: Held, claim: Claim) -> None:
        """Note which slot has an attempt that was started before; its supervisor may be gone."""
        chair = (claim.generation, claim.cell)
        try:
            held.generation = self.open(claim.generation)
        except FileNotFoundError:
            held.generation = None
            return
        held.cell, held.pid = claim.cell, claim.slot_pid
        self._idle.pop(chair, None)
        self._taken[chair] = held

    def leave(self, held: Held) -> None:
        """Note that an attempt has no slot any more."""
        if held.chair is not None and self._taken.get(held.chair) is held:
            del self._taken[held.chair]
        held.pid = 0

    def look(self, held: Held) -> None:
        """Have a slot look at the board."""
        if held.generation is not None:
            held.generation.send(self._end, slot_socket(held.cell), LOOK)

    def keep(self, place: RecordPlace) -> None:
        """Count a record that is needed; drop the journal file before it, if that is not."""
        self._records[place] = self._records.get(place, 0) + 1
        generation, cell, segment = place
        self._drop((generation, cell, segment - 1))

    def forget(self, place: RecordPlace) -> None:
        """Count one record less."""
        self._records[place] -= 1
        generation = self.generations.get(place[0])
        if generation is not None and generation.cell(place[1]).words[_SEGMENT] > place[2]:
            self._drop(place)

    def drop_journals(self, places: Iterable[RecordPlace]) -> None:
        """Delete those of these files that are full, with no record that is needed."""
        for place in places:
            if self.open(place[0]).cell(place[1]).words[Word.SEGMENT] > place[2]:
                self._records.setdefault(place, 0)
                self._drop(place)

    def drop_generations(self) -> None:
        """Delete what earlier supervisors left behind and nobody needs."""
        needed = {place[0] for place, count in self._records.items() if count}
        needed |= {chair[0] for chair in self._taken}
        for number, generation in list(self.generations.items()):
            if number in needed or generation is self.current or generation.is_guarded():
                continue
            generation.close()
            shutil.rmtree(generation.folder, ignore_errors=True)
            del self.generations[number]

    def close(self) -> None:
        """Let go of everything."""
        for generation in self.generations.values():
            generation.close()
        self.generations = {}

    def _drop(self, place: RecordPlace) -> None:
        generation = self.generations.get(place[0])
        if self._records.get(place) == 0 and generation is not None:
            del self._records[place]
            with suppress(OSError):
                (generation.folder / journal_name(place[1], place[2])).unlink()


def kill_supervisor(held: Held) -> None:
    """Kill the guardian, then the slot of an attempt: neither of them does its work."""
    words = held.words()
    if words is None or held.generation is None:
        return
    header = held.generation.header.words
    for pid, start in (
        (header[GuardianWord.PID], header[GuardianWord.PID_START]),
        (words[Word.PID], words[Word.PID_START]),
    ):
        if is_process(pid, start):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _datagram(held: Held) -> bytes:
    if len(held.order) <= ORDER_LIMIT:
        return held.order
    held.is_order_big = True
    (held.folder / ORDER_FILE).write_bytes(held.order)
    return BIG_ORDER + str(held.folder).encode()
