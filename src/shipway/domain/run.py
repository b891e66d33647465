"""The run: one execution with its config, summary, history and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shipway.domain.ids import Digest, ItemId, RunId
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A row of `runs`; its state comes from its item."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A file that a run saved."""

    path: str  # relative, with '/', no '..'
    digest: Digest
    size: int
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


def state_of(item: Item) -> RunState | None:
    """Return how an item's run stands; None while no agent ever leased the item."""
    if item.attempt == 0 and item.state is not State.STOPPED:
        return None
    if item.failure is not None and item.failure.failure_class is FailureClass.LOST:
        return RunState.CRASHED
    return _BY_STATE[item.state]
