"""The hands of a simulated agent: sources and environments take time, programs are simulated."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.agent.effects import Deadlines, Drain, Forget, Start, Stop
from shipway.agent.events import Built, Drained, Ended, Event, Fetched, Lost, Started
from shipway.agent.faults import fault
from shipway.agent.fetching import FRESH_MS
from shipway.agent.lease import Key, Lease
from shipway.agent.need import Stock
from shipway.agent.warm import Warm
from shipway.domain.attempt import LOG_CAP, Phase
from shipway.domain.errors import Code, LeaseLost, ShipwayError, WrongOffset
from shipway.domain.item import Stage
from shipway.plugins.errors import PluginError, TemporaryError
from shipway.plugins.runner import RunnerContext, RunRequest, RunStatus
from shipway.testing.simulate.courier import Drafts, Letter, Post
from shipway.testing.simulate.memory import LOCKS
from shipway.testing.simulate.node import Node
from shipway.testing.simulate.runner import SimulatedRunner

FETCH_MS = (5.0, 400.0)
BUILD_MS = (5.0, 600.0)
LOOK_MS = 250.0  # between two looks at the sizes of live logs
IDLE_MS = 1_000.0  # the same where there are none
AGAIN_MS = 1_000.0  # after a piece that did not get through
PIECE = 600  # bytes of one chunk at most
FOLDERS = 3  # that wait for a program
MADE = 0.8  # how often all else is there with a source that was offered
PINNED = 0.3  # how often a new environment has a lock to be pinned
FAULT = 0.02  # how often fetching or building fails for a while
_NOWHERE = Path("/nowhere")


@dataclass(slots=True, kw_only=True)
class _Cargo:
    """An attempt's log on its way to the server."""

    lease: Lease
    handle: str
    offset: int = 0
    final: Drain | None = None
    is_busy: bool = False
    is_gone: bool = False
    not_before: float = 0.0


class SimulatedWork:
    """Does for the loop what `shipway.agent.work.Work` does."""

    def __init__(
        self, node: Node, runner: SimulatedRunner, *, emit: Callable[[Event], None], post: Post,
        dooms: Callable[[Lease], bool],
    ) -> None:  # fmt: skip
        self._dooms = dooms  # tells whether making an environment ends the machine
        self._node = node
        self._runner = runner
        self._emit = emit
        self._post = post
        self._warm = Warm(folders=self._folders, boot_ms=node.machine.monotonic)
        self._sources: dict[str, int] = {}
        self._cargos: dict[Key, _Cargo] = {}

    def open(self, context: RunnerContext) -> list[tuple[str, RunStatus]]:
        """Find the programs that there are."""
        self._node.after(LOOK_MS, self._look)
        return [(self._runner.resource, status) for status in self._runner.open(context)]

    def notice(self, status: RunStatus) -> None:
        """Take what the runner says of a program."""
        if status.phase is Phase.ENDED and status.ending is not None:
            key = f"{status.item}.{status.attempt}"
            self._emit(Ended(at=self._now(), key=key, ending=status.ending))

    def adopt(self, lease: Lease, handle: str) -> None:
        """Follow a program that was started before this agent was."""
        self._cargos[lease.key] = _Cargo(lease=lease, handle=handle)

    def fetch(self, lease: Lease) -> Event | None:
        """Get the source; None when the answer comes later."""
        if self._is_known(lease):
            if lease.is_started and self._node.kernel.chance() < MADE:
                return Built(at=self._now(), key=lease.key)
            return Fetched(at=self._now(), key=lease.key)

        def come() -> None:
            if self._node.kernel.chance() < FAULT:
                error = TemporaryError("the source is away")
                self._emit(fault(error, Stage.SOURCE, lease.key, at=self._now()))
                return
            self._sources[json.dumps(lease.spec.get("source"))] = self._now()
            self._emit(Fetched(at=self._now(), key=lease.key))

        self._node.after(self._node.kernel.between(*FETCH_MS), come)
        return None

    def build(self, lease: Lease) -> Event | None:
        """Make it ready; None when the answer comes later."""
        kernel = self._node.kernel
        if self._dooms(lease):
            return None
        if kernel.chance() < (0.9 if lease.is_started else 0.5):
            return Built(at=self._now(), key=lease.key)

        def come() -> None:
            if kernel.chance() < FAULT:
                error = TemporaryError("the index is away")
                self._emit(fault(error, Stage.BUILD, lease.key, at=self._now()))
            elif kernel.chance() < PINNED:
                lock = kernel.random.choice(LOCKS)
                self._post(Drafts().pin(lease.item, token=lease.token, lock=lock), pinned)
            else:
                self._emit(Built(at=self._now(), key=lease.key))

        def pinned(_: Any, error: ShipwayError | None) -> None:
            if error is None:
                self._emit(Built(at=self._now(), key=lease.key))
            else:
                self._emit(fault(error, Stage.BUILD, lease.key, at=self._now()))

        self._node.after(kernel.between(*BUILD_MS), come)
        return None

    def stock(self) -> Stock:
        """Return what is at hand for programs that start the moment they are leased."""
        return self._warm.stock()

    def cool(self, lease: Lease) -> None:
        """Offer a lease's source no more for a while."""
        self._warm.cool(lease)

    def start(self, effect: Start) -> Event:
        """Start the program."""
        lease = effect.lease
        request = RunRequest(
            item=lease.item,
            attempt=lease.attempt,
            token=lease.token,
            argv=tuple(lease.spec["entry_point"]),
            env={},
            cwd=_NOWHERE,
            folder=_NOWHERE,
            deadline=effect.deadline,
            grace_s=lease.grace_s,
            run_limit_s=lease.run_limit_s,
            log_cap=LOG_CAP,
            args=lease.args,
        )
        try:
            handle = self._runner.start(request)
        except PluginError as error:
            return fault(error, Stage.AGENT, lease.key, at=self._now())
        self._cargos[lease.key] = _Cargo(lease=lease, handle=handle)
        self._warm.note(lease)
        return Started(at=self._now(), key=lease.key, handle=handle)

    def stop(self, effect: Stop) -> None:
        """End the program."""
        self._runner.stop(effect.handle, grace_s=effect.grace_s, cause=effect.cause)

    def extend(self, effect: Deadlines) -> None:
        """Let programs go on."""
        self._runner.renew(effect.by_handle)

    def drain(self, effect: Drain) -> Event | None:
        """Ship what is left of the log; None when the answer comes later."""
        key = effect.lease.key
        cargo = self._cargos.get(key)
        if cargo is None or not effect.program_size:
            self._drop(key)
            sizes = {} if effect.program_size is None else {"program": 0}
            return Drained(at=self._now(), key=key, log_sizes=sizes)
        cargo.final = effect
        cargo.not_before = 0.0
        self._ship(cargo)
        return None

    def forget(self, effects: Sequence[Forget]) -> None:
        """Let go of everything that attempts had."""
        for effect in effects:
            self._drop(effect.lease.key)
            if effect.handle is not None:
                self._runner.forget(effect.handle)

    def close(self) -> None:
        """Let go of everything; programs go on."""
        self._runner.close()

    def _is_known(self, lease: Lease) -> bool:
        known = self._sources.get(json.dumps(lease.spec.get("source")))
        return known is not None and self._now() - known < FRESH_MS

    def _folders(self, lease: Lease) -> int:
        return FOLDERS if self._is_known(lease) else 0

    def _look(self) -> None:
        now = self._node.kernel.now
        for cargo in list(self._cargos.values()):
            if not cargo.is_busy and now >= cargo.not_before:
                self._ship(cargo)
        is_idle = not self._cargos
        self._node.after(IDLE_MS if is_idle else LOOK_MS, self._look)

    def _ship(self, cargo: _Cargo) -> None:
        """Ship one piece, and the next one once it is there."""
        if cargo.is_busy or cargo.is_gone:
            return
        piece = self._runner.log(cargo.handle, cargo.offset, PIECE)
        if not piece:
            self._finish(cargo)
            return
        cargo.is_busy = True
        lease = cargo.lease
        body = {
            "item": lease.item,
            "name": "program",
            "packed": zlib.compress(piece, 1),
            "token": lease.token,
            "attempt": lease.attempt,
            "offset": cargo.offset,
        }

        def hear(answer: Mapping[str, Any] | None, error: ShipwayError | None) -> None:
            self._shipped(cargo, answer, error)

        self._post(Letter(route="append", body=body), hear)

    def _shipped(
        self, cargo: _Cargo, answer: Mapping[str, Any] | None, error: ShipwayError | None
    ) -> None:
        cargo.is_busy = False
        if cargo.is_gone:
            return
        if isinstance(error, LeaseLost):
            lease = cargo.lease
            self._drop(lease.key)
            self._emit(Lost(at=self._now(), item=lease.item, token=lease.token))
        elif isinstance(error, WrongOffset) and int(error.details["size"]) != cargo.offset:
            cargo.offset = int(error.details["size"])
            self._ship(cargo)
        elif error is not None or answer is None:
            assert error is None or error.code is not Code.INTERNAL, error
            cargo.not_before = self._node.kernel.now + AGAIN_MS
        else:
            cargo.offset = int(answer["size"])
            self._ship(cargo)

    def _finish(self, cargo: _Cargo) -> None:
        if cargo.final is None:
            return
        key = cargo.lease.key
        self._drop(key)
        size = cargo.final.program_size
        assert size is not None
        self._emit(Drained(at=self._now(), key=key, log_sizes={"program": size}))

    def _drop(self, key: Key) -> None:
        cargo = self._cargos.pop(key, None)
        if cargo is not None:
            cargo.is_gone = True

    def _now(self) -> int:
        return self._node.machine.monotonic()
