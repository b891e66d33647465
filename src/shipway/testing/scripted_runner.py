"""A runner whose programs do what a test says: nothing is started."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from shipway.domain.attempt import Cause, Ending, LogStream, Phase, encode_frame
from shipway.plugins.container_policy import ContainerPolicy
from shipway.plugins.runner import RunnerContext, RunRequest, RunStatus

Script = Callable[["ScriptedRunner", str], None]


@dataclass(slots=True, kw_only=True)
class _Program:
    """A program that was told to start."""

    request: RunRequest
    status: RunStatus
    log: bytes = b""


@dataclass(slots=True, kw_only=True)
class Machine:
    """What outlives a runner object: its programs."""

    programs: dict[str, _Program] = field(default_factory=dict)
    starts: list[str] = field(default_factory=list)  # handles, each once for each real start
    stops: list[tuple[str, float, str]] = field(default_factory=list)  # handle, grace, cause
    deadlines: dict[str, int] = field(default_factory=dict)


class ScriptedRunner:
    """Implements `plugins.runner.Runner` in memory; two objects may share one machine.

    `script` is called with each program that starts, in the thread that starts it. A stop ends a
    program at once, unless `obeys_stops` is False.
    """

    resource: ClassVar[str] = "local-process"
    outlives_agent: ClassVar[bool] = False
    runs_images: ClassVar[bool] = False

    def __init__(
        self,
        machine: Machine | None = None,
        *,
        script: Script | None = None,
        obeys_stops: bool = True,
        refusals: list[Exception] | None = None,
    ) -> None:
        self.machine = machine or Machine()
        self._script = script
        self._obeys_stops = obeys_stops
        self._refusals = refusals if refusals is not None else []
        self._notify: Callable[[RunStatus], None] = lambda _: None
        self._lock = threading.RLock()

    @classmethod
    def lacks(cls, _policy: ContainerPolicy, _env: Mapping[str, str], /) -> str:
        """Say why it cannot run anything on this machine: never."""
        return ""

    def open(self, context: RunnerContext) -> list[RunStatus]:
        """Return all programs that are known."""
        self._notify = context.notify
        with self._lock:
            return [program.status for program in self.machine.programs.values()]

    def start(self, request: RunRequest) -> str:
        """Start a program; a second call for an attempt starts nothing."""
        handle = f"{request.item}.{request.attempt}"
        with self._lock:
            if self._refusals:
                raise self._refusals.pop(0)
            if handle in self.machine.programs:
                return handle
            status = RunStatus(
                item=request.item,
                attempt=request.attempt,
                token=request.token,
                handle=handle,
                phase=Phase.RUNNING,
            )
            self.machine.programs[handle] = _Program(request=request, status=status)
            self.machine.starts.append(handle)
            self.machine.deadlines[handle] = request.deadline
        if self._script is not None:
            self._script(self, handle)
        return handle

    def renew(self, deadlines: Mapping[str, int]) -> None:
        """Move deadlines."""
        with self._lock:
            for handle, deadline in deadlines.items():
                if handle in self.machine.programs:
                    self.machine.deadlines[handle] = deadline

    def stop(self, handle: str, *, grace_s: float, cause: str) -> None:
        """End a program."""
        self.machine.stops.append((handle, grace_s, cause))
        if self._obeys_stops:
            self.end(handle, Ending(cause=Cause(cause), signal=15))

    def status(self, handle: str) -> RunStatus | None:
        """Return how a program stands."""
        with self._lock:
            program = self.machine.programs.get(handle)
            return None if program is None else program.status

    def log(self, handle: str, offset: int, limit: int) -> bytes:
        """Return framed log."""
        with self._lock:
            program = self.machine.programs.get(handle)
            return b"" if program is None else program.log[offset : offset + limit]

    def forget(self, handle: str) -> None:
        """Drop an ended program."""
        with self._lock:
            self.machine.programs.pop(handle, None)

    def close(self) -> None:
        """Let go; programs go on, and nobody is told of them."""
        self._notify = lambda _: None

    def print(self, handle: str, text: str, *, at: int = 1) -> None:
        """Let a program print."""
        with self._lock:
            program = self.machine.programs[handle]
            program.log += encode_frame(LogStream.STDOUT, at, text.encode())
            program.status = replace(program.status, log_size=len(program.log))

    def end(self, handle: str, ending: Ending | None = None) -> None:
        """Let a program end: with exit code 0, or as told; a second call does nothing."""
        ending = ending or Ending(cause=Cause.EXIT, exit_code=0)
        with self._lock:
            program = self.machine.programs.get(handle)
            if program is None or program.status.phase is Phase.ENDED:
                return
            program.status = replace(
                program.status,
                phase=Phase.ENDED,
                ending=replace(ending, log_size=len(program.log)),
            )
            status = program.status
        self._notify(status)
