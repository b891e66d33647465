"""Follows attempts: by the supervisor's notes, by disk and board where a note was lost."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from pathlib import Path

from shipway.domain.attempt import Cause, Ending, Phase
from shipway.domain.spool import (
    LIVE_SEATS,
    META,
    SLOT_TAKEN,
    TREE_SEATS,
    GuardianWord,
    Note,
    NoteKind,
    Record,
    Seat,
    Word,
    split_mark,
)
from shipway.runners.local_home import generations
from shipway.runners.local_journal import Journal, read_journals
from shipway.runners.local_machine import boot_ms, is_process, read_boot_id, wall_ms
from shipway.runners.local_reins import Verb, pull_and_wait
from shipway.runners.local_seats import Held, RecordPlace, Seats
from shipway.runners.local_sweep import bury, lost, read_claim, sweep, withdraw
from shipway.runners.local_watchdog import Suspicion, suspect

FRESH_MS = 1_000  # that an order may be on its way before anybody wonders
SILENCE_MS = 2_000  # of a guardian, which looks four times as often, before it is suspect
PATIENCE_MS = 2_000  # with an order that no slot claimed, before it is sent once more
SWEPT = "its supervisor died; what was left of it was found by its mark and ended"
REBOOTED = "the machine was started anew while it ran"


class Follower:
    """The attempts that are known; its caller has the lock, but for `end_orphans`."""

    def __init__(
        self,
        held: dict[str, Held],
        lock: threading.Condition,
        seats: Seats,
        attempts: Path,
        *,
        reins: str = "",
    ) -> None:
        self._held = held
        self._lock = lock
        self._seats = seats
        self._attempts = attempts
        self._reins = reins
        self._boot_id = read_boot_id()
        self._guardian = Suspicion()

    def find_again(self, given: Collection[str]) -> None:
        """Learn every attempt that left a trace; one without, of those given, shall never begin."""
        records: dict[str, tuple[Record, RecordPlace]] = {}
        for number in generations(self._seats.home):
            generation = self._seats.open(number)
            for place, record in read_journals(generation.folder):
                records.setdefault(record.mark, (record, (number, *place)))
        places = {place for _, place in records.values()}
        for path in sorted(self._attempts.iterdir()):
            known = records.get(path.name)
            # A claim is not synced: after a power loss the record alone may be left.
            is_from_before = known is not None and known[0].boot_id != self._boot_id
            if path.name in given and not is_from_before and not (path / META).exists():
                withdraw(path)
            if not is_from_before and not (path / META).exists():
                continue
            held = self._held[path.name] = _held_in(path)
            if known is not None:
                held.token = known[0].token
                self._finish(held, known[0].ending, known[1])
            else:
                self._find_slot(held)
        self._seats.drop_journals(places)

    def take(self, note: Note) -> None:
        """Learn from a note."""
        chair = (note.generation, note.cell)
        if note.kind is NoteKind.DONE:
            record = Record.from_text(note.text)
            held = self._held.get(record.mark)
            if held is None or held.ending is not None:
                return  # seen before, on the board: the slot may have another order by now
            self._finish(held, record.ending, (*chair, note.segment))
        elif note.kind is NoteKind.RUNNING:
            occupant = self._seats.occupant(chair)
            if occupant is not None and occupant.pid == note.pid:
                _run(occupant)
        elif note.kind is NoteKind.REFUSED:
            self._refused(note)
        else:
            occupant = self._seats.occupant(chair)
            if occupant is not None and occupant.pid != note.pid:  # a new slot in a dead one's seat
                self._look_at(occupant)
        if note.is_idle:
            self._seats.offer(chair, note.pid)

    def look_after(self) -> None:
        """Find what notes did not say."""
        self._seats.look_for_idle()
        for held in [held for held in self._held.values() if held.ending is None]:
            self._look_at(held)

    def frozen(self) -> list[Held]:
        """Return the attempts past their time whose slot does not act, nor its guardian."""
        now, found = boot_ms(), []
        for held in self._held.values():
            words = held.words()
            if words is None or words[Word.STATE] not in TREE_SEATS:
                continue
            due = (words[Word.DEADLINE], words[Word.KILL_BY], words[Word.STOP_BY])
            held.suspicion = suspect(
                held.suspicion, now=now, heartbeat=words[Word.HEARTBEAT], due=due
            )
            if held.suspicion.is_proven:
                found.append(held)
        return found

    def is_guardian_frozen(self) -> bool:
        """Tell whether the guardian is there, but does not look any more."""
        generation = self._seats.current
        if generation is None or not generation.is_guarded():
            return False
        heartbeat = generation.header.words[GuardianWord.HEARTBEAT]
        due = (heartbeat + SILENCE_MS,)
        self._guardian = suspect(self._guardian, now=boot_ms(), heartbeat=heartbeat, due=due)
        return self._guardian.is_proven

    def orphans(self) -> list[Held]:
        """Return the attempts whose slot is dead, with no guardian left to bury it."""
        return [held for held in self._held.values() if self._is_abandoned(held)]

    def end_orphans(self, orphans: Sequence[Held]) -> None:
        """Kill what is left of them, write down that they are lost."""
        if not orphans:
            return
        groups = {held.claim.group for held in orphans if held.claim and held.claim.group}
        sweep([held.handle for held in orphans], groups)
        if self._reins:
            pull_and_wait(self._reins, Verb.KILL, [str(held.folder) for held in orphans])
        with self._lock:
            for held in orphans:
                if held.ending is None:
                    self._bury(held)

    def _look_at(self, held: Held) -> None:
        words = held.words()
        if words is not None and held.generation is not None:
            cell = held.generation.cell(held.cell)
            is_there = words[Word.STATE] in LIVE_SEATS and words[Word.PID] == held.pid
            if is_there and cell.mark == held.handle:
                held.claim = held.claim or read_claim(held.folder)
                if words[Word.STATE] != Seat.CLAIMED:
                    _run(held)
                return
            if words[Word.PID] == held.pid and boot_ms() - held.sent_at < FRESH_MS:
                return  # its slot has not read the order yet, or the note is on its way
            recorded = self._recorded(held)
            if recorded is not None:
                self._finish(held, recorded[0].ending, recorded[1])
                return
        if (held.folder / META).exists():
            if held.claim is None:  # else the guardian buries it, or it is an orphan
                self._find_slot(held)
            return
        is_waiting = words is not None and words[Word.PID] == held.pid
        if not is_waiting or boot_ms() - held.sent_at > PATIENCE_MS:
            self._seats.leave(held)
            self._seats.has_idle()
            self._seats.seat(held)

    def _find_slot(self, held: Held) -> None:
        claim = held.claim = read_claim(held.folder)
        self._seats.leave(held)
        if claim is None:  # torn, or being written
            return
        if claim.is_withdrawn:
            ending = Ending(cause=Cause.WITHDRAWN, ended_at=wall_ms())
            self._finish(held, ending, None)
            return
        if claim.boot_id != self._boot_id:
            self._finish(held, lost(held.folder, REBOOTED, started_at=0), None)
            return
        self._seats.adopt(held, claim)
        if not held.token and held.generation is not None:
            held.token = held.generation.cell(held.cell).token
        _run(held)

    def _refused(self, note: Note) -> None:
        mark, _, reason = note.text.decode().partition("\n")
        held = self._held.get(mark)
        if held is None or held.ending is not None or held.pid != note.pid:
            return
        self._seats.leave(held)
        if (held.folder / META).exists():
            self._find_slot(held)
        elif reason != SLOT_TAKEN:  # else the next look sends it to another slot
            ending = Ending(cause=Cause.NOT_STARTED, reason=reason, ended_at=wall_ms())
            self._finish(held, ending, None)

    def _finish(self, held: Held, ending: Ending, place: RecordPlace | None) -> None:
        self._seats.leave(held)
        held.phase, held.ending, held.place, held.order = Phase.ENDED, ending, place, b""
        if place is not None:
            self._seats.keep(place)

    def _recorded(self, held: Held) -> tuple[Record, RecordPlace] | None:
        assert held.generation is not None
        for place, record in read_journals(held.generation.folder):
            if record.mark == held.handle:
                return record, (held.generation.number, *place)
        return None

    def _is_abandoned(self, held: Held) -> bool:
        if held.ending is not None:
            return False
        if held.claim is None:  # an order on its way; a torn claim whose writer is gone
            is_old = boot_ms() - held.sent_at > PATIENCE_MS
            return held.pid == 0 and is_old and (held.folder / META).exists()
        if held.generation is None:
            return True
        if held.generation.is_guarded():
            return False
        return not is_process(held.claim.slot_pid, held.claim.slot_start)

    def _bury(self, held: Held) -> None:
        generation = held.generation
        if generation is not None:
            cell = generation.cell(held.cell)
            journal = Journal(generation.folder, held.cell, cell)
            try:
                if cell.mark == held.handle:
                    bury(self._attempts, journal, cell, SWEPT)
                    cell.words[Word.STATE] = Seat.ABSENT
            finally:
                journal.close()
            recorded = self._recorded(held)
            if recorded is not None:
                self._finish(held, recorded[0].ending, recorded[1])
                return
        self._finish(held, lost(held.folder, SWEPT, started_at=0), None)


def _run(held: Held) -> None:
    if held.phase is Phase.STARTING:
        held.phase, held.order = Phase.RUNNING, b""


def _held_in(folder: Path) -> Held:
    item, attempt = split_mark(folder.name)
    return Held(item, attempt, "", folder)
