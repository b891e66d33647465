"""Gives runs of sweeps to workers, and sees to it that none is lost or given twice."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from shipway.domain.actor import Actor
from shipway.domain.errors import Invalid, NotFound
from shipway.domain.ids import Random, RunId, new_run_id
from shipway.domain.run import Run, RunFacts, RunState
from shipway.domain.sweep import (
    CUSTOM,
    OVER,
    Sweep,
    SweepAgent,
    SweepConfig,
    SweepRun,
    SweepState,
    trials_of,
)
from shipway.domain.sweep_config import parse_sweep
from shipway.domain.sweep_space import Values, is_same, nested, values_in
from shipway.plugins.errors import PermanentError
from shipway.plugins.search import Search, SearchAsk
from shipway.service.access import missing
from shipway.service.lease_time import LeaseTime
from shipway.service.ports import Clock, Tx
from shipway.service.runs import RunView, view_of
from shipway.service.sweeps import PRIOR_LIMIT, FindSearch, check_drives

SILENT_MS = 2 * 60_000  # of lease time; a worker that says nothing for so long is gone
SKIPS_LIMIT = 1_000  # combinations of runs from before that one beat passes over
GIVES_LIMIT = 3  # times that a run is given to workers before it has failed
AGENTS_LIMIT = 100  # workers given up in one transaction
PLACES_LIMIT = 50  # of one worker, the last ones: what lies before has begun long ago
RUNNING_LIMIT = 100  # runs that a worker has at once
TRIALS_LIMIT = 2_000  # runs that a search looks at
HOST_LIMIT = 255
PROGRAM = "train.py"  # where the config names none


class Order(StrEnum):
    """What a worker is to do."""

    RUN = "run"  # start a run
    STOP = "stop"  # end a run
    EXIT = "exit"  # end itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One order."""

    order: Order
    run_id: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)  # parameters, in their groups
    program: str = PROGRAM


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The answer to a worker."""

    commands: Sequence[Command] = ()
    needs_search: bool = False  # what `ask` returns is to be searched, and the beat repeated


class SweepAgents:
    """Use cases of workers."""

    def __init__(
        self, *, clock: Clock, random: Random, lease_time: LeaseTime, find: FindSearch
    ) -> None:
        self._clock = clock
        self._random = random
        self._lease_time = lease_time
        self._find = find

    def register(self, tx: Tx, actor: Actor, sweep: Sweep, *, host: str) -> SweepAgent:
        """Take a worker on."""
        check_drives(actor, sweep)
        if not host or len(host) > HOST_LIMIT or not host.isprintable():
            raise Invalid(
                f"host must be 1 to {HOST_LIMIT} printable characters", field="host", value=host
            )
        now = self._clock.now()
        self._heard(tx, sweep, now)
        return tx.sweep_agents.insert(
            SweepAgent(
                seq=0,
                id=f"{new_run_id(self._random)}{new_run_id(self._random)}",
                sweep_seq=sweep.seq,
                host=host,
                created_by=actor.user,
                created_at=now,
                heard_at=now,
                deadline=self._lease_time.now() + SILENT_MS,
            )
        )

    def get(self, tx: Tx, actor: Actor, agent_id: str) -> SweepAgent:
        """Return a worker that the actor drives."""
        return self._own(tx, actor, agent_id)[0]

    def beat(
        self, tx: Tx, actor: Actor, agent_id: str, running: Collection[str],
        found: Values | None = None,
    ) -> Beat:  # fmt: skip
        """Hear which runs a worker has, and tell it what to do; `found` is what a search chose."""
        if len(running) > RUNNING_LIMIT:
            raise Invalid(
                f"a worker has at most {RUNNING_LIMIT} runs at once, not {len(running)}",
                field="runState",
            )
        agent, sweep = self._own(tx, actor, agent_id)
        now = self._clock.now()
        sweep = self._heard(tx, sweep, now)
        tx.sweep_agents.heard(agent.seq, now=now, deadline=self._lease_time.now() + SILENT_MS)
        again, stops = self._settle(tx, sweep, agent, running)
        if stops or running:
            return Beat(commands=tuple(stops))
        if sweep.state in OVER:
            return Beat(commands=(Command(order=Order.EXIT),))
        if sweep.state is SweepState.PAUSED:
            return Beat()
        place = again or tx.sweep_runs.free(sweep.seq)
        if place is not None:
            return self._give(tx, sweep, agent, place)
        return self._next(tx, sweep, agent, actor, found)

    def ask(self, tx: Tx, actor: Actor, agent_id: str) -> SearchAsk:
        """Return what a search looks at for a worker: thousands of runs, to be only read."""
        agent, sweep = self._own(tx, actor, agent_id)
        config = parse_sweep(sweep.config)
        total = tx.sweep_runs.counts(sweep.seq).total
        after = max(0, total - TRIALS_LIMIT)
        runs = tx.sweep_members.of_sweep(sweep.seq, after=after, limit=TRIALS_LIMIT)
        seen = [(run, view.state) for run in runs if (view := view_of(tx, run)) is not None]
        return SearchAsk(
            config=config,
            number=sweep.cursor,
            seed=_seed(sweep, agent.id),
            trials=trials_of(config, seen),
        )

    def runs(self, tx: Tx, agent: SweepAgent) -> list[RunView]:
        """Return the last runs that a worker of a sweep, which the actor sees, was given."""
        places = tx.sweep_runs.of_agent(agent.seq, limit=PLACES_LIMIT)
        runs = [
            run
            for place in places
            for run in tx.sweep_members.of_sweep(place.sweep_seq, after=place.number - 1, limit=1)
        ]
        return [view for run in runs if (view := view_of(tx, run)) is not None]

    def search(self, ask: SearchAsk) -> Values | None:
        """Choose values; outside of a transaction, for it may take its time."""
        try:
            return self._find(ask.config.method).suggest(ask)
        except PermanentError as error:
            raise _refusal(ask.config, error) from None

    def give_up(self, tx: Tx) -> list[SweepAgent]:
        """Let the runs of silent workers be given to others; return those workers."""
        now, gone = self._lease_time.now(), []
        for agent in tx.sweep_agents.silent(before=now, limit=AGENTS_LIMIT):
            sweep = tx.sweeps.hold(agent.sweep_seq)  # a beat holds it, too
            assert sweep is not None
            if not tx.sweep_agents.give_up(agent.seq, before=now):
                continue
            gone.append(agent)
            for place in tx.sweep_runs.of_agent(agent.seq, limit=PLACES_LIMIT):
                if place.is_unbegun:
                    self._free(tx, sweep, place)
        return gone

    def extend(self, tx: Tx) -> None:
        """Give every worker a full new term: nobody could have been heard for a while."""
        tx.sweep_agents.extend(deadline=self._lease_time.now() + SILENT_MS)

    def _own(self, tx: Tx, actor: Actor, agent_id: str) -> tuple[SweepAgent, Sweep]:
        agent = tx.sweep_agents.get(agent_id)
        sweep = None if agent is None else tx.sweeps.by_seq(agent.sweep_seq)
        if agent is None or sweep is None:
            raise NotFound(missing(f"worker {agent_id!r}"))
        check_drives(actor, sweep)
        return agent, sweep

    def _heard(self, tx: Tx, sweep: Sweep, now: int) -> Sweep:
        held = tx.sweeps.hold(sweep.seq, heard_at=now)
        assert held is not None
        if held.state is not SweepState.PENDING:
            return held
        running = replace(held, state=SweepState.RUNNING, updated_at=now)
        tx.sweeps.amend(running)
        return running

    def _settle(
        self, tx: Tx, sweep: Sweep, agent: SweepAgent, running: Collection[str]
    ) -> tuple[SweepRun | None, list[Command]]:
        """Take note of what a worker has and what it has no more.

        Return a run to give to it again, for it may not have got the answer, and what to stop.
        """
        again: SweepRun | None = None
        stops: list[Command] = []
        own = tx.sweep_runs.of_agent(agent.seq, limit=PLACES_LIMIT)
        for place in own:
            if place.run_id in running:
                if not place.is_heard:
                    tx.sweep_runs.amend(replace(place, is_heard=True))
                if _is_to_stop(sweep, place):
                    stops.append(Command(order=Order.STOP, run_id=place.run_id))
            elif place.is_unbegun:
                if not place.is_heard and again is None and _may_begin(sweep, place):
                    again = place
                else:
                    self._free(tx, sweep, place)
            elif place.is_heard and place.is_stop_asked and place.is_open and not place.is_item:
                self._end(tx, sweep, place, RunState.STOPPED)  # its program was killed
        stops += self._strangers(tx, sweep, agent, running, {place.run_id for place in own})
        return again, stops

    def _strangers(
        self, tx: Tx, sweep: Sweep, agent: SweepAgent, running: Collection[str], own: set[str]
    ) -> list[Command]:
        """Let a worker that was given up keep its run, unless another has it by now."""
        unknown = {run_id for run_id in running if run_id not in own}
        stops: list[Command] = []
        if not unknown:
            return stops
        for run in sorted(unknown):
            found = tx.runs.get(sweep.entity, sweep.project, RunId(run))
            place = None if found is None else tx.sweep_runs.get(found.seq)
            if place is None or place.sweep_seq != sweep.seq:
                continue
            if place.agent_seq is None:
                tx.sweep_runs.amend(replace(place, agent_seq=agent.seq, is_heard=True))
            elif place.agent_seq != agent.seq or _is_to_stop(sweep, place):
                stops.append(Command(order=Order.STOP, run_id=run))
        return stops

    def _free(self, tx: Tx, sweep: Sweep, place: SweepRun) -> None:
        """Let a run that did not begin be given to another worker, or end it."""
        if not place.is_heard and _may_begin(sweep, place):
            tx.sweep_runs.amend(replace(place, agent_seq=None))
            return
        state = RunState.STOPPED if _is_to_stop(sweep, place) else RunState.FAILED
        self._end(tx, sweep, place, state)

    def _end(self, tx: Tx, sweep: Sweep, place: SweepRun, state: RunState) -> None:
        """End a run whose program cannot say so."""
        for run in tx.sweep_members.of_sweep(sweep.seq, after=place.number - 1, limit=1):
            tx.tracked.amend(replace(run, state=state, deadline=None))

    def _give(self, tx: Tx, sweep: Sweep, agent: SweepAgent, place: SweepRun) -> Beat:
        """Give a run to a worker that was given before."""
        given = replace(place, agent_seq=agent.seq, gives=place.gives + 1, is_heard=False)
        tx.sweep_runs.amend(given)
        (run,) = tx.sweep_members.of_sweep(sweep.seq, after=place.number - 1, limit=1)
        config = parse_sweep(sweep.config)
        values = nested(values_in(config.space, run.config))
        return Beat(commands=(_run(config, place.run_id, values),))

    def _next(
        self, tx: Tx, sweep: Sweep, agent: SweepAgent, actor: Actor, found: Values | None
    ) -> Beat:
        """Give a new run, or say that there is none any more."""
        config = parse_sweep(sweep.config)
        if config.method == CUSTOM:
            return Beat()
        counts = tx.sweep_runs.counts(sweep.seq)
        is_full = config.run_cap is not None and counts.total >= config.run_cap
        if is_full:
            return self._finish(tx, sweep, still=counts.open)
        search = self._found(config)
        if search.needs_trials and found is None:
            return Beat(needs_search=True)
        values = found
        if not search.needs_trials:
            until = sweep.cursor + SKIPS_LIMIT
            sweep, values = self._suggestion(tx, sweep, config, search, until=until)
            if sweep.cursor == until:
                tx.sweeps.amend(sweep)
                return Beat()  # to go on from there
        if values is None:
            return self._finish(tx, sweep, still=counts.open)
        tx.sweeps.amend(replace(sweep, cursor=sweep.cursor + 1))
        run = tx.runs.insert(
            Run(
                seq=0,
                id=new_run_id(self._random),
                entity=sweep.entity,
                project=sweep.project,
                name=f"{sweep.name or 'sweep'}-{counts.total + 1}",
                item_id=None,
                created_at=self._clock.now(),
                config=nested(values),
                state=RunState.PENDING,
                facts=RunFacts(sweep=sweep.id),
                created_by=actor.user,
            )
        )
        tx.sweep_runs.add(sweep.seq, run.seq, agent_seq=agent.seq, is_given=True)
        return Beat(commands=(_run(config, run.id, nested(values)),))

    def _suggestion(
        self, tx: Tx, sweep: Sweep, config: SweepConfig, search: Search, *, until: int
    ) -> tuple[Sweep, Values | None]:
        """Return an instant search's next values, but those that a run from before had."""
        had: list[Values] = []
        if search.size(config) is not None:
            before = tx.sweep_members.from_before(sweep.seq, limit=PRIOR_LIMIT)
            had = [values_in(config.space, config_of_run) for config_of_run in before]
        while sweep.cursor < until:
            seed = _seed(sweep, "")
            ask = SearchAsk(config=config, number=sweep.cursor, seed=seed, trials=())
            values = search.suggest(ask)
            if values is None or not any(_covers(one, values) for one in had):
                return sweep, values
            sweep = replace(sweep, cursor=sweep.cursor + 1)
        return sweep, None

    def _finish(self, tx: Tx, sweep: Sweep, *, still: int) -> Beat:
        """End a sweep that has nothing left to give, once its last run has ended."""
        if still:
            return Beat()  # one of them may still need another worker
        now = self._clock.now()
        tx.sweeps.amend(replace(sweep, state=SweepState.FINISHED, updated_at=now))
        return Beat(commands=(Command(order=Order.EXIT),))

    def _found(self, config: SweepConfig) -> Search:
        try:
            return self._find(config.method)
        except PermanentError as error:
            raise _refusal(config, error) from None


def _refusal(config: SweepConfig, error: PermanentError) -> Invalid:
    return Invalid(str(error), field="method", value=config.method)


def _is_to_stop(sweep: Sweep, place: SweepRun) -> bool:
    return place.is_stop_asked or sweep.state is SweepState.CANCELED


def _may_begin(sweep: Sweep, place: SweepRun) -> bool:
    """Tell whether a run that nobody heard of may be given to a worker once more."""
    return sweep.state not in OVER and not place.is_stop_asked and place.gives < GIVES_LIMIT


def _covers(had: Values, values: Values) -> bool:
    return all(path in had and is_same(had[path], value) for path, value in values.items())


def _seed(sweep: Sweep, salt: str) -> int:
    """Return the seed of one suggestion: it depends on nothing but the sweep and its place."""
    text = f"{sweep.seed}:{sweep.cursor}:{salt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _run(config: SweepConfig, run_id: str, values: Mapping[str, Any]) -> Command:
    return Command(order=Order.RUN, run_id=run_id, values=values, program=config.program or PROGRAM)
