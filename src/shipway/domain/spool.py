"""The formats that the local-process runner and its supervisor share, on disk and on the wire."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

from shipway.domain.attempt import LOG_TAIL, Cause, Ending, LogStream, encode_frame

MARK_VARIABLE = "SHIPWAY_ATTEMPT_MARK"  # in the environment of every process of an attempt
META = "meta"  # in the attempt's folder: the proof that a slot took its order
CLAIM_PREFIX = "claim."  # in the generation's folder: what a slot links as `meta`
SLOT_TAKEN = "the slot has another attempt"  # a reason to send the order elsewhere
NOTE_READ = 4 << 10  # bytes that the runner reads at once

RECORD_SIZE = 1024  # bytes of one result in a slot's journal
SEGMENT_RECORDS = 64  # results in one file of it
REASON_LIMIT = 560  # bytes of JSON that a reason may take
_RECORD = struct.Struct("<IIH")  # magic, CRC-32 of what follows, length of the JSON
_RECORD_MAGIC = 0x31525753

LOG_SEGMENT = 16 << 20  # bytes of one file of the framed program log
_SMALLEST_SEGMENT = 4 << 10
_SEGMENT_PREFIX = "log."

CELL_SIZE = 256  # bytes of one cell of the board; cell 0 is the guardian's
CELLS = 4097  # cells of a board: so many slots and one
TEXT_SIZE = 64  # bytes of a mark, or of a token, in a cell
BEAT_SIZE = 8  # bytes of the agent's beat: when it was last there, ms on the boot clock


class Word(IntEnum):
    """The 64-bit words of a slot's cell, each with one writer at a time."""

    STATE = 0  # slot: a Seat
    PID = 1  # slot: its own process
    PID_START = 2  # slot: that process's start time, in clock ticks since boot
    HEARTBEAT = 3  # slot: when it last looked, ms on the boot clock
    DEADLINE = 4  # runner, renewer: when the lease is no longer to be trusted
    STOP_BY = 5  # runner, renewer: stop now, kill at this time; 0 = nobody asked
    STOP_CAUSE = 6  # runner, renewer: index into STOP_CAUSES
    VERDICT = 7  # renewer: a Verdict
    KILL_BY = 8  # slot: when it will have killed the tree; 0 = it has no such plan
    LOG_SIZE = 9  # slot: bytes of framed log that may be read
    STARTED_AT = 10  # slot: when the program was started, ms UTC
    SEGMENT = 11  # slot, or who buries it: the journal file to write next
    INDEX = 12  # the same: the record in it to write next


class GuardianWord(IntEnum):
    """The 64-bit words of cell 0, all written by the guardian."""

    PID = 0  # its process
    PID_START = 1  # that process's start time
    HEARTBEAT = 2  # when it last looked
    GROUP_OOM = 3  # kills counted by the memory group that all slots share
    GROUP_OOM_AT = 4  # when that count last rose, ms on the boot clock
    MACHINE_OOM = 5  # kills counted by the whole machine
    MACHINE_OOM_AT = 6  # when that count last rose
    SLOTS = 7  # cells in use: 1 up to this number
    ORDERS = 8  # the newest form of an order that its slots read; 0 = JSON only


class Seat(IntEnum):
    """What a slot is doing."""

    ABSENT = 0  # there is no such slot
    IDLE = 1  # it waits for an order
    CLAIMED = 2  # it took one, the program is not started yet
    RUNNING = 3  # the program is there
    FROZEN = 4  # its tree is stopped at the lease's deadline, the server is asked once more
    ENDING = 5  # its tree is being ended
    SAVING = 6  # nothing of it is left; log and result are made durable
    LEAVING = 7  # it takes no order any more


class Verdict(IntEnum):
    """What the server said of a lease when asked for a slot."""

    NONE = 0  # nothing yet
    LOST = 1  # it is not ours any more


class NoteKind(IntEnum):
    """What a supervisor tells the runner; every note may be lost."""

    IDLE = 1  # the slot is there and free
    RUNNING = 2  # its program runs
    DONE = 3  # its program ended; the record follows
    REFUSED = 4  # it did not take the order; the reason follows


_CAUSES = {str(cause): cause for cause in Cause}
STOP_CAUSES = (Cause.STOP, Cause.TIME_LIMIT, Cause.LEASE)
TREE_SEATS = frozenset({Seat.CLAIMED, Seat.RUNNING, Seat.FROZEN, Seat.ENDING})
LIVE_SEATS = TREE_SEATS | {Seat.SAVING}  # it has an attempt whose result is not kept yet


def mark_of(item: str, attempt: int) -> str:
    """Return what names an attempt: its handle, its folder, its mark in the environment."""
    return f"{item}.{attempt}"


def split_mark(mark: str) -> tuple[str, int]:
    """Return item and attempt of a mark."""
    item, _, attempt = mark.rpartition(".")
    return item, int(attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Which slot took an attempt's order: the text of its `meta`, the same for all of a slot.

    Without a slot it is the runner's own: the order was withdrawn before one took it.
    """

    generation: int
    cell: int
    slot_pid: int
    slot_start: int
    boot_id: str
    group: str  # the slot's own control group, or nothing

    @property
    def is_withdrawn(self) -> bool:
        """Whether no slot took the order, and none can any more."""
        return self.slot_pid == 0

    def to_bytes(self) -> bytes:
        """Return the file's text."""
        place = [self.generation, self.cell, self.slot_pid, self.slot_start]
        return json.dumps([*place, self.boot_id, self.group]).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Claim | None:
        """Read it back; None for one that was not written to its end."""
        try:
            generation, cell, pid, start, boot, group = json.loads(text)
        except ValueError:
            return None
        return cls(
            generation=generation,
            cell=cell,
            slot_pid=pid,
            slot_start=start,
            boot_id=boot,
            group=group,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A result in a slot's journal."""

    mark: str
    token: str
    boot_id: str
    ending: Ending

    def to_text(self) -> bytes:
        """Return its JSON, which fits into a record whatever the reason says."""
        end = self.ending
        reason = end.reason
        while reason and len(json.dumps(reason)) > REASON_LIMIT:
            reason = reason[: len(reason) * 3 // 4]
        how = [end.cause, end.exit_code, end.signal, reason]
        when = [end.started_at, end.ended_at, end.log_size]
        text = json.dumps([self.mark, self.token, self.boot_id, *how, *when]).encode()
        assert len(text) <= RECORD_SIZE - _RECORD.size, text
        return text

    @classmethod
    def from_text(cls, text: bytes) -> Record:
        """Read it back."""
        values = json.loads(text.decode())
        mark, token, boot, cause, code, signal, reason, started, ended, size = values
        ending = Ending(
            cause=_CAUSES[cause],
            exit_code=code,
            signal=signal,
            reason=reason,
            started_at=started,
            ended_at=ended,
            log_size=size,
        )
        return cls(mark=mark, token=token, boot_id=boot, ending=ending)


def pack_record(text: bytes) -> bytes:
    """Return a record as it stands in the journal, padded to its size."""
    body = struct.pack("<H", len(text)) + text
    packed = struct.pack("<II", _RECORD_MAGIC, zlib.crc32(body)) + body
    return packed.ljust(RECORD_SIZE, b"\0")


def unpack_record(block: bytes) -> Record | None:
    """Read one back; None for one never written, or torn."""
    if len(block) < RECORD_SIZE:
        return None
    magic, check, length = _RECORD.unpack_from(block)
    end = _RECORD.size + length
    if magic != _RECORD_MAGIC or end > RECORD_SIZE or zlib.crc32(block[8:end]) != check:
        return None
    return Record.from_text(block[_RECORD.size : end])


def journal_name(cell: int, segment: int) -> str:
    """Return the name of a slot's journal file."""
    return f"journal.{cell:04d}.{segment:06d}"


def split_journal_name(name: str) -> tuple[int, int] | None:
    """Return cell and segment of a journal file's name, or None for another file."""
    parts = name.split(".")
    if len(parts) != 3 or parts[0] != "journal":
        return None
    return int(parts[1]), int(parts[2])


_NOTE = struct.Struct(">BBIIIII")
_NOTE_KINDS = {int(kind): kind for kind in NoteKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A datagram from a supervisor to the runner."""

    kind: NoteKind
    is_idle: bool  # the slot takes another order
    generation: int
    cell: int
    pid: int  # the slot's
    segment: int = 0  # where in the journal the record stands
    index: int = 0
    text: bytes = b""  # DONE: the record's; REFUSED: the mark, a line feed, the reason

    def to_bytes(self) -> bytes:
        """Return the datagram."""
        head = (self.kind, self.is_idle, self.generation, self.cell, self.pid)
        return _NOTE.pack(*head, self.segment, self.index) + self.text

    @classmethod
    def from_bytes(cls, data: bytes) -> Note:
        """Read it back."""
        kind, idle, generation, cell, pid, segment, index = _NOTE.unpack_from(data)
        return cls(
            kind=_NOTE_KINDS[kind],
            is_idle=bool(idle),
            generation=generation,
            cell=cell,
            pid=pid,
            segment=segment,
            index=index,
            text=data[_NOTE.size :],
        )


_DEADLINE = int(Word.DEADLINE)
_CLEAN = tuple(map(int, (Word.STOP_BY, Word.STOP_CAUSE, Word.VERDICT)))  # for each attempt anew
_CLEAN += tuple(map(int, (Word.KILL_BY, Word.LOG_SIZE, Word.STARTED_AT)))


class Cell:
    """One cell of a board: words that several processes see, a mark and a token."""

    __slots__ = ("_mark", "_token", "words")

    def __init__(self, board: memoryview, number: int) -> None:
        part = board[number * CELL_SIZE : (number + 1) * CELL_SIZE]
        self.words = part[: CELL_SIZE - 2 * TEXT_SIZE].cast("Q")
        self._mark = part[CELL_SIZE - 2 * TEXT_SIZE : CELL_SIZE - TEXT_SIZE]
        self._token = part[CELL_SIZE - TEXT_SIZE :]

    @property
    def mark(self) -> str:
        """The attempt that the slot holds, or nothing."""
        return bytes(self._mark).rstrip(b"\0").decode()

    @property
    def token(self) -> str:
        """The token of its lease."""
        return bytes(self._token).rstrip(b"\0").decode()

    def assign(self, mark: str, token: str, deadline: int) -> None:
        """Write down whose order the idle slot is about to get."""
        words = self.words
        for word in _CLEAN:
            words[word] = 0
        words[_DEADLINE] = deadline
        self._token[:] = token.encode().ljust(TEXT_SIZE, b"\0")
        self._mark[:] = mark.encode().ljust(TEXT_SIZE, b"\0")

    def release(self) -> None:
        """Let go of the memory, so that the board can be closed."""
        for view in (self.words, self._mark, self._token):
            view.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlan:
    """How many bytes of a framed log are kept, and where."""

    head: int  # bytes kept of the beginning
    tail: int  # bytes kept at least of the end
    segment: int  # bytes of one file


@cache
def plan_log(cap: int) -> LogPlan:
    """Divide a cap: at least the last 64 MiB (or half of a small cap) stay, never over the cap."""
    tail = min(LOG_TAIL, cap // 2)
    segment = max(_SMALLEST_SEGMENT, min(LOG_SEGMENT, tail // 4))
    return LogPlan(head=max(cap - tail - 2 * segment, segment), tail=tail, segment=segment)


def segment_name(offset: int) -> str:
    """Return the name of the log's file that begins at this byte of the uncut framed log."""
    return f"{_SEGMENT_PREFIX}{offset:015d}"


def segment_offset(name: str) -> int | None:
    """Return where a log file begins, or None for another file."""
    digits = name.removeprefix(_SEGMENT_PREFIX)
    if digits == name or not digits.isdecimal():
        return None
    return int(digits)


def gap_frame(start: int, end: int, at: int) -> bytes:
    """Return the frame that stands for the bytes that the log's cap cut out."""
    return encode_frame(LogStream.GAP, at, json.dumps({"from": start, "to": end}).encode())
