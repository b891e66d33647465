"""Keeps the slots alive, ends what a dead slot leaves behind, leaves when nobody needs it."""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from shipway.domain.order import PACKED
from shipway.domain.spool import (
    CELLS,
    LIVE_SEATS,
    TREE_SEATS,
    Cell,
    GuardianWord,
    Note,
    NoteKind,
    Record,
    Seat,
    Word,
)
from shipway.runners.local_home import CONTROL_SOCKET, ControlKind, Settings, bind
from shipway.runners.local_journal import Journal
from shipway.runners.local_machine import boot_ms, process_start
from shipway.runners.local_reins import Verb, drop, pull
from shipway.runners.local_sweep import bury
from shipway.runners.local_watchdog import Suspicion, suspect
from shipway.supervise import tree
from shipway.supervise.groups import (
    count_of,
    group_oom_file,
    group_path,
    kill_group,
    remove_groups,
)
from shipway.supervise.pool import Pool
from shipway.supervise.renewer import run_renewer
from shipway.supervise.slot import run_slot
from shipway.supervise.steps import TICK_MS, may_leave

FIRST_SLOTS = 8  # made at once; more when asked for
CONTROL_LIMIT = 64 << 10
BURY_EVERY_MS = 20  # between looks at a dead slot's orphans
BURY_LIMIT_MS = 10_000  # of killing orphans in vain before their ending is written down
LEAVE_LIMIT_MS = 2_000  # that idle slots get to leave by themselves
REVIVE_EVERY_MS = 1_000  # at most so often is the same slot, or the renewer, made again

log = logging.getLogger("shipway.supervise")


class Guardian:
    """The parent of slots and renewer; never blocks on a network."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._slots: dict[int, int] = {}  # process to cell
        self._files: dict[int, int] = {}  # process to what becomes readable at its death
        self._born: dict[int, int] = {}  # cell to when its slot was made
        self._dead: dict[int, int] = {}  # cell to when its slot was found dead
        self._pulls: dict[int, int] = {}  # cell of a dead slot to who pulls its reins; 0 = done
        self._suspects: dict[int, Suspicion] = {}
        self._renewer = 0
        self._renewer_born = 0
        self._last_live = boot_ms()
        self._wanted = min(settings.slots or FIRST_SLOTS, FIRST_SLOTS)
        self._is_quitting = False
        self._shared_oom_file = ""

    def serve(self, ready: Callable[[], None]) -> None:
        """Keep the pool until it is of no use; call `ready` once it takes orders."""
        self._shared_oom_file = group_oom_file()
        self._control = bind(self._pool.handle, CONTROL_SOCKET)
        self._lifeline, self._grip = os.pipe2(os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._control, select.POLLIN)
        gc.disable()
        gc.freeze()
        self._look()
        ready()  # before any fork, for children keep what is open
        self._fill()
        self._revive_renewer()
        while not self._is_done():
            self._poll.poll(BURY_EVERY_MS if self._dead else TICK_MS)
            self._take_messages()
            self._reap()
            self._bury_dead()
            self._look()
            self._fill()
            self._revive_renewer()
        self._leave()

    def _is_done(self) -> bool:
        if self._dead or self._has_live():
            return False
        if self._is_quitting:
            return True
        beat = self._pool.beat[0]
        return may_leave(boot_ms(), beat=beat, last_live=self._last_live)

    def _take_messages(self) -> None:
        while True:
            try:
                data = self._control.recv(CONTROL_LIMIT)
            except BlockingIOError:
                return
            kind, *rest = json.loads(data)
            if kind == ControlKind.GROW:
                limit = self._settings.slots or CELLS - 1
                self._wanted = max(self._wanted, min(rest[0], limit, CELLS - 1))
            elif kind == ControlKind.SETTINGS:
                self._take_settings(Settings(**rest[0]))
            elif kind == ControlKind.QUIT:
                self._is_quitting = True

    def _take_settings(self, settings: Settings) -> None:
        self._is_quitting = False
        if settings == self._settings:
            return
        is_renewer_old = replace(settings, slots=0) != replace(self._settings, slots=0)
        self._settings = settings
        if is_renewer_old and self._renewer:
            os.kill(self._renewer, signal.SIGKILL)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                if pid == self._renewer:
                    self._renewer = 0
                elif pid in self._pulls.values():
                    self._pulls |= {cell: 0 for cell, one in self._pulls.items() if one == pid}
                elif pid in self._slots:
                    number = self._slots.pop(pid)
                    self._forget_file(pid)
                    self._dead[number] = boot_ms()
                    if status:
                        log.warning("slot died", extra={"slot": number, "status": status})

    def _bury_dead(self) -> None:
        if not self._dead:
            return
        now, pool = boot_ms(), self._pool
        for number in self._dead:
            self._pull_reins(number)
        spared = [*self._slots, self._renewer, *filter(None, self._pulls.values())]
        for number in self._dead:
            kill_group(group_path(pool.parent_group, str(pool.home), pool.generation, number))
        left = tree.kill("", spared) if _has_orphans(spared) else 0
        for number, since in list(self._dead.items()):
            if (left or self._pulls.get(number)) and now - since < BURY_LIMIT_MS:
                continue
            try:
                self._bury(number)
            except OSError:  # a full disk: try again until the result can be kept
                log.exception("cannot write a result down", extra={"slot": number})
                continue
            del self._dead[number]
            drop(self._pulls.pop(number, 0))

    def _pull_reins(self, number: int) -> None:
        """Begin to end what a dead slot's program has outside of its tree."""
        pool, cell = self._pool, self._pool.cell(number)
        if not pool.reins or number in self._pulls or cell.words[Word.STATE] not in LIVE_SEATS:
            return
        try:
            self._pulls[number] = pull(pool.reins, Verb.KILL, str(pool.attempts / cell.mark))
        except OSError:  # the next look tries again
            log.exception("cannot pull the reins", extra={"slot": number})

    def _bury(self, number: int) -> None:
        pool, cell = self._pool, self._pool.cell(number)
        journal = Journal(pool.folder, number, cell)
        try:
            record = bury(pool.attempts, journal, cell, "its supervisor process died")
        finally:
            journal.close()
        words = cell.words
        place = (words[Word.SEGMENT], words[Word.INDEX] - 1)
        pid = words[Word.PID]
        words[Word.STATE] = Seat.ABSENT
        if record is not None:
            self._tell_buried(number, pid, place, record)

    def _tell_buried(self, number: int, pid: int, place: tuple[int, int], record: Record) -> None:
        note = Note(
            kind=NoteKind.DONE,
            is_idle=False,
            generation=self._pool.generation,
            cell=number,
            pid=pid,
            segment=place[0],
            index=place[1],
            text=record.to_text(),
        )
        self._pool.tell_runner(self._control, note)

    def _look(self) -> None:
        now, header = boot_ms(), self._pool.cell(0).words
        header[GuardianWord.HEARTBEAT] = now
        counts = (
            (GuardianWord.GROUP_OOM, GuardianWord.GROUP_OOM_AT, self._shared_oom_file),
            (GuardianWord.MACHINE_OOM, GuardianWord.MACHINE_OOM_AT, "/proc/vmstat"),
        )
        for value, risen, path in counts:
            count = count_of(path)
            if count > header[value] and header[GuardianWord.PID]:
                header[risen] = now
            header[value] = count
        if not header[GuardianWord.PID]:
            header[GuardianWord.ORDERS] = PACKED
            header[GuardianWord.PID_START] = process_start(os.getpid()) or 0
            header[GuardianWord.PID] = os.getpid()
        if self._has_live():
            self._last_live = now
        for pid, number in list(self._slots.items()):
            self._watch_slot(pid, self._pool.cell(number), now)

    def _watch_slot(self, pid: int, cell: Cell, now: int) -> None:
        words = cell.words
        if words[Word.STATE] not in TREE_SEATS:
            self._suspects.pop(pid, None)
            return
        due = (words[Word.DEADLINE], words[Word.KILL_BY], words[Word.STOP_BY])
        known = self._suspects.get(pid, Suspicion())
        found = suspect(known, now=now, heartbeat=words[Word.HEARTBEAT], due=due)
        self._suspects[pid] = found
        if found.is_proven:
            log.warning("slot past its time does not act", extra={"pid": pid})
            os.kill(pid, signal.SIGKILL)

    def _fill(self) -> None:
        self._pool.cell(0).words[GuardianWord.SLOTS] = self._wanted
        taken = set(self._slots.values()) | set(self._dead)
        now = boot_ms()
        for number in range(1, self._wanted + 1):
            if number in taken or now - self._born.get(number, -REVIVE_EVERY_MS) < REVIVE_EVERY_MS:
                continue
            self._born[number] = now
            pid = self._fork(partial(run_slot, self._pool, number, self._lifeline))
            if pid:
                self._slots[pid] = number
                self._files[pid] = os.pidfd_open(pid)
                self._poll.register(self._files[pid], select.POLLIN)

    def _revive_renewer(self) -> None:
        now = boot_ms()
        is_young = self._renewer_born and now - self._renewer_born < REVIVE_EVERY_MS
        if self._renewer or is_young:
            return
        self._renewer_born = now
        self._renewer = self._fork(partial(run_renewer, self._pool, self._settings, self._lifeline))

    def _fork(self, serve: Callable[[], None]) -> int:
        try:
            pid = os.fork()
        except OSError:
            log.exception("cannot make a process")
            return 0
        if pid:
            return pid
        code = 1
        try:
            for file in (
                self._grip,
                self._control.fileno(),
                *self._files.values(),
            ):
                os.close(file)
            serve()
            code = 0
        except BaseException:  # the outermost frame of this process: it must end here
            log.exception("slot failed")
        finally:
            os._exit(code)

    def _has_live(self) -> bool:
        return any(
            self._pool.cell(number).words[Word.STATE] in LIVE_SEATS
            for number in self._slots.values()
        )

    def _leave(self) -> None:
        os.close(self._grip)  # idle slots end by themselves
        limit = boot_ms() + LEAVE_LIMIT_MS
        if self._renewer:
            tree.send([self._renewer], signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    self._poll.poll(BURY_EVERY_MS)
                    if boot_ms() > limit:
                        tree.send(list(self._slots), signal.SIGKILL)
        remove_groups(self._pool.parent_group, str(self._pool.home))

    def _forget_file(self, pid: int) -> None:
        file = self._files.pop(pid)
        self._poll.unregister(file)
        os.close(file)


def _has_orphans(spared: list[int]) -> bool:
    return any(pid not in spared for pid in tree.children(os.getpid()))
