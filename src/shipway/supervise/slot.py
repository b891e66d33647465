"""Takes one order after the other, runs its program, makes its result durable."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from shipway.domain.attempt import Ending
from shipway.domain.order import BIG_ORDER, LOOK, ORDER_FILE, ORDER_READ, Command
from shipway.domain.spool import (
    CLAIM_PREFIX,
    META,
    SLOT_TAKEN,
    Claim,
    Note,
    NoteKind,
    Record,
    Seat,
    Word,
)
from shipway.runners.local_home import RENEWER_SOCKET, RUNNER_SOCKET, Line, bind, slot_socket
from shipway.runners.local_journal import Journal
from shipway.runners.local_machine import boot_ms, process_start
from shipway.supervise.groups import group_oom_file, leave_group, make_group, own_oom_file
from shipway.supervise.pool import Pool, become_subreaper
from shipway.supervise.program import Program, Surroundings

RETIRE_AFTER = 2_000  # orders taken; a fresh slot has no garbage
STARTED_BEFORE = "it was started before"
RETRY_S = 1.0  # between tries to make room in the journal of a full disk
_FILES = 2  # that an idle slot listens to: its socket, its lifeline
_STATE, _HEARTBEAT = int(Word.STATE), int(Word.HEARTBEAT)  # an Enum's member costs ten times more
_IDLE, _CLAIMED, _LEAVING = int(Seat.IDLE), int(Seat.CLAIMED), int(Seat.LEAVING)


class Slot:
    """One seat of the pool: a process that runs one program at a time."""

    def __init__(self, pool: Pool, number: int, lifeline: int) -> None:
        self._pool = pool
        self._number = number
        self._lifeline = lifeline  # closed by the guardian's death
        self._cell = pool.cell(number)
        self._words = self._cell.words
        self._journal = Journal(pool.folder, number, self._cell)
        self._line = Line(pool.home_handle, RUNNER_SOCKET)
        self._pid = os.getpid()
        self._start = process_start(self._pid) or 0
        self._orphaned = False
        self._is_claim_written = False

    def serve(self) -> None:
        """Take orders until the guardian is gone, or it is time for a fresh slot."""
        os.setsid()
        become_subreaper()
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))  # a program's end is waited for
        shared_oom_file = group_oom_file()
        home = str(self._pool.home)
        self._group = make_group(self._pool.parent_group, home, self._pool.generation, self._number)
        self._socket = bind(self._pool.handle, slot_socket(self._number))
        self._epoll = select.epoll()
        self._epoll.register(self._socket, select.EPOLLIN)
        self._epoll.register(self._lifeline, select.EPOLLIN)
        self._around = Surroundings(
            cell=self._cell,
            guardian=self._pool.cell(0),
            group=self._group,
            reins=self._pool.reins,
            own_oom_file=own_oom_file(self._group),
            shared_oom_file=shared_oom_file,
            epoll=self._epoll,
            on_event=self._see,
            on_running=self._tell_running,
            ask=self._ask,
        )
        claim = Claim(
            generation=self._pool.generation,
            cell=self._number,
            slot_pid=self._pid,
            slot_start=self._start,
            boot_id=self._pool.boot_id,
            group=self._group,
        )
        self._claim_text = claim.to_bytes()
        self._claim_file = f"{self._pool.folder}/{CLAIM_PREFIX}{self._number:04d}"
        words = self._words
        words[Word.PID], words[Word.PID_START] = self._pid, self._start
        self._settle_in()
        self._tell(NoteKind.IDLE, is_idle=True)
        for served in range(1, RETIRE_AFTER + 1):
            order = self._next_order()
            if order is None or not self._serve_order(order, is_last=served == RETIRE_AFTER):
                break
        words[_STATE] = _LEAVING
        if self._orphaned:
            leave_group(self._group, self._pool.parent_group)

    def _settle_in(self) -> None:
        words = self._words
        while not self._orphaned:
            try:
                self._journal.prepare()
                if not self._is_claim_written:
                    self._write_claim()
            except OSError:  # no room for a result: take no order until there is
                ended, _, _ = select.select((self._lifeline,), (), (), RETRY_S)
                self._orphaned = bool(ended)
                continue
            words[_HEARTBEAT] = boot_ms()
            words[_STATE] = _IDLE
            return

    def _write_claim(self) -> None:
        fresh = Path(self._claim_file + ".new")
        fresh.write_bytes(self._claim_text)
        fresh.replace(self._claim_file)  # links to a dead slot's stay what they were
        self._is_claim_written = True

    def _next_order(self) -> Command | None:
        while not self._orphaned:
            for file, _ in self._epoll.poll(-1, _FILES):
                if file == self._lifeline:
                    self._orphaned = True
                elif (data := self._receive()) is not None:
                    return data
        return None

    def _receive(self) -> Command | None:
        try:
            data = self._socket.recv(ORDER_READ)
        except BlockingIOError:
            return None
        if data == LOOK:
            self._tell(NoteKind.IDLE, is_idle=True)
            return None
        if data[:1] == BIG_ORDER:
            data = (Path(os.fsdecode(data[1:])) / ORDER_FILE).read_bytes()
        return Command.from_bytes(data)

    def _serve_order(self, order: Command, *, is_last: bool) -> bool:
        words = self._words
        words[_HEARTBEAT] = boot_ms()
        words[_STATE] = _CLAIMED
        refusal = self._claim(order.folder) if self._cell.mark == order.mark else SLOT_TAKEN
        if refusal:
            words[_STATE] = _IDLE
            self._tell(NoteKind.REFUSED, is_idle=True, text=f"{order.mark}\n{refusal}".encode())
            return True
        program = Program(order, self._around)
        ending = program.run()
        goes_on = program.is_tree_gone and not is_last and not self._orphaned
        self._report(order, ending, goes_on=goes_on)
        return goes_on

    def _claim(self, folder: str) -> str:
        """Make the attempt's `meta`; whoever makes it, and nobody else ever, starts the program."""
        path = f"{folder}/{META}"
        try:
            os.link(self._claim_file, path)
        except FileExistsError:
            return STARTED_BEFORE
        except OSError:  # another file system, or none at all
            return self._claim_afresh(path)
        return ""

    def _claim_afresh(self, path: str) -> str:
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return STARTED_BEFORE
        except OSError as error:
            return f"cannot write {path}: {error.strerror}"
        try:
            os.write(file, self._claim_text)
        except OSError as error:
            os.unlink(path)  # noqa: PTH108 - half the cost of Path
            return f"cannot write {path}: {error.strerror}"
        finally:
            os.close(file)
        return ""

    def _report(self, order: Command, ending: Ending, *, goes_on: bool) -> None:
        boot_id = self._pool.boot_id
        record = Record(mark=order.mark, token=order.token, boot_id=boot_id, ending=ending)
        text = record.to_text()
        segment, index = self._journal.append(text)
        self._words[_STATE] = _LEAVING
        if goes_on:
            self._settle_in()
        is_idle = self._words[_STATE] == _IDLE
        self._tell(NoteKind.DONE, is_idle=is_idle, segment=segment, index=index, text=text)

    def _see(self, file: int) -> None:
        if file == self._lifeline:
            self._orphaned = True
            self._epoll.unregister(file)
            return
        try:
            data = self._socket.recv(ORDER_READ)
        except BlockingIOError:
            return
        if data != LOOK:  # never sent to a busy slot by a runner that knows
            self._refuse_busy(data)

    def _refuse_busy(self, data: bytes) -> None:
        if data[:1] == BIG_ORDER:
            data = (Path(os.fsdecode(data[1:])) / ORDER_FILE).read_bytes()
        order = Command.from_bytes(data)
        text = f"{order.mark}\n{SLOT_TAKEN}".encode()
        self._tell(NoteKind.REFUSED, is_idle=False, text=text)

    def _tell_running(self) -> None:
        self._tell(NoteKind.RUNNING, is_idle=False)

    def _ask(self) -> None:
        self._pool.tell(self._socket, RENEWER_SOCKET, str(self._number).encode())

    def _tell(
        self, kind: NoteKind, *, is_idle: bool, segment: int = 0, index: int = 0, text: bytes = b""
    ) -> None:
        note = Note(
            kind=kind,
            is_idle=is_idle,
            generation=self._pool.generation,
            cell=self._number,
            pid=self._pid,
            segment=segment,
            index=index,
            text=text,
        )
        self._line.send(note.to_bytes())  # it may be lost: the disk is the truth


def run_slot(pool: Pool, number: int, lifeline: int) -> None:
    """Be a slot until it leaves; the caller ends the process."""
    Slot(pool, number, lifeline).serve()
