"""The queue item: its states, its moves, and what is known of it.

Items and events are named tuples: rows become them by the thousand, and a frozen dataclass of so
many fields takes ten times as long to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from shipway.domain.ids import AgentId, Digest, ItemId, QueueId, RunId, Token, UserName


class State(StrEnum):
    """Where an item is in its life."""

    PENDING = "pending"  # waits in its queue
    LEASED = "leased"  # an agent prepares it: source, environment
    RUNNING = "running"  # past the start gate: its program runs
    FINISHED = "finished"  # the program exited 0
    FAILED = "failed"  # it exited otherwise, was lost, or never came to be
    STOPPED = "stopped"  # somebody asked for its end


class Event(StrEnum):
    """What moves an item from one state to another."""

    LEASE = "lease"  # an agent takes it
    START = "start"  # it passes the start gate
    FINISH = "finish"  # its program exited 0
    FAIL = "fail"  # it failed, before or after the start gate
    REQUEUE = "requeue"  # its lease was lost or given back: it waits again
    GIVE_UP = "give_up"  # lost once too often, or lost while running
    STOP = "stop"  # a stop request took effect


class Note(StrEnum):
    """What happens to an item without moving it."""

    ENQUEUE = "enqueue"  # it was added
    STOP_REQUEST = "stop_request"  # somebody asked for its end; the agent acts on it
    DELETE = "delete"  # it became a tombstone
    PRIORITY = "priority"  # its priority was changed
    PIN = "pin"  # the agent resolved its lock and pinned it
    RESUME = "resume"  # an agent took a live attempt over again
    WARNING = "warning"  # its agent saw something that people should know


CLIENT_HANDLE = "client"  # of what a client's agent started: its run says how it goes on

TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (State.PENDING, Event.LEASE): State.LEASED,
    (State.PENDING, Event.STOP): State.STOPPED,
    (State.LEASED, Event.START): State.RUNNING,
    (State.LEASED, Event.FAIL): State.FAILED,
    (State.LEASED, Event.REQUEUE): State.PENDING,
    (State.LEASED, Event.GIVE_UP): State.FAILED,
    (State.LEASED, Event.STOP): State.STOPPED,
    (State.RUNNING, Event.FINISH): State.FINISHED,
    (State.RUNNING, Event.FAIL): State.FAILED,
    (State.RUNNING, Event.REQUEUE): State.PENDING,
    (State.RUNNING, Event.GIVE_UP): State.FAILED,
    (State.RUNNING, Event.STOP): State.STOPPED,
}

HELD = frozenset(before for (before, event) in TRANSITIONS if event is Event.REQUEUE)
TERMINAL = frozenset(State) - {before for (before, _) in TRANSITIONS}
LIVE = frozenset(State) - TERMINAL


class Stage(StrEnum):
    """How far an item had come when it failed."""

    AGENT = "agent"  # the agent itself, or its lease
    SOURCE = "source"  # fetching and checking the code
    BUILD = "build"  # making the environment
    RUN = "run"  # the program


BEFORE_START = frozenset({Stage.SOURCE, Stage.BUILD})  # no program began, also past the gate


class FailureClass(StrEnum):
    """What kind of failure ended an item."""

    EXIT = "exit"  # the program exited with another code than 0
    SIGNAL = "signal"  # a signal that was not ours ended it
    OOM = "oom"  # the kernel killed it for memory, by the cgroup's counter
    OOM_PROBABLE = "oom (probable)"  # SIGKILL, not ours, while the machine ran out of memory
    TIME_LIMIT = "time_limit"  # it ran longer than its run limit
    START_LIMIT = "start_limit"  # it took longer to start than its start limit
    LOST = "lost"  # its agent was lost while it ran
    SOURCE = "source"  # its code could not be fetched or is not what was submitted
    BUILD = "build"  # its environment could not be made
    AGENT = "agent"  # the agent could not see it through
    POISON = "poison"  # given up after too many attempts


REMEDIES: Mapping[FailureClass, str] = {
    FailureClass.EXIT: "read the log's last lines",
    FailureClass.SIGNAL: "read the log's last lines; a native library may have crashed",
    FailureClass.OOM: "ask for more memory, or make batches smaller",
    FailureClass.OOM_PROBABLE: "make batches smaller, or run fewer programs on this machine",
    FailureClass.TIME_LIMIT: "raise run_limit_s in resource_args",
    FailureClass.START_LIMIT: "raise start_limit_s in resource_args",
    FailureClass.LOST: "run it again: shipway item retry ID",
    FailureClass.SOURCE: "check what the reason names, and the agent's access to it",
    FailureClass.BUILD: "read the build log: shipway item logs ID --stream build",
    FailureClass.AGENT: "mend what the reason names, then: shipway item retry ID",
    FailureClass.POISON: "find out why agents die of it before trying again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an item failed, for people and for programs."""

    stage: Stage
    failure_class: FailureClass
    reason: str  # one sentence
    exit_code: int | None = None
    signal: int | None = None
    log_tail: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the failure as JSON values, with its remedy."""
        return {
            "stage": self.stage.value,
            "failure_class": self.failure_class.value,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "log_tail": list(self.log_tail),
            "remedy": REMEDIES[self.failure_class],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Failure:
        """Read what `to_json` wrote; a bad value raises `ValueError` or `KeyError`."""
        return cls(
            stage=Stage(value["stage"]),
            failure_class=FailureClass(value["failure_class"]),
            reason=str(value["reason"]),
            exit_code=value.get("exit_code"),
            signal=value.get("signal"),
            log_tail=tuple(str(line) for line in value.get("log_tail") or ()),
        )


class Item(NamedTuple):
    """One launch waiting in, or taken from, a queue: a row of `items`, in its columns' order."""

    seq: int  # order of arrival; 0 until stored
    id: ItemId
    queue_id: QueueId
    queue: str  # the queue's name, for people
    project_queue: str
    entity: str
    project: str
    run_id: RunId
    name: str | None
    author: str
    submitted_by: UserName
    sweep_id: str | None
    priority: int  # as given: 0 critical .. 3 low
    rank: int  # the class it is ordered by: the priority, or 2 on a queue without priorities
    resource: str
    spec: str  # the launch spec as canonical JSON, immutable
    state: State
    created_at: int
    attempt: int = 0  # how many times it was leased
    lost_count: int = 0  # leases lost before the start gate
    retry_count: int = 0  # requeues after the start gate
    lease_token: Token | None = None
    lease_agent: AgentId | None = None
    lease_deadline: int | None = None  # ms of lease time
    lease_term: int = 0  # ms
    lock_digest: Digest | None = None  # the resolved lock, pinned by the first agent
    handle: str | None = None  # the runner's own word for the started run
    stop_requested_at: int | None = None
    stop_requested_by: str | None = None
    stop_grace_s: float | None = None
    deleted_at: int | None = None
    leased_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    exit_code: int | None = None
    failure: Failure | None = None
    retry_of: ItemId | None = None
    idempotency_key: str | None = None
    body_hash: str | None = None
    suits_clients: bool = False  # the agents of clients can run it, too

    @property
    def is_clients(self) -> bool:
        """Whether a client's agent started its program: its run tells of it, and has its log."""
        return self.handle == CLIENT_HANDLE


class ItemEvent(NamedTuple):
    """One thing that happened to an item: history, audit, timeline and wake-up in one row."""

    seq: int  # order over all items; 0 until stored
    item_id: ItemId
    queue_id: QueueId
    event: str  # a member of `Event` or `Note`
    state: State  # the item's state after it
    attempt: int
    actor: str  # who did it: a user, an agent, `upkeep`
    at: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFilter:
    """Which items a list shows, newest first; None means any."""

    entity: str | None = None
    queue_id: QueueId | None = None
    project: str | None = None
    state: State | None = None
    submitted_by: UserName | None = None
    before_seq: int | None = None  # the cursor
    limit: int = 100


def after(state: State, event: Event) -> State | None:
    """Return the state that an event leads to, or None where it is not allowed."""
    return TRANSITIONS.get((state, event))
