"""The sweep: many runs of one program whose parameters a search chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

from shipway.domain.hyperband import Hyperband, Progress
from shipway.domain.ids import ItemId, UserName
from shipway.domain.item import TERMINAL, State
from shipway.domain.run import Run, RunState
from shipway.domain.sweep_space import Space, Values, is_number, values_in

SweepId = NewType("SweepId", str)  # 8 characters, one of a kind in its project

CUSTOM = "custom"  # the method of sweeps whose runs somebody else makes


class SweepState(StrEnum):
    """How a sweep stands."""

    PENDING = "pending"  # no worker came yet
    RUNNING = "running"  # workers get runs
    PAUSED = "paused"  # what runs goes on, nothing new begins
    FINISHED = "finished"  # what runs goes on, nothing new begins, workers end
    CANCELED = "canceled"  # what runs is stopped, workers end


OVER = frozenset({SweepState.FINISHED, SweepState.CANCELED})


class Goal(StrEnum):
    """Which values of the metric are better."""

    MINIMIZE = "minimize"  # smaller ones
    MAXIMIZE = "maximize"  # larger ones


class Impute(StrEnum):
    """Which value of the metric a run counts with that ended without success."""

    WORST = "worst"  # the worst of all runs
    BEST = "best"  # the best of all runs
    LATEST = "latest"  # its own last one


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a sweep makes better."""

    name: str  # a key of the history and the summary
    goal: Goal = Goal.MINIMIZE
    target: float | None = None  # reached by one run, the sweep is finished
    impute: Impute = Impute.WORST

    def cost(self, value: float) -> float:
        """Return the value so that smaller ones are better."""
        return -value if self.goal is Goal.MAXIMIZE else value


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepConfig:
    """What a sweep's file says, checked."""

    method: str
    space: Space
    metric: Metric | None = None
    early: Hyperband | None = None
    run_cap: int | None = None  # runs in all
    name: str | None = None
    description: str | None = None
    program: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A row of `sweeps`."""

    seq: int  # 0 until stored
    id: SweepId
    entity: str
    project: str
    name: str | None  # for people; else that of the config
    description: str | None
    state: SweepState
    config: Mapping[str, Any]  # as it was said, every key of it
    source: str  # the config's text
    seed: int
    cursor: int = 0  # suggestions made; of a grid the combinations that are done with
    controller: str | None = None  # what a client keeps here, as JSON
    scheduler: str | None = None  # the launch of its scheduler, as JSON
    scheduler_item: ItemId | None = None  # the last one that was queued
    scheduler_count: int = 0  # how many were
    created_by: UserName
    created_at: int
    updated_at: int
    heard_at: int | None = None  # when a worker was last heard of


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepAgent:
    """A worker: it asks for runs and says which of them it runs."""

    seq: int  # 0 until stored
    id: str
    sweep_seq: int
    host: str
    created_by: UserName
    created_at: int
    heard_at: int
    deadline: int | None  # in lease time; None once it was given up


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRun:
    """A run's place in its sweep, with as much of the run as decides what is next."""

    run_seq: int
    run_id: str
    sweep_seq: int
    number: int  # from 1
    agent_seq: int | None  # the worker that it was given to last
    is_given: bool = True  # the sweep chose its parameters; else it was there before, or made so
    gives: int = 0  # how often it was given to a worker
    is_heard: bool = False  # a worker said that it runs it
    is_item: bool = False  # it waits in a queue, or was taken from it
    item_state: State | None = None
    run_state: RunState | None = None
    is_stop_asked: bool = False
    is_deleted: bool = False
    progress: Progress = field(default_factory=Progress)

    @property
    def is_open(self) -> bool:
        """Whether it may still go on."""
        if self.is_deleted:
            return False
        if self.is_item:
            return self.item_state not in TERMINAL
        return self.run_state in {RunState.PENDING, RunState.RUNNING}

    @property
    def is_unbegun(self) -> bool:
        """Whether nobody heard of its program, nor does it wait in a queue."""
        is_pending = not self.is_item and self.run_state is RunState.PENDING
        return is_pending and not self.is_deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCounts:
    """How many runs a sweep has."""

    total: int
    given: int  # whose parameters the sweep chose
    open: int  # that may still go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A run as a search sees it."""

    values: Values
    cost: float | None  # smaller is better; None: it has none
    is_open: bool


def metric_in(values: Mapping[str, Any], name: str) -> float | None:
    """Return what a row or a summary says of a metric; None where it is no finite number."""
    if name not in values:
        head, _, rest = name.partition(".")
        group = values.get(head)
        return metric_in(group, rest) if rest and isinstance(group, Mapping) else None
    inner = values[name]
    return float(inner) if is_number(inner) else None


def trials_of(config: SweepConfig, runs: Sequence[tuple[Run, RunState]]) -> list[Trial]:
    """Return runs as a search sees them; those that failed count as the config says."""
    metric = config.metric
    found: list[tuple[Run, RunState, float | None]] = []
    for run, state in runs:
        value = None if metric is None else metric_in(run.summary, metric.name)
        cost = None if metric is None or value is None else metric.cost(value)
        found.append((run, state, cost))
    known = [cost for _, state, cost in found if state is RunState.FINISHED and cost is not None]
    trials = []
    for run, state, cost in found:
        counted = cost
        if state in {RunState.PENDING, RunState.RUNNING}:
            counted = None
        elif state is not RunState.FINISHED:
            counted = _imputed(metric, cost, known)
        trials.append(
            Trial(
                values=values_in(config.space, run.config),
                cost=counted,
                is_open=state in {RunState.PENDING, RunState.RUNNING},
            )
        )
    return trials


def best_of(metric: Metric, runs: Sequence[Run]) -> float | None:
    """Return the best value of the metric that a run's summary has."""
    found = [value for run in runs if (value := metric_in(run.summary, metric.name)) is not None]
    return min(found, key=metric.cost, default=None)


def _imputed(metric: Metric | None, own: float | None, known: Sequence[float]) -> float | None:
    if metric is None or not known:
        return own
    if metric.impute is Impute.LATEST and own is not None:
        return own
    return min(known) if metric.impute is Impute.BEST else max(known)
