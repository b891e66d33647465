"""The run: one execution with its config, summary, history and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shipway.domain.ids import Digest, ItemId, RunId, UserName
from shipway.domain.item import FailureClass, Item, State

PATH_LIMIT = 1_024  # characters of a file's path


class RunState(StrEnum):
    """How a run stands; `wandb` clients read `stopped` as failed with exit code 143."""

    PENDING = "pending"  # an agent prepares it
    RUNNING = "running"  # its program runs
    FINISHED = "finished"  # exit code 0
    FAILED = "failed"  # another exit code, a failure before the start, or a time limit
    CRASHED = "crashed"  # its agent was lost
    STOPPED = "stopped"  # somebody asked for its end


ENDED = frozenset({RunState.FINISHED, RunState.FAILED, RunState.CRASHED, RunState.STOPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What people and clients say of a run, beside its values."""

    description: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    job_type: str | None = None
    host: str | None = None
    program: str | None = None
    repo: str | None = None
    commit: str | None = None
    sweep: str | None = None  # the id of the sweep that it belongs to
    client: Mapping[str, Any] = field(default_factory=dict)  # what a client keeps for itself
    alerts: tuple[Mapping[str, Any], ...] = ()  # title, text, level, at: the newest

    def to_json(self) -> dict[str, Any]:
        """Return what is said, and nothing else."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name))}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunFacts:
        """Build facts from what `to_json` returned; keys of a later version are left out."""
        known = {name: value[name] for name in cls.__slots__ if name in value}
        for name in ("tags", "alerts"):
            if name in known:
                known[name] = tuple(known[name])
        return cls(**known)


NO_FACTS = RunFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A row of `runs`; its state comes from its item, if it has one."""

    seq: int  # 0 until stored
    id: RunId
    entity: str
    project: str
    name: str | None
    item_id: ItemId | None
    created_at: int
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    history_size: int = 0  # rows
    state: RunState | None = None  # of a run that its own client tracks; else its item says it
    facts: RunFacts = NO_FACTS
    created_by: UserName | None = None
    exit_code: int | None = None
    heard_at: int | None = None  # when its client was last heard of
    deadline: int | None = None  # in lease time: not heard of until then, it has crashed
    stop_requested_at: int | None = None
    deleted_at: int | None = None
    is_hidden: bool = False  # a client's own, made for its work: in no list


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A file that a run saved."""

    path: str  # relative, with '/', no '..'
    digest: Digest
    size: int
    at: int
    md5: str | None = None  # in base64; of those that came through a signed address


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLine:
    """A line that a client numbered: a row of the history, or of the machine's own metrics."""

    number: int
    step: int
    text: str  # JSON of ASCII alone


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleChunk:
    """Lines of a client's terminal that lie in one blob; a later chunk overwrites them."""

    number: int  # in the order in which they came
    first_line: int
    line_count: int
    digest: Digest
    at: int


def is_clean_path(path: object) -> bool:
    """Tell whether a saved file may have this path: relative, printable, without `..`."""
    return (
        isinstance(path, str)
        and 0 < len(path) <= PATH_LIMIT
        and not path.startswith("/")
        and path.isprintable()
        and all(part not in {"", ".", ".."} for part in path.split("/"))
    )


_BY_STATE = {
    State.PENDING: RunState.PENDING,
    State.LEASED: RunState.PENDING,
    State.RUNNING: RunState.RUNNING,
    State.FINISHED: RunState.FINISHED,
    State.FAILED: RunState.FAILED,
    State.STOPPED: RunState.STOPPED,
}


def state_of(item: Item, run: Run | None = None) -> RunState | None:
    """Return how an item's run stands; None while no agent ever leased the item.

    Of what a client's agent started nobody knows that it runs until its program speaks.
    """
    if item.attempt == 0 and item.state is not State.STOPPED:
        return None
    if item.failure is not None and item.failure.failure_class is FailureClass.LOST:
        return RunState.CRASHED
    is_unheard = run is not None and run.heard_at is None
    if item.state is State.RUNNING and item.is_clients and is_unheard:
        return RunState.PENDING
    return _BY_STATE[item.state]
