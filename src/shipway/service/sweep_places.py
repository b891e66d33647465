"""Puts runs into sweeps, and looks at their metric as they report it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shipway.domain.actor import Actor, Role
from shipway.domain.hyperband import Hyperband, advance, is_hopeless
from shipway.domain.ids import KeyId
from shipway.domain.item import TERMINAL
from shipway.domain.run import ENDED, Run
from shipway.domain.sweep import (
    OVER,
    Metric,
    Sweep,
    SweepRun,
    SweepState,
    metric_in,
)
from shipway.domain.sweep_config import parse_sweep
from shipway.service.ports import Clock, Tx

COMPARED_LIMIT = 10_000  # runs that one is compared with


class SweepPlaces:
    """Use cases of runs that belong to sweeps; their callers have checked what the actor may."""

    def __init__(self, *, clock: Clock, stop_item: Callable[[Tx, Actor, str], object]) -> None:
        self._clock = clock
        self._stop_item = stop_item

    def join(self, tx: Tx, run: Run, sweep_id: str) -> Run:
        """Let a run belong to a sweep of its project; one that is not there is forgotten."""
        if run.facts.sweep is not None or tx.sweep_runs.get(run.seq) is not None:
            return run
        sweep = tx.sweeps.get(run.entity, run.project, sweep_id)
        if sweep is None:
            return run
        tx.sweeps.hold(sweep.seq)
        tx.sweep_runs.add(sweep.seq, run.seq, agent_seq=None, is_given=False)
        joined = replace(run, facts=replace(run.facts, sweep=sweep.id))
        tx.tracked.amend(joined)
        return joined

    def note(self, tx: Tx, run: Run, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Look at new rows of a run's history, each with its line: may it go on, is all done?"""
        if run.facts.sweep is None:
            return
        place = tx.sweep_runs.get(run.seq)
        sweep = None if place is None else tx.sweeps.by_seq(place.sweep_seq)
        if place is None or sweep is None:
            return
        if not _watches(sweep.config):
            return
        config = parse_sweep(sweep.config)
        metric = config.metric
        if metric is None:
            return
        found = [(line, metric_in(row, metric.name)) for line, row in rows]
        values = [(line, value) for line, value in found if value is not None]
        if not values:
            return
        if metric.target is not None and sweep.state not in OVER:
            self._reach(tx, sweep, metric, [value for _, value in values])
        if config.early is None:
            return
        costs = [(line, metric.cost(value)) for line, value in values]
        if _falls_behind(tx, place, config.early, costs):
            self.stop(tx, sweep, run)

    def stop(self, tx: Tx, sweep: Sweep, run: Run) -> None:
        """Ask for a run's end, in the name of whoever made the sweep."""
        if run.item_id is not None:
            item = tx.items.get(run.item_id)
            if item is not None and item.state not in TERMINAL:
                self._stop_item(tx, owner(sweep), run.item_id)
        elif run.state not in ENDED and run.stop_requested_at is None:
            tx.tracked.amend(replace(run, stop_requested_at=self._clock.now()))

    def _reach(self, tx: Tx, sweep: Sweep, metric: Metric, values: list[float]) -> None:
        assert metric.target is not None
        if min(map(metric.cost, values)) > metric.cost(metric.target):
            return
        held = tx.sweeps.hold(sweep.seq)
        assert held is not None
        if held.state not in OVER:
            now = self._clock.now()
            tx.sweeps.amend(replace(held, state=SweepState.FINISHED, updated_at=now))


def _watches(config: Mapping[str, Any]) -> bool:
    """Tell whether a sweep looks at its runs as they go, before its whole config is read."""
    return "early_terminate" in config or "target" in (config.get("metric") or {})


def _falls_behind(
    tx: Tx, place: SweepRun, rule: Hyperband, costs: Sequence[tuple[int, float]]
) -> bool:
    """Count new values of a run's metric; tell whether others do so much better that it ends."""
    progress = place.progress
    for line, cost in costs:
        progress = advance(progress, rule, line, cost)
    tx.sweep_members.measure(place.run_seq, progress)
    if not progress.at:
        return False
    others = tx.sweep_members.measured(place.sweep_seq, limit=COMPARED_LIMIT)
    return is_hopeless(rule, progress, others)


def owner(sweep: Sweep) -> Actor:
    """Return whoever made a sweep, for what the server does in their name."""
    return Actor(
        user=sweep.created_by, role=Role.MEMBER, entity=sweep.entity, key_id=KeyId("sweep")
    )
