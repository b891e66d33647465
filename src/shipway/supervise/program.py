"""Sees one program from its start to the moment when nothing of it is left."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from shipway.domain.attempt import Cause, Ending, LogStream
from shipway.domain.order import Command
from shipway.domain.spool import Cell, GuardianWord, Seat, Word, plan_log
from shipway.runners.local_machine import boot_ms, wall_ms
from shipway.supervise.groups import count_of
from shipway.supervise.hand import Hand
from shipway.supervise.log_spool import LogSpool
from shipway.supervise.steps import (
    LOOK_EVERY_MS,
    SEATS,
    Action,
    Sight,
    Stage,
    Watch,
    classify,
    kill_by,
    step,
    wake_at,
)

FIRST_LOOK_MS = 20  # a program that ends sooner is never reported as running, nor listened to
PIPE_SIZE = 1 << 20  # asked of the kernel for a program that fills its pipe
_DEFAULT_PIPE = 64 << 10
KILL_LIMIT_MS = 30_000  # of killing in vain before the tree is left to the guardian
DRAIN_READS = 4096  # of a pipe whose program is gone; enough for the fullest one
_KILLED_BITS = 0x807F  # of a wait status: a signal, or an exit code of 128 and more
FULL_DISK_LIMIT_MS = 60_000  # that an ended program's last output waits for room
_CLOSELY = (Stage.ENDING, Stage.KILLING)
_CHILD = (signal.SIGCHLD,)
_RESET = (
    *map(int, signal.valid_signals()),
)  # all: what is not named costs the C library one call more
_FILES = 8  # more than a slot listens to at once
_NOTHING = bytes(4)  # where the kernel writes how much a pipe holds
_STATE, _STARTED_AT = int(Word.STATE), int(Word.STARTED_AT)  # an Enum's member costs ten times more
_RUNNING, _SAVING = int(Seat.RUNNING), int(Seat.SAVING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a slot lends to the program it runs."""

    cell: Cell
    guardian: Cell
    group: str  # the slot's own control group, or nothing
    reins: str  # a program that ends what is outside of trees, or nothing
    own_oom_file: str  # counts the OOM kills of that group, or nothing
    shared_oom_file: str  # counts the OOM kills of a group that all slots share, or nothing
    epoll: select.epoll
    on_event: Callable[[int], None]  # for a file that is not the program's
    on_running: Callable[[], None]
    ask: Callable[[], None]


class Program:
    """A running program: its pipes, its log, its tree."""

    def __init__(self, order: Command, around: Surroundings) -> None:
        self._order = order
        self._around = around
        self._hand = Hand(around.group, around.reins, order.folder)
        self._words = around.cell.words
        self._log: LogSpool | None = None  # once there is output
        self._pipes: dict[int, LogStream] = {}
        self._pid = 0
        self._status: int | None = None
        self._stalled: tuple[LogStream, int, bytes] | None = None
        self._lost = 0  # bytes that found no room
        self._began = 0  # on the boot clock
        self._group_oom = 0
        self._cause: Cause | None = None  # why we end it; None also when it ended by itself
        self._killing_since = 0
        self.is_tree_gone = True

    def run(self) -> Ending:
        """Start it, see it to its end, return how it ended; its log is durable by then."""
        words, around = self._words, self._around
        words[_STARTED_AT] = started_at = wall_ms()
        self._began = boot_ms()
        if around.own_oom_file:
            self._group_oom = count_of(around.own_oom_file)
        try:
            self._start()
        except (OSError, ValueError) as error:
            return _not_started(self._order.argv[0], error, started_at)
        words[_STATE] = _RUNNING
        if not self._is_soon_gone():
            self._see_through()
        words[_STATE] = _SAVING
        self._drain()
        if self._status is None:  # only when the tree could not be ended
            return self._ending(Cause.SUPERVISOR, started_at, reason="it could not be killed")
        return self._classified(self._status, started_at)

    def _start(self) -> None:
        order = self._order
        out, out_end = os.pipe2(os.O_CLOEXEC)
        err, err_end = os.pipe2(os.O_CLOEXEC)
        self._pipes = {out: LogStream.STDOUT, err: LogStream.STDERR}
        try:
            os.chdir(order.cwd)
            self._pid = os.posix_spawn(
                order.argv[0],
                order.argv,
                order.env,
                file_actions=((os.POSIX_SPAWN_DUP2, out_end, 1), (os.POSIX_SPAWN_DUP2, err_end, 2)),
                setsid=True,
                setsigmask=(),
                setsigdef=_RESET,
            )
        except BaseException:
            os.close(out)
            os.close(err)
            raise
        finally:
            os.close(out_end)
            os.close(err_end)

    def _is_soon_gone(self) -> bool:
        """Wait for a short program with nothing set up; True once nothing of it is left."""
        left_ms = FIRST_LOOK_MS
        while left_ms > 0 and signal.sigtimedwait(_CHILD, left_ms / 1000) is not None:
            if self._reap():
                return True
            if self._status is not None:  # its leftovers shall not wait
                return False
            left_ms = self._began + FIRST_LOOK_MS - boot_ms()
        return False

    def _see_through(self) -> None:
        limit = self._order.run_limit_ms
        self._watch = Watch(
            grace_ms=self._order.grace_ms, run_deadline=self._began + limit if limit else 0
        )
        self._synced = self._began
        exit_file = self._listen()
        self._around.on_running()
        wait_ms = 0
        while not self._take_events(exit_file, wait_ms):
            now = boot_ms()
            self._words[Word.HEARTBEAT] = now
            if self._do_chores(now):
                break
            wait_ms = self._decide(now)
            if self._killing_since and now - self._killing_since > KILL_LIMIT_MS:
                self.is_tree_gone = False
                break
        self._cause = self._watch.cause
        if exit_file >= 0:
            os.close(exit_file)

    def _listen(self) -> int:
        """Have the epoll tell of output and of the end; return the file that tells of the end."""
        epoll = self._around.epoll
        for file in self._pipes:
            os.set_blocking(file, False)
            epoll.register(file, select.EPOLLIN)
        if self._status is not None:
            return -1
        exit_file = os.pidfd_open(self._pid)
        epoll.register(exit_file, select.EPOLLIN)
        return exit_file

    def _take_events(self, exit_file: int, wait_ms: int) -> bool:
        """Handle what is ready; True once nothing of the program is left."""
        is_gone = False
        for file, event in self._around.epoll.poll(wait_ms / 1000, _FILES):
            if file in self._pipes:
                if event & select.EPOLLIN:
                    self._pump(file)
                else:
                    self._shut(file)
            elif file != exit_file:
                self._around.on_event(file)
            else:
                is_gone = self._reap()
                if not is_gone:
                    self._around.epoll.unregister(exit_file)
        return is_gone

    def _do_chores(self, now: int) -> bool:
        """Reap, write to disk, each when due; True once nothing is left."""
        is_due = now - self._synced >= LOOK_EVERY_MS
        if is_due:
            self._synced = now
            self._retry()
            if self._log is not None:
                self._log.sync()
        return (is_due or self._watch.stage in _CLOSELY or self._status is not None) and (
            self._reap()
        )

    def _decide(self, now: int) -> int:
        """Take the next step; return how long to wait before the one after it."""
        sight, stage = self._sight(now), self._watch.stage
        self._watch, actions = step(self._watch, sight)
        self._words[Word.KILL_BY] = kill_by(self._watch)
        if self._watch.stage is not stage:
            self._words[Word.STATE] = SEATS[self._watch.stage]
            if self._watch.stage is Stage.KILLING:
                self._killing_since = now
        for action in actions:
            self._act(action)
        return wake_at(self._watch, sight) - now

    def _sight(self, now: int) -> Sight:
        words = self._words
        return Sight(
            now=now,
            deadline=words[Word.DEADLINE],
            stop_by=words[Word.STOP_BY],
            stop_cause=words[Word.STOP_CAUSE],
            verdict=words[Word.VERDICT],
            is_main_gone=self._status is not None,
        )

    def _act(self, action: Action) -> None:
        if action is Action.ASK:
            self._around.ask()
        else:
            self._hand.act(action, self._pid)

    def _reap(self) -> bool:
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return False
                if pid == self._pid:
                    self._status = status
                else:
                    self._hand.reaped(pid, status)
        except ChildProcessError:  # the proof: below a subreaper, no child means no descendant
            return self._hand.is_clear(self._status)

    def _pump(self, file: int) -> bool:
        """Take what is in a pipe; False if there was nothing, or no room for it."""
        if self._stalled is not None:
            return False
        if self._log is None:
            self._log = LogSpool(self._order.folder, plan_log(self._order.log_cap))
        try:
            data = os.read(file, self._log.read_size)
        except BlockingIOError:
            return False
        if not data:
            self._shut(file)
            return False
        if len(data) == _DEFAULT_PIPE:
            with suppress(OSError):
                fcntl.fcntl(file, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self._keep(self._log, (self._pipes[file], wall_ms(), data))
        return True

    def _keep(self, log: LogSpool, piece: tuple[LogStream, int, bytes]) -> None:
        try:
            log.write(*piece)
        except OSError:  # a full disk: the program waits on its full pipe, nothing is lost
            self._stalled = piece
            for file in self._pipes:
                with suppress(FileNotFoundError):
                    self._around.epoll.unregister(file)
            return
        self._words[Word.LOG_SIZE] = log.head_size

    def _retry(self) -> None:
        if self._stalled is None or self._log is None:
            return
        piece, self._stalled = self._stalled, None
        self._keep(self._log, piece)
        if self._stalled is None:
            for file in self._pipes:
                self._around.epoll.register(file, select.EPOLLIN)

    def _drain(self) -> None:
        """Take what an ended program left in its pipes; a stranger may still hold them."""
        limit = boot_ms() + FULL_DISK_LIMIT_MS
        for file in list(self._pipes):
            if self._stalled is not None or _held(file):
                self._empty(file, limit)
            if file in self._pipes:
                if self._stalled is not None:
                    self._lost += _held(file)
                self._shut(file)
        if self._stalled is not None:
            self._lost += len(self._stalled[2])

    def _empty(self, file: int, limit: int) -> None:
        os.set_blocking(file, False)
        for _ in range(DRAIN_READS):
            while self._stalled is not None and boot_ms() < limit:
                select.select((), (), (), 1.0)
                self._words[Word.HEARTBEAT] = boot_ms()
                self._retry()
            if not self._pump(file):
                break

    def _shut(self, file: int) -> None:
        os.close(file)  # which takes it out of the epoll, too
        del self._pipes[file]

    def _classified(self, status: int, started_at: int) -> Ending:
        is_group = is_machine = False
        if self._cause is None and status & _KILLED_BITS:
            guardian, around = self._around.guardian.words, self._around
            shared = count_of(around.shared_oom_file)
            is_group = (
                count_of(around.own_oom_file) > self._group_oom
                or shared > guardian[GuardianWord.GROUP_OOM]
                or guardian[GuardianWord.GROUP_OOM_AT] >= self._began
            )
            is_machine = (
                count_of("/proc/vmstat") > guardian[GuardianWord.MACHINE_OOM]
                or guardian[GuardianWord.MACHINE_OOM_AT] >= self._began
            )
        found, code, number = classify(
            status, self._cause, is_group_oom=is_group, is_machine_oom=is_machine
        )
        return self._ending(found, started_at, exit_code=code, number=number)

    def _ending(
        self,
        cause: Cause,
        started_at: int,
        *,
        exit_code: int | None = None,
        number: int | None = None,
        reason: str = "",
    ) -> Ending:
        return Ending(
            cause=cause,
            exit_code=exit_code,
            signal=number,
            reason=reason,
            started_at=started_at,
            ended_at=wall_ms(),
            log_size=0 if self._log is None else self._log.finish() + self._lost,
        )


def _held(file: int) -> int:
    return int.from_bytes(fcntl.ioctl(file, termios.FIONREAD, _NOTHING), sys.byteorder)


def _not_started(program: str | bytes, error: OSError | ValueError, started_at: int) -> Ending:
    if isinstance(error, OSError) and isinstance(error.filename, bytes):
        error.filename = os.fsdecode(error.filename)
    reason = f"cannot start {os.fsdecode(program)!r}: {error}"
    return Ending(cause=Cause.NOT_STARTED, reason=reason, started_at=started_at, ended_at=wall_ms())
