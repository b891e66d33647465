"""What a runner plugin does: start programs on its resource and see them to their end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from shipway.domain.attempt import Ending, Phase
from shipway.plugins.container_policy import ContainerPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A file or folder of this machine that a container sees."""

    source: Path
    target: str  # an absolute path inside
    is_writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What runs inside a container, where it is not a program of this machine."""

    image: str  # as the engine is told: by id or digest where it is known
    entry_point: tuple[str, ...] = ()  # empty: the image's own
    args: tuple[str, ...] = ()  # empty, and no entry point: the image's own command
    workdir: str | None = None  # None: the image's own
    binds: tuple[Bind, ...] = ()  # of shipway's own: records, files, config, code


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A program, ready to be started: everything is decided."""

    item: str
    attempt: int
    token: str  # the lease's, so that a supervisor can renew it
    argv: tuple[str, ...]  # argv[0] is an absolute path; empty for a container
    env: Mapping[str, str]  # the whole environment
    cwd: Path
    folder: Path  # the attempt's own folder: spool, tmp, records
    deadline: int  # ms on the boot clock: when the lease is no longer to be trusted
    grace_s: float
    run_limit_s: float | None
    log_cap: int
    args: Mapping[str, Any]  # resource_args of this resource
    container: Container | None = None  # for a runner that `runs_images`


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """How one started program stands."""

    item: str
    attempt: int
    token: str
    handle: str
    phase: Phase
    ending: Ending | None = None  # set when ended
    log_size: int = 0  # bytes of framed program log so far


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerContext:
    """What the agent gives a runner when it opens it."""

    home: Path  # the runner's own folder, kept across restarts
    attempts: Path  # the folder of all attempts' folders
    agent: str
    slots: int  # programs at once
    base_url: str  # for those that renew leases while the agent is away
    key_file: Path
    notify: Callable[[RunStatus], None]  # called from any thread when a program's phase changes
    given: frozenset[str] = frozenset()  # handles that it gave to the agent before this one
    env: Mapping[str, str] = field(default_factory=dict)  # the agent's variables
    policy: ContainerPolicy = field(default_factory=ContainerPolicy)


class Runner(Protocol):
    """Starts programs on one resource."""

    resource: ClassVar[str]
    outlives_agent: ClassVar[bool]  # its work goes on by itself and is found again by handle
    runs_images: ClassVar[bool]  # it is given a `Container`, and its builders make images

    @classmethod
    def lacks(cls, policy: ContainerPolicy, env: Mapping[str, str], /) -> str:
        """Say why it cannot run anything on this machine, or nothing."""

    def open(self, context: RunnerContext) -> list[RunStatus]:
        """Begin, or find again what ran before; return all attempts known. Once per runner.

        One that was given and of which nothing began may be withdrawn: it ended then, and nothing
        of it will ever begin. The agent takes one that is not returned for lost.
        """

    def start(self, request: RunRequest) -> str:
        """Start the program and return its handle; a second call for an attempt starts nothing."""

    def renew(self, deadlines: Mapping[str, int]) -> None:
        """Move deadlines (handle to ms on the boot clock); unknown handles are ignored."""

    def stop(self, handle: str, *, grace_s: float, cause: str) -> None:
        """End the whole tree: SIGTERM, grace, SIGKILL; a second call may shorten the grace."""

    def status(self, handle: str) -> RunStatus | None:
        """Return how it stands now, or None for one that was never started or was forgotten."""

    def log(self, handle: str, offset: int, limit: int) -> bytes:
        """Return framed program log from a byte offset; the same bytes each time."""

    def forget(self, handle: str) -> None:
        """Drop what is kept of an ended program; unknown handles are ignored."""

    def close(self) -> None:
        """Let go of it; started programs go on."""
