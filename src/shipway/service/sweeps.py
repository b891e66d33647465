"""Makes sweeps, changes and shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shipway.domain.actor import Actor
from shipway.domain.errors import Conflict, Forbidden, Invalid, NotFound
from shipway.domain.ids import Random, RunId, new_run_id
from shipway.domain.json_value import plain_mapping
from shipway.domain.names import DEFAULT_PROJECT, check_name, check_title
from shipway.domain.run import Run, RunState
from shipway.domain.sweep import (
    CUSTOM,
    OVER,
    Sweep,
    SweepAgent,
    SweepConfig,
    SweepCounts,
    SweepId,
    SweepState,
    best_of,
)
from shipway.domain.sweep_config import parse_sweep, warnings_of
from shipway.plugins.errors import PermanentError
from shipway.plugins.search import Search
from shipway.service.access import READERS, WRITERS, check_sees, missing, own_entity, require
from shipway.service.ports import Clock, Tx
from shipway.service.queues import known_entity
from shipway.service.runs import RunView, view_of
from shipway.service.sweep_places import SweepPlaces

PAGE = 1_000  # places read at once
PRIOR_LIMIT = 1_000
LIST_LIMIT = 1_000
AGENTS_LIMIT = 1_000
CONFIG_LIMIT = 1 << 20  # characters of a config
CONTROLLER_LIMIT = 64 << 10  # characters of what a client keeps with a sweep
ENDLESS = 1 << 31  # runs that nobody waits for, nor can every client count

FindSearch = Callable[[str], Search]  # raises `PermanentError` that lists those installed


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepAsk:
    """What somebody asks a sweep to be; None leaves as it is."""

    id: str | None = None  # None: a new one
    entity: str | None = None
    project: str | None = None
    given: Mapping[str, Any] | None = None  # the config
    source: str = ""  # its text
    name: str | None = None
    description: str | None = None
    state: SweepState | None = None
    controller: str | None = None
    prior_runs: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepView:
    """A sweep with what its runs say of it."""

    sweep: Sweep
    config: SweepConfig
    counts: SweepCounts
    expected: int | None  # runs in all; None where they are endless, or as good as


class Sweeps:
    """Use cases of sweeps."""

    def __init__(
        self, *, clock: Clock, random: Random, places: SweepPlaces, find: FindSearch
    ) -> None:
        self._clock = clock
        self._random = random
        self._places = places
        self._find = find

    def upsert(self, tx: Tx, actor: Actor, ask: SweepAsk) -> tuple[Sweep, list[str]]:
        """Make a sweep or change it; return what in its config nothing will come of."""
        if ask.name is not None:
            check_title(ask.name, field="displayName")
        if ask.controller is not None and len(ask.controller) > CONTROLLER_LIMIT:
            raise Invalid(
                f"controller has {len(ask.controller)} characters, more than {CONTROLLER_LIMIT}",
                field="controller",
            )
        sweep = self._insert(tx, actor, ask) if ask.id is None else self._change(tx, actor, ask)
        return sweep, [] if ask.given is None else warnings_of(ask.given)

    def get(self, tx: Tx, actor: Actor, entity: str, project: str, sweep_id: str) -> Sweep:
        """Return a sweep."""
        what = f"sweep {entity}/{project}/{sweep_id}"
        check_sees(actor, entity, what)
        sweep = tx.sweeps.get(entity, project, sweep_id)
        if sweep is None or actor.role not in READERS:
            raise NotFound(missing(what))
        return sweep

    def view(self, tx: Tx, sweep: Sweep) -> SweepView:
        """Return a sweep that the actor sees with its counts."""
        config = parse_sweep(sweep.config)
        size = self._size(config)
        ends = [count for count in (size, config.run_cap) if count is not None]
        return SweepView(
            sweep=sweep,
            config=config,
            counts=tx.sweep_runs.counts(sweep.seq),
            expected=min((count for count in ends if count < ENDLESS), default=None),
        )

    def of_project(
        self, tx: Tx, actor: Actor, entity: str, project: str, *,
        before_seq: int | None = None, limit: int = 100,
    ) -> Sequence[Sweep]:  # fmt: skip
        """Return the sweeps of a project, newest first."""
        check_sees(actor, entity, f"entity {entity!r}")
        require(actor, READERS, "list sweeps")
        return tx.sweeps.of_project(
            entity, project, before_seq=before_seq, limit=min(limit, LIST_LIMIT)
        )

    def count(self, tx: Tx, actor: Actor, entity: str, project: str) -> int:
        """Count the sweeps of a project."""
        check_sees(actor, entity, f"entity {entity!r}")
        require(actor, READERS, "list sweeps")
        return tx.sweeps.count(entity, project)

    def runs(
        self, tx: Tx, sweep: Sweep, *, after: int = 0, limit: int = PAGE
    ) -> list[RunView]:  # fmt: skip
        """Return the runs of a sweep that the actor sees, in order, after so many."""
        runs = tx.sweep_members.of_sweep(sweep.seq, after=after, limit=min(limit, PAGE))
        views = [view_of(tx, run) for run in runs]
        return [view for view in views if view is not None]

    def best(self, tx: Tx, view: SweepView) -> float | None:
        """Return the best value of the metric that a run of a sweep has."""
        metric = view.config.metric
        if metric is None:
            return None
        found: list[Run] = []
        for start in range(0, view.counts.total, PAGE):
            page = tx.sweep_members.of_sweep(view.sweep.seq, after=start, limit=PAGE)
            best = best_of(metric, page)
            found += [run for run in page if best is not None and best_of(metric, [run]) == best]
        return best_of(metric, found)

    def agent(self, tx: Tx, sweep: Sweep, agent_id: str) -> SweepAgent | None:
        """Return a worker of a sweep that the actor sees."""
        found = tx.sweep_agents.get(agent_id)
        return found if found is not None and found.sweep_seq == sweep.seq else None

    def agents(self, tx: Tx, sweep: Sweep) -> Sequence[SweepAgent]:
        """Return the first workers of a sweep that the actor sees."""
        return tx.sweep_agents.of_sweep(sweep.seq, limit=AGENTS_LIMIT)

    def set_state(self, tx: Tx, actor: Actor, sweep: Sweep, state: SweepState) -> Sweep:
        """Let a sweep go on, pause or end; a canceled one's runs are stopped."""
        check_drives(actor, sweep)
        held = tx.sweeps.hold(sweep.seq)
        assert held is not None
        if held.state is state:
            return held
        if held.state in OVER and state not in {SweepState.RUNNING, SweepState.PENDING}:
            raise Conflict(f"sweep {held.id} is {held.state}: it can only be resumed")
        changed = replace(held, state=state, updated_at=self._clock.now())
        tx.sweeps.amend(changed)
        if state is SweepState.CANCELED:
            self._stop_all(tx, changed)
        return changed

    def _insert(self, tx: Tx, actor: Actor, ask: SweepAsk) -> Sweep:
        require(actor, WRITERS, "make sweeps")
        if ask.given is None:
            raise Invalid("a new sweep needs a config", field="config")
        config = self._checked(ask)
        entity = own_entity(actor, ask.entity)
        if entity != actor.entity:
            entity = known_entity(tx, entity)
        now = self._clock.now()
        sweep = tx.sweeps.insert(
            Sweep(
                seq=0,
                id=SweepId(new_run_id(self._random)),
                entity=entity,
                project=check_name(ask.project or DEFAULT_PROJECT, field="project"),
                name=ask.name or config.name,
                description=ask.description or config.description,
                state=ask.state or SweepState.PENDING,
                config=plain_mapping(ask.given, "config"),
                source=ask.source,
                seed=self._random.getrandbits(62),
                controller=ask.controller,
                created_by=actor.user,
                created_at=now,
                updated_at=now,
            )
        )
        for run_id in dict.fromkeys(ask.prior_runs):
            self._take_in(tx, sweep, run_id)
        return sweep

    def _change(self, tx: Tx, actor: Actor, ask: SweepAsk) -> Sweep:
        assert ask.id is not None
        entity, project = ask.entity or actor.entity, ask.project or DEFAULT_PROJECT
        sweep = self.get(tx, actor, entity, project, ask.id)
        check_drives(actor, sweep)
        held = tx.sweeps.hold(sweep.seq)
        assert held is not None
        changed = replace(
            held,
            name=ask.name or held.name,
            description=ask.description or held.description,
            controller=ask.controller or held.controller,
            updated_at=self._clock.now(),
        )
        if ask.given is not None:
            given = plain_mapping(ask.given, "config")
            if given != held.config:
                if tx.sweep_runs.counts(held.seq).given:
                    raise Conflict(
                        f"sweep {held.id} has runs: its config stays as it is; make another sweep"
                    )
                config = self._checked(ask)
                changed = replace(
                    changed, config=given, source=ask.source, name=ask.name or config.name
                )
        tx.sweeps.amend(changed)
        for run_id in dict.fromkeys(ask.prior_runs):
            self._take_in(tx, changed, run_id)
        return changed if ask.state is None else self.set_state(tx, actor, changed, ask.state)

    def _checked(self, ask: SweepAsk) -> SweepConfig:
        """Return what a config means, once its search takes it."""
        assert ask.given is not None
        if len(ask.source) > CONFIG_LIMIT:
            raise Invalid(
                f"the config has {len(ask.source)} characters, more than {CONFIG_LIMIT}",
                field="config",
            )
        if len(ask.prior_runs) > PRIOR_LIMIT:
            raise Invalid(
                f"at most {PRIOR_LIMIT} runs from before, not {len(ask.prior_runs)}",
                field="priorRunsFilters",
            )
        config = parse_sweep(ask.given)
        if config.method != CUSTOM:
            try:
                self._find(config.method).check(config)
            except PermanentError as error:
                raise Invalid(str(error), field="method", value=config.method) from None
        return config

    def _size(self, config: SweepConfig) -> int | None:
        if config.method == CUSTOM:
            return None
        try:
            return self._find(config.method).size(config)
        except PermanentError:  # its plugin was removed since; the sweep is still to be seen
            return None

    def _take_in(self, tx: Tx, sweep: Sweep, run_id: str) -> None:
        """Let a run that was there before belong to a sweep."""
        run = tx.runs.get(sweep.entity, sweep.project, RunId(run_id))
        if run is None or run.deleted_at is not None:
            raise Invalid(
                f"there is no run {sweep.entity}/{sweep.project}/{run_id} for the sweep to begin "
                "with",
                field="priorRunsFilters",
                value=run_id,
            )
        if self._places.join(tx, run, sweep.id).facts.sweep != sweep.id:
            raise Invalid(
                f"run {run_id} belongs to sweep {run.facts.sweep} already",
                field="priorRunsFilters",
                value=run_id,
            )

    def _stop_all(self, tx: Tx, sweep: Sweep) -> None:
        total = tx.sweep_runs.counts(sweep.seq).total
        for start in range(0, total, PAGE):
            places = tx.sweep_runs.of_sweep(sweep.seq, after=start, limit=PAGE)
            opened = {place.run_seq: place for place in places if place.is_open and place.is_given}
            if not opened:
                continue
            for run in tx.sweep_members.of_sweep(sweep.seq, after=start, limit=PAGE):
                place = opened.get(run.seq)
                if place is None:
                    continue
                if place.is_unbegun and place.agent_seq is None:
                    tx.tracked.amend(replace(run, state=RunState.STOPPED))
                else:
                    self._places.stop(tx, sweep, run)


def check_drives(actor: Actor, sweep: Sweep) -> None:
    """Raise unless the actor may change a sweep, and work for it."""
    check_sees(actor, sweep.entity, f"sweep {sweep.entity}/{sweep.project}/{sweep.id}")
    if actor.role not in WRITERS:
        raise Forbidden(
            f"a key with the role {actor.role} may not drive sweep {sweep.id}: use a person's key"
        )
