"""A machine's supervisor: its real decisions around simulated programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shipway.domain.attempt import Cause, Ending
from shipway.domain.errors import ShipwayError
from shipway.domain.spool import STOP_CAUSES, Verdict
from shipway.plugins.runner import RunRequest
from shipway.runners.local_watchdog import Suspicion
from shipway.supervise.renewer import (
    LOOK_EVERY_MS,
    REQUEST_LIMIT_S,
    Change,
    Held,
    changes,
    whom_to_renew,
)
from shipway.supervise.steps import (
    Action,
    Sight,
    Stage,
    Watch,
    classify,
    kill_by,
    step,
    wake_at,
)
from shipway.testing.simulate.history import History, What
from shipway.testing.simulate.network import Answer
from shipway.testing.simulate.node import Node
from shipway.testing.simulate.program import Program, Script

NOTE_MS = (0.1, 3.0)  # of a datagram on one machine
NOTE_LOSS = 0.05  # how often one is lost: the spool is the truth
BURY_MS = (20.0, 500.0)  # until the guardian has ended what a dead slot left

Post = Callable[[str, dict[str, Any], float, Answer], None]


@dataclass(slots=True, kw_only=True)
class Seat:
    """One attempt on the board and in the spool: both outlive every process."""

    request: RunRequest
    cell: int
    deadline: int
    sent_at: int  # when its order was sent last
    stop_by: int = 0
    stop_cause: int = 0
    verdict: int = Verdict.NONE
    heartbeat: int = 0
    watch: Watch = field(default_factory=lambda: Watch(grace_ms=0, run_deadline=0))
    program: Program | None = None  # None until a slot took the order
    ending: Ending | None = None
    suspicion: Suspicion = field(default_factory=Suspicion)
    is_told: bool = False  # the agent of this life knows of the end

    @property
    def is_live(self) -> bool:
        """Whether a slot has it."""
        return self.program is not None and self.ending is None


class Supervisor:
    """Guardian, slots and renewer as one process."""

    def __init__(self, node: Node, history: History, *, post: Post, agent: str) -> None:
        self.node = node
        self._history = history
        self._post = post
        self._agent = agent
        self.seats: dict[str, Seat] = {}
        self.beat = 0  # the agent's
        self.scripts: Callable[[RunRequest], Script] = lambda _: Script()
        self.when_killing: Callable[[], None] = _nothing  # a program takes its machine down
        self.tell: Callable[[Seat], None] = _no_seat
        self._asked: set[int] = set()
        self._renewed_at = 0
        self._is_renewing = False

    def start(self) -> None:
        """Begin a life."""
        self.node.start()
        self._history.note(self.node.name, What.UP)
        self._is_renewing = False
        self._asked.clear()
        self.node.after(LOOK_EVERY_MS, self._renew)

    def kill(self) -> None:
        """Let guardian and slots die together; their programs go on."""
        if self.node.is_up:
            self._history.note(self.node.name, What.DOWN)
            self.node.kill()

    def kill_slot(self, seat: Seat) -> None:
        """Let the slot of one attempt die: the guardian ends what it left."""
        if seat.is_live:
            self.node.after(self.node.kernel.between(*BURY_MS), lambda: self.bury(seat))

    def bury(self, seat: Seat) -> None:
        """End what is left of an attempt whose slot is dead, and write that down."""
        if seat.program is None or seat.ending is not None:
            return
        seat.program.kill()
        seat.ending = self._ending(seat, Cause.SUPERVISOR, None, 9)
        self._note_end(seat)

    def reboot(self) -> None:
        """Begin anew with the machine: programs are gone, and the tokens with the board."""
        self.kill()
        for handle, seat in list(self.seats.items()):
            if seat.program is None:
                del self.seats[handle]
                continue
            if seat.ending is None:
                seat.program.kill()
                seat.ending = self._ending(seat, Cause.SUPERVISOR, None, 9)
            seat.request = replace(seat.request, token="")

    def order(self, seat: Seat) -> None:
        """Send a program's order; it waits while the slots are stopped."""
        seat.sent_at = self._now()
        self.node.after(self.node.kernel.between(*NOTE_MS), lambda: self._take(seat))

    def look(self, handle: str) -> None:
        """Make a slot look at its board."""
        seat = self.seats.get(handle)
        if seat is not None:
            self.node.after(self.node.kernel.between(*NOTE_MS), lambda: self._look(seat))

    def _take(self, seat: Seat) -> None:
        if seat.program is not None or seat.ending is not None:
            return  # its proof of start is there
        request = seat.request
        program = Program(
            self.scripts(request),
            self.node.machine,
            self._history,
            item=request.item,
            attempt=request.attempt,
        )
        grace_ms = int(request.grace_s * 1000)
        limit_ms = int((request.run_limit_s or 0) * 1000)
        run_deadline = self._now() + limit_ms if limit_ms else 0
        seat.watch = Watch(grace_ms=grace_ms, run_deadline=run_deadline)
        seat.program = program
        program.when_gone = lambda: self.node.after(0, lambda: self._reap(seat))
        if self.scripts(request).kills_machine:
            self.node.after(50, self.when_killing)
        program.begin()
        self._look_again(seat, 20)

    def _look_again(self, seat: Seat, ms: float) -> None:
        self.node.after(ms, lambda: self._look(seat, is_timer=True))

    def _look(self, seat: Seat, *, is_timer: bool = False) -> None:
        program = seat.program
        if program is None or seat.ending is not None:
            return
        now = seat.heartbeat = self._now()
        sight = Sight(
            now=now,
            deadline=seat.deadline,
            stop_by=seat.stop_by,
            stop_cause=seat.stop_cause,
            verdict=seat.verdict,
            is_main_gone=False,
        )
        seat.watch, actions = step(seat.watch, sight)
        for action in actions:
            self._act(action, seat, program)
        if program.status is not None:
            self._reap(seat)
        elif is_timer:
            self._look_again(seat, max(1, wake_at(seat.watch, sight) - now))

    def _act(self, action: Action, seat: Seat, program: Program) -> None:
        if action is Action.ASK:
            self._asked.add(seat.cell)
            self.node.after(self.node.kernel.between(*NOTE_MS), self._renew_now)
        elif action is Action.FREEZE:
            program.stop()
        elif action is Action.CONTINUE:
            program.go_on()
        elif action is Action.TERMINATE:
            program.terminate()
            program.go_on()
        else:
            program.kill()

    def _reap(self, seat: Seat) -> None:
        program = seat.program
        if program is None or seat.ending is not None or program.status is None:
            return
        cause, code, number = classify(
            program.status, seat.watch.cause, is_group_oom=False, is_machine_oom=False
        )
        seat.ending = self._ending(seat, cause, code, number)
        self._note_end(seat)

    def _ending(self, seat: Seat, cause: Cause, code: int | None, number: int | None) -> Ending:
        assert seat.program is not None
        size = len(seat.program.printed())
        return Ending(cause=cause, exit_code=code, signal=number, log_size=size)

    def _note_end(self, seat: Seat) -> None:
        kernel = self.node.kernel
        if kernel.chance() >= NOTE_LOSS:
            kernel.after(kernel.between(*NOTE_MS), lambda: self.tell(seat))

    def _renew(self) -> None:
        self.node.after(LOOK_EVERY_MS, self._renew)
        self._renew_now()

    def _renew_now(self) -> None:
        if self._is_renewing:
            return
        now = self._now()
        held = [
            Held(cell=seat.cell, item=seat.request.item, token=seat.request.token)
            for seat in self.seats.values()
            if seat.is_live
        ]
        due = whom_to_renew(
            held, now=now, beat=self.beat, last=self._renewed_at, asked=frozenset(self._asked)
        )
        self._asked.clear()
        if not due:
            return
        self._renewed_at = now
        self._is_renewing = True
        leases = [{"item": lease.item, "token": lease.token} for lease in due]

        def hear(answer: Mapping[str, Any] | None, error: ShipwayError | None) -> None:
            self._is_renewing = False
            if error is None and answer is not None:
                for change in changes(answer, due, sent_at=now):
                    self._apply(change)

        body = {"agent": self._agent, "leases": leases}
        self._post("renew", body, REQUEST_LIMIT_S * 1000, hear)

    def _apply(self, change: Change) -> None:
        for handle, seat in self.seats.items():
            if seat.cell != change.cell:
                continue
            if change.is_lost:
                seat.verdict = Verdict.LOST
            seat.deadline = max(seat.deadline, change.deadline)
            if change.stop_by and not seat.stop_by:
                seat.stop_cause = STOP_CAUSES.index(Cause.STOP)
                seat.stop_by = change.stop_by
            self.look(handle)

    def _now(self) -> int:
        return self.node.machine.monotonic()


def due_of(seat: Seat) -> tuple[int, int, int]:
    """Return the moments by which a slot should have acted."""
    is_planned = seat.watch.stage is not Stage.RUNNING or seat.watch.run_deadline
    return (seat.deadline, kill_by(seat.watch) if is_planned else 0, seat.stop_by)


def _nothing() -> None:
    """Do nothing."""


def _no_seat(_: Seat) -> None:
    """Tell nobody: there is no agent."""
