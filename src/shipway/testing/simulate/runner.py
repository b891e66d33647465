"""The agent's side of a supervisor: what `local-process` does, without files and sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from shipway.domain.attempt import Cause, Phase
from shipway.domain.spool import STOP_CAUSES
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.errors import TemporaryError
from shipway.plugins.runner import RunnerContext, RunRequest, RunStatus
from shipway.runners.local_watchdog import suspect
from shipway.testing.simulate.node import Node
from shipway.testing.simulate.supervisor import Seat, Supervisor, due_of

TICK_MS = 1_000.0
PATIENCE_MS = 5_000  # an order that no slot took is sent again


class SimulatedRunner:
    """Implements `plugins.runner.Runner` for one life of an agent."""

    resource: ClassVar[str] = "local-process"
    outlives_agent: ClassVar[bool] = False
    runs_images: ClassVar[bool] = False

    def __init__(self, node: Node, supervisor: Supervisor) -> None:
        self._node = node
        self._supervisor = supervisor
        self._notify: Callable[[RunStatus], None] = lambda _: None

    @classmethod
    def lacks(cls, _policy: ContainerPolicy, _env: Mapping[str, str], /) -> str:
        """Say why it cannot run anything on this machine: never."""
        return ""

    def open(self, context: RunnerContext) -> list[RunStatus]:
        """End what has no supervisor any more, see to it that there is one, return all."""
        self._notify = context.notify
        supervisor = self._supervisor
        supervisor.beat = self._node.machine.monotonic()
        if not supervisor.node.is_up:
            self._end_orphans()
            supervisor.start()
        life = self._node.life
        supervisor.tell = lambda seat: self._node.after(
            0, lambda: self._tell(seat) if self._node.life == life else None
        )
        for seat in supervisor.seats.values():
            seat.is_told = seat.ending is not None
        self._node.after(TICK_MS, self._tick)
        return [_status(seat) for seat in supervisor.seats.values() if seat.program is not None]

    def start(self, request: RunRequest) -> str:
        """Send the order; a second call for an attempt starts nothing."""
        handle = f"{request.item}.{request.attempt}"
        supervisor = self._supervisor
        if handle in supervisor.seats:
            return handle
        if not supervisor.node.is_up:
            raise TemporaryError(f"no slot took the order of {handle}; try again")
        now = self._node.machine.monotonic()
        cell = 1 + max((seat.cell for seat in supervisor.seats.values()), default=0)
        seat = Seat(request=request, cell=cell, deadline=request.deadline, sent_at=now)
        supervisor.seats[handle] = seat
        supervisor.order(seat)
        return handle

    def renew(self, deadlines: Mapping[str, int]) -> None:
        """Write deadlines on the board."""
        for handle, deadline in deadlines.items():
            seat = self._supervisor.seats.get(handle)
            if seat is not None:
                seat.deadline = deadline
                self._supervisor.look(handle)

    def stop(self, handle: str, *, grace_s: float, cause: str) -> None:
        """Write a stop on the board; a second call may shorten the grace."""
        seat = self._supervisor.seats.get(handle)
        if seat is None or seat.ending is not None:
            return
        until = self._node.machine.monotonic() + int(grace_s * 1000)
        if not seat.stop_by:
            seat.stop_cause = STOP_CAUSES.index(Cause(cause))
        seat.stop_by = min(seat.stop_by or until, until)
        self._supervisor.look(handle)

    def status(self, handle: str) -> RunStatus | None:
        """Return how it stands."""
        seat = self._supervisor.seats.get(handle)
        return None if seat is None else _status(seat)

    def log(self, handle: str, offset: int, limit: int) -> bytes:
        """Return framed log from an offset."""
        seat = self._supervisor.seats.get(handle)
        if seat is None or seat.program is None:
            return b""
        return seat.program.printed()[offset : offset + limit]

    def forget(self, handle: str) -> None:
        """Drop what is kept of an ended program."""
        seat = self._supervisor.seats.get(handle)
        if seat is not None and seat.ending is not None:
            del self._supervisor.seats[handle]

    def close(self) -> None:
        """Let go; programs go on."""
        self._notify = lambda _: None

    def _tick(self) -> None:
        self._node.after(TICK_MS, self._tick)
        supervisor = self._supervisor
        now = supervisor.beat = self._node.machine.monotonic()
        if not supervisor.node.is_up:
            self._end_orphans()
            supervisor.start()
        for seat in list(supervisor.seats.values()):
            if seat.ending is not None:
                self._tell(seat)
            elif seat.program is None and now - seat.sent_at > PATIENCE_MS:
                supervisor.order(seat)
            elif seat.program is not None:
                seat.suspicion = suspect(
                    seat.suspicion, now=now, heartbeat=seat.heartbeat, due=due_of(seat)
                )
                if seat.suspicion.is_proven:
                    supervisor.kill()

    def _end_orphans(self) -> None:
        for seat in self._supervisor.seats.values():
            self._supervisor.bury(seat)

    def _tell(self, seat: Seat) -> None:
        if not seat.is_told and seat.ending is not None:
            seat.is_told = True
            self._notify(_status(seat))


def _status(seat: Seat) -> RunStatus:
    request = seat.request
    ending = seat.ending
    phase = Phase.RUNNING if seat.program is not None else Phase.STARTING
    return RunStatus(
        item=request.item,
        attempt=request.attempt,
        token=request.token,
        handle=f"{request.item}.{request.attempt}",
        phase=Phase.ENDED if ending is not None else phase,
        ending=ending,
        log_size=0 if seat.program is None else len(seat.program.printed()),
    )
