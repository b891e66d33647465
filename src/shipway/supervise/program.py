"""Sees one program from its start to the moment when nothing of it is left."""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from shipway.domain.attempt import Cause, Ending, LogStream
from shipway.domain.spool import (
    MARK_VARIABLE,
    Cell,
    GuardianWord,
    Order,
    Seat,
    Word,
    mark_of,
    plan_log,
)
from shipway.runners.local_machine import boot_ms, wall_ms
from shipway.supervise import tree
from shipway.supervise.groups import count_of
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

FIRST_LOOK_MS = 20  # a program that ends sooner is never reported as running
PIPE_SIZE = 1 << 20  # asked of the kernel for a program that fills its pipe
_DEFAULT_PIPE = 64 << 10
KILL_LIMIT_MS = 30_000  # of killing in vain before the tree is left to the guardian
DRAIN_READS = 4096  # of a pipe whose program is gone; enough for the fullest one
_KILLED_BITS = 0x807F  # of a wait status: a signal, or an exit code of 128 and more
FULL_DISK_LIMIT_MS = 60_000  # that an ended program's last output waits for room
_CLOSELY = (Stage.ENDING, Stage.KILLING)
_RESET = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGCHLD,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a slot lends to the program it runs."""

    cell: Cell
    guardian: Cell
    group: str  # the slot's own control group, or nothing
    own_oom_file: str  # counts the OOM kills of that group, or nothing
    shared_oom_file: str  # counts the OOM kills of a group that all slots share, or nothing
    epoll: select.epoll
    on_event: Callable[[int], None]  # for a file that is not the program's
    on_running: Callable[[], None]
    ask: Callable[[], None]


class Program:
    """A running program: its pipes, its log, its tree."""

    def __init__(self, order: Order, around: Surroundings) -> None:
        self._order = order
        self._around = around
        self._words = around.cell.words
        self._log = LogSpool(order.folder, plan_log(order.log_cap))
        self._pipes: dict[int, LogStream] = {}
        self._pid = 0
        self._status: int | None = None
        self._stalled: tuple[LogStream, int, bytes] | None = None
        self._began = 0  # on the boot clock
        self._group_oom = 0
        self._watch = Watch(grace_ms=order.grace_ms, run_deadline=0)
        self._synced = 0
        self._killing_since = 0
        self._is_reported = False
        self.is_tree_gone = True

    def run(self) -> Ending:
        """Start it, see it to its end, return how it ended; its log is durable by then."""
        started_at = wall_ms()
        self._words[Word.STARTED_AT] = started_at
        self._began = self._synced = boot_ms()
        if self._order.run_limit_ms:
            self._watch = replace(self._watch, run_deadline=self._began + self._order.run_limit_ms)
        self._group_oom = self._own_oom()
        try:
            exit_file = self._start()
        except (OSError, ValueError) as error:
            reason = f"cannot start {self._order.argv[0]!r}: {error}"
            return Ending(
                cause=Cause.NOT_STARTED, reason=reason, started_at=started_at, ended_at=wall_ms()
            )
        self._see_through(exit_file)
        self._words[Word.STATE] = Seat.SAVING
        os.close(exit_file)
        self._drain()
        status = self._status
        if status is None:  # only when the tree could not be ended
            return self._ending(Cause.SUPERVISOR, started_at, reason="it could not be killed")
        return self._classified(status, self._watch.cause, started_at)

    def _start(self) -> int:
        order = self._order
        ends = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        try:
            os.chdir(order.cwd)
            self._pid = os.posix_spawn(
                order.argv[0],
                order.argv,
                {**order.env, MARK_VARIABLE: mark_of(order.item, order.attempt)},
                file_actions=(
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, ends[0][1], 1),
                    (os.POSIX_SPAWN_DUP2, ends[1][1], 2),
                ),
                setsid=True,
                setsigmask=(),
                setsigdef=_RESET,
            )
        except BaseException:
            for read_end, _ in ends:
                os.close(read_end)
            raise
        finally:
            for _, write_end in ends:
                os.close(write_end)
        epoll = self._around.epoll
        for stream, (read_end, _) in zip((LogStream.STDOUT, LogStream.STDERR), ends, strict=True):
            os.set_blocking(read_end, False)
            self._pipes[read_end] = stream
            epoll.register(read_end, select.EPOLLIN)
        exit_file = os.pidfd_open(self._pid)
        epoll.register(exit_file, select.EPOLLIN)
        self._words[Word.STATE] = Seat.RUNNING
        return exit_file

    def _see_through(self, exit_file: int) -> None:
        wait_ms = FIRST_LOOK_MS
        while not self._take_events(exit_file, wait_ms):
            now = boot_ms()
            self._words[Word.HEARTBEAT] = now
            if self._do_chores(now):
                return
            wait_ms = self._decide(now)
            if self._killing_since and now - self._killing_since > KILL_LIMIT_MS:
                self.is_tree_gone = False
                return

    def _take_events(self, exit_file: int, wait_ms: int) -> bool:
        """Handle what is ready; True once nothing of the program is left."""
        is_gone = False
        for file, event in self._around.epoll.poll(wait_ms / 1000):
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
        """Report, reap, write to disk, each when due; True once nothing is left."""
        if not self._is_reported:
            self._is_reported = True
            self._around.on_running()
        is_due = now - self._synced >= LOOK_EVERY_MS
        if is_due:
            self._synced = now
            self._retry()
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
        group = self._around.group
        if action is Action.ASK:
            self._around.ask()
        elif action is Action.FREEZE:
            tree.freeze(group)
        elif action is Action.CONTINUE:
            tree.send(tree.descendants(group), signal.SIGCONT)
        elif action is Action.TERMINATE:
            tree.send(tree.descendants(group), signal.SIGTERM, signal.SIGCONT)
        else:
            tree.kill(group)

    def _reap(self) -> bool:
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return False
                if pid == self._pid:
                    self._status = status
        except ChildProcessError:
            return True  # the proof: below a subreaper, no child means no descendant

    def _pump(self, file: int) -> bool:
        """Take what is in a pipe; False if there was nothing, or no room for it."""
        if self._stalled is not None:
            return False
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
        self._keep(self._pipes[file], wall_ms(), data)
        return True

    def _keep(self, stream: LogStream, at: int, data: bytes) -> None:
        try:
            self._log.write(stream, at, data)
        except OSError:  # a full disk: the program waits on its full pipe, nothing is lost
            self._stalled = (stream, at, data)
            for file in self._pipes:
                with suppress(FileNotFoundError):
                    self._around.epoll.unregister(file)
            return
        self._words[Word.LOG_SIZE] = self._log.head_size

    def _retry(self) -> None:
        if self._stalled is None:
            return
        piece, self._stalled = self._stalled, None
        self._keep(*piece)
        if self._stalled is None:
            for file in self._pipes:
                self._around.epoll.register(file, select.EPOLLIN)

    def _drain(self) -> None:
        """Take what an ended program left in its pipes; a stranger may still hold them."""
        limit = boot_ms() + FULL_DISK_LIMIT_MS
        for file in list(self._pipes):
            for _ in range(DRAIN_READS):
                while self._stalled is not None and boot_ms() < limit:
                    select.select((), (), (), 1.0)
                    self._words[Word.HEARTBEAT] = boot_ms()
                    self._retry()
                if not self._pump(file):
                    break
            if file in self._pipes:
                self._shut(file)

    def _shut(self, file: int) -> None:
        os.close(file)  # which takes it out of the epoll, too
        del self._pipes[file]

    def _own_oom(self) -> int:
        return count_of(self._around.own_oom_file)

    def _classified(self, status: int, cause: Cause | None, started_at: int) -> Ending:
        guardian, around = self._around.guardian.words, self._around
        is_group = is_machine = False
        if cause is None and status & _KILLED_BITS:
            shared = count_of(around.shared_oom_file)
            is_group = (
                self._own_oom() > self._group_oom
                or shared > guardian[GuardianWord.GROUP_OOM]
                or guardian[GuardianWord.GROUP_OOM_AT] >= self._began
            )
            is_machine = (
                count_of("/proc/vmstat") > guardian[GuardianWord.MACHINE_OOM]
                or guardian[GuardianWord.MACHINE_OOM_AT] >= self._began
            )
        found, code, number = classify(
            status, cause, is_group_oom=is_group, is_machine_oom=is_machine
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
            log_size=self._log.finish(),
        )
