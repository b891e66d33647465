"""What the service needs of a store for sweeps, their workers and their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shipway.domain.hyperband import Progress
from shipway.domain.ids import ItemId
from shipway.domain.run import Run
from shipway.domain.sweep import Sweep, SweepAgent, SweepCounts, SweepRun


class SweepRows(Protocol):
    """Sweeps."""

    def insert(self, sweep: Sweep) -> Sweep:
        """Store a new sweep; `Exists` for an id that its project knows."""

    def get(self, entity: str, project: str, sweep_id: str) -> Sweep | None:
        """Return a sweep; entity and project are matched without case."""

    def by_seq(self, seq: int) -> Sweep | None:
        """Return a sweep."""

    def by_scheduler(self, item_id: ItemId) -> Sweep | None:
        """Return the sweep whose scheduler was queued last as this item."""

    def hold(self, seq: int, *, heard_at: int | None = None) -> Sweep | None:
        """Return a sweep as it stands, for this transaction alone until it is committed."""

    def of_project(
        self, entity: str, project: str, *, before_seq: int | None = None, limit: int
    ) -> Sequence[Sweep]:
        """Return the sweeps of a project, newest first."""

    def count(self, entity: str, project: str) -> int:
        """Count the sweeps of a project."""

    def amend(self, sweep: Sweep) -> None:
        """Store everything that may change of a sweep but when it was heard of."""


class SweepAgentRows(Protocol):
    """Workers."""

    def insert(self, agent: SweepAgent) -> SweepAgent:
        """Store a new worker."""

    def get(self, agent_id: str) -> SweepAgent | None:
        """Return a worker."""

    def of_sweep(self, sweep_seq: int, *, limit: int) -> Sequence[SweepAgent]:
        """Return the workers of a sweep in the order in which they came."""

    def heard(self, seq: int, *, now: int, deadline: int) -> None:
        """Note that a worker was heard of, and until when it has to be again."""

    def silent(self, *, before: int, limit: int) -> Sequence[SweepAgent]:
        """Return workers that were not heard of until their deadline in lease time."""

    def give_up(self, seq: int, *, before: int) -> bool:
        """Expect a worker no more; False for one that was heard of meanwhile, or given up."""

    def extend(self, *, deadline: int) -> None:
        """Give every worker that has a deadline at least this one."""


class SweepRunRows(Protocol):
    """The places of runs in their sweeps."""

    def add(self, sweep_seq: int, run_seq: int, *, agent_seq: int | None, is_given: bool) -> int:
        """Put a run into a sweep that this transaction holds; return its number."""

    def get(self, run_seq: int) -> SweepRun | None:
        """Return the place of a run; None for one of no sweep."""

    def of_sweep(self, sweep_seq: int, *, after: int = 0, limit: int) -> Sequence[SweepRun]:
        """Return the places of a sweep in order, after a number."""

    def of_agent(self, agent_seq: int, *, limit: int) -> Sequence[SweepRun]:
        """Return the last places that a worker was given, in order."""

    def free(self, sweep_seq: int) -> SweepRun | None:
        """Return the first place whose worker is gone, and of whose program nobody heard."""

    def amend(self, place: SweepRun) -> None:
        """Store what may change of a place but how the run's metric goes."""

    def counts(self, sweep_seq: int) -> SweepCounts:
        """Count the runs of a sweep."""


class SweepMemberRows(Protocol):
    """The runs of sweeps themselves, and how they go."""

    def of_sweep(self, sweep_seq: int, *, after: int = 0, limit: int) -> Sequence[Run]:
        """Return the runs of so many places after a number, in order; deleted ones left out."""

    def from_before(self, sweep_seq: int, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return the configs of the first runs whose parameters the sweep did not choose."""

    def adopt(self, run: Run) -> bool:
        """Make a pending run that of its item; False where another launch took it."""

    def measure(self, run_seq: int, progress: Progress) -> None:
        """Store how the metric of a run goes."""

    def measured(self, sweep_seq: int, *, limit: int) -> Sequence[Progress]:
        """Return how the metrics of a sweep's runs go."""
