"""Rows of sweeps, their workers and the places of their runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shipway.domain.errors import Exists
from shipway.domain.hyperband import Progress
from shipway.domain.ids import ItemId
from shipway.domain.item import State
from shipway.domain.names import fold
from shipway.domain.run import Run, RunState
from shipway.domain.sweep import Sweep, SweepAgent, SweepCounts, SweepRun, SweepState
from shipway.store.items import NEWEST
from shipway.store.rows import check_text, to_json, to_run
from shipway.store.session import Row, Session


class Sweeps:
    """The port `SweepRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, sweep: Sweep) -> Sweep:
        """Store a new sweep; `Exists` for an id that its project knows."""
        check_text(id=sweep.id, entity=sweep.entity, project=sweep.project)
        row = self._session.one(
            "insert_sweep",
            {
                **_changeable(sweep),
                "id": sweep.id,
                "entity": sweep.entity,
                "entity_folded": fold(sweep.entity),
                "project": sweep.project,
                "project_folded": fold(sweep.project),
                "seed": sweep.seed,
                "created_by": sweep.created_by,
                "created_at": sweep.created_at,
            },
        )
        if row is None:
            raise Exists(f"sweep {sweep.id!r} is there already in {sweep.entity}/{sweep.project}")
        return replace(sweep, seq=row[0])

    def get(self, entity: str, project: str, sweep_id: str) -> Sweep | None:
        """Return a sweep; entity and project are matched without case."""
        params = {**_of(entity, project), "id": sweep_id}
        return _maybe(self._session.one("sweep", params))

    def by_seq(self, seq: int) -> Sweep | None:
        """Return a sweep."""
        return _maybe(self._session.one("sweep_by_seq", {"seq": seq}))

    def by_scheduler(self, item_id: ItemId) -> Sweep | None:
        """Return the sweep whose scheduler was queued last as this item."""
        return _maybe(self._session.one("sweep_by_scheduler", {"item_id": item_id}))

    def hold(self, seq: int, *, heard_at: int | None = None) -> Sweep | None:
        """Return a sweep as it stands, for this transaction alone until it is committed."""
        return _maybe(self._session.one("hold_sweep", {"seq": seq, "heard_at": heard_at}))

    def of_project(
        self, entity: str, project: str, *, before_seq: int | None = None, limit: int
    ) -> Sequence[Sweep]:
        """Return the sweeps of a project, newest first."""
        before = NEWEST if before_seq is None else before_seq
        params = {**_of(entity, project), "before_seq": before, "limit": limit}
        return [to_sweep(row) for row in self._session.all("sweeps_of_project", params)]

    def count(self, entity: str, project: str) -> int:
        """Count the sweeps of a project."""
        row = self._session.one("count_sweeps_of_project", _of(entity, project))
        assert row is not None
        return int(row[0])

    def amend(self, sweep: Sweep) -> None:
        """Store everything that may change of a sweep but when it was heard of."""
        params = {
            **_changeable(sweep),
            "seq": sweep.seq,
            "cursor": sweep.cursor,
            "scheduler_item": sweep.scheduler_item,
            "scheduler_count": sweep.scheduler_count,
        }
        self._session.run("amend_sweep", params)


class SweepAgents:
    """The port `SweepAgentRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, agent: SweepAgent) -> SweepAgent:
        """Store a new worker."""
        check_text(host=agent.host)
        row = self._session.one(
            "insert_sweep_agent",
            {
                "id": agent.id,
                "sweep_seq": agent.sweep_seq,
                "host": agent.host,
                "created_by": agent.created_by,
                "created_at": agent.created_at,
                "heard_at": agent.heard_at,
                "deadline": agent.deadline,
            },
        )
        assert row is not None
        return replace(agent, seq=row[0])

    def get(self, agent_id: str) -> SweepAgent | None:
        """Return a worker."""
        row = self._session.one("sweep_agent", {"id": agent_id})
        return None if row is None else to_sweep_agent(row)

    def of_sweep(self, sweep_seq: int, *, limit: int) -> Sequence[SweepAgent]:
        """Return the workers of a sweep in the order in which they came."""
        params = {"sweep_seq": sweep_seq, "limit": limit}
        return [to_sweep_agent(row) for row in self._session.all("sweep_agents_of", params)]

    def heard(self, seq: int, *, now: int, deadline: int) -> None:
        """Note that a worker was heard of, and until when it has to be again."""
        params = {"seq": seq, "heard_at": now, "deadline": deadline}
        self._session.run("hear_sweep_agent", params)

    def silent(self, *, before: int, limit: int) -> Sequence[SweepAgent]:
        """Return workers that were not heard of until their deadline in lease time."""
        params = {"before": before, "limit": limit}
        return [to_sweep_agent(row) for row in self._session.all("silent_sweep_agents", params)]

    def give_up(self, seq: int, *, before: int) -> bool:
        """Expect a worker no more; False for one that was heard of meanwhile, or given up."""
        params = {"seq": seq, "before": before}
        return self._session.one("give_up_sweep_agent", params) is not None

    def extend(self, *, deadline: int) -> None:
        """Give every worker that has a deadline at least this one."""
        self._session.run("extend_sweep_agents", {"deadline": deadline})


class SweepRuns:
    """The port `SweepRunRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, sweep_seq: int, run_seq: int, *, agent_seq: int | None, is_given: bool) -> int:
        """Put a run into a sweep that this transaction holds; return its number."""
        params = {
            "sweep_seq": sweep_seq,
            "run_seq": run_seq,
            "agent_seq": agent_seq,
            "is_given": int(is_given),
            "gives": int(agent_seq is not None),
        }
        row = self._session.one("insert_sweep_run", params)
        assert row is not None
        return int(row[0])

    def get(self, run_seq: int) -> SweepRun | None:
        """Return the place of a run; None for one of no sweep."""
        row = self._session.one("sweep_run", {"run_seq": run_seq})
        return None if row is None else to_sweep_run(row)

    def of_sweep(self, sweep_seq: int, *, after: int = 0, limit: int) -> Sequence[SweepRun]:
        """Return the places of a sweep in order, after a number."""
        params = {"sweep_seq": sweep_seq, "after": after, "limit": limit}
        return [to_sweep_run(row) for row in self._session.all("runs_of_sweep", params)]

    def of_agent(self, agent_seq: int, *, limit: int) -> Sequence[SweepRun]:
        """Return the last places that a worker was given, in order."""
        params = {"agent_seq": agent_seq, "limit": limit}
        rows = self._session.all("runs_of_sweep_agent", params)
        return [to_sweep_run(row) for row in reversed(rows)]

    def free(self, sweep_seq: int) -> SweepRun | None:
        """Return the first place whose worker is gone, and of whose program nobody heard."""
        row = self._session.one("free_sweep_run", {"sweep_seq": sweep_seq})
        return None if row is None else to_sweep_run(row)

    def amend(self, place: SweepRun) -> None:
        """Store what may change of a place but how the run's metric goes."""
        params = {
            "run_seq": place.run_seq,
            "agent_seq": place.agent_seq,
            "gives": place.gives,
            "is_heard": int(place.is_heard),
        }
        self._session.run("amend_sweep_run", params)

    def counts(self, sweep_seq: int) -> SweepCounts:
        """Count the runs of a sweep."""
        row = self._session.one("count_sweep_runs", {"sweep_seq": sweep_seq})
        assert row is not None
        return SweepCounts(total=int(row[0]), given=int(row[1]), open=int(row[2]))


class SweepMembers:
    """The port `SweepMemberRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_sweep(self, sweep_seq: int, *, after: int = 0, limit: int) -> Sequence[Run]:
        """Return the runs of so many places after a number, in order; deleted ones left out."""
        params = {"sweep_seq": sweep_seq, "after": after, "until": after + limit}
        return [to_run(row) for row in self._session.all("full_runs_of_sweep", params)]

    def from_before(self, sweep_seq: int, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return the configs of the first runs whose parameters the sweep did not choose."""
        params = {"sweep_seq": sweep_seq, "limit": limit}
        rows = self._session.all("configs_of_runs_from_before", params)
        return [json.loads(config) for (config,) in rows]

    def adopt(self, run: Run) -> bool:
        """Make a pending run that of its item; False where another launch took it."""
        assert run.item_id is not None
        params = {
            "seq": run.seq,
            "item_id": run.item_id,
            "config": to_json(run.config),
            "name": run.name,
        }
        return self._session.one("adopt_run", params) is not None

    def measure(self, run_seq: int, progress: Progress) -> None:
        """Store how the metric of a run goes."""
        params = {"run_seq": run_seq, "progress": to_json(progress.to_json())}
        self._session.run("measure_sweep_run", params)

    def measured(self, sweep_seq: int, *, limit: int) -> Sequence[Progress]:
        """Return how the metrics of a sweep's runs go."""
        params = {"sweep_seq": sweep_seq, "limit": limit}
        rows = self._session.all("measured_sweep_runs", params)
        return [Progress.from_json(json.loads(text)) for (text,) in rows]


def to_sweep(row: Row) -> Sweep:
    """Build a sweep from the columns of fragment `sweep`."""
    return Sweep(
        seq=row[0],
        id=row[1],
        entity=row[2],
        project=row[3],
        name=row[4],
        description=row[5],
        state=SweepState(row[6]),
        config=json.loads(row[7]),
        source=row[8],
        seed=row[9],
        cursor=row[10],
        controller=row[11],
        scheduler=row[12],
        scheduler_item=row[13],
        scheduler_count=row[14],
        created_by=row[15],
        created_at=row[16],
        updated_at=row[17],
        heard_at=row[18],
    )


def to_sweep_agent(row: Row) -> SweepAgent:
    """Build a worker from the columns of fragment `sweep_agent`."""
    return SweepAgent(
        seq=row[0],
        id=row[1],
        sweep_seq=row[2],
        host=row[3],
        created_by=row[4],
        created_at=row[5],
        heard_at=row[6],
        deadline=row[7],
    )


def to_sweep_run(row: Row) -> SweepRun:
    """Build a place from the columns of fragment `sweep_run`."""
    return SweepRun(
        run_seq=row[0],
        run_id=row[1],
        sweep_seq=row[2],
        number=row[3],
        agent_seq=row[4],
        is_given=bool(row[5]),
        gives=row[6],
        is_heard=bool(row[7]),
        is_item=row[8] is not None,
        item_state=None if row[9] is None else State(row[9]),
        run_state=None if row[10] is None else RunState(row[10]),
        is_stop_asked=row[11] is not None,
        progress=Progress.from_json(json.loads(row[12])),
        is_deleted=row[13] is not None,
    )


def _changeable(sweep: Sweep) -> dict[str, object]:
    check_text(name=sweep.name, description=sweep.description, controller=sweep.controller)
    return {
        "name": sweep.name,
        "description": sweep.description,
        "state": sweep.state,
        "config": to_json(sweep.config),
        "source": sweep.source,
        "controller": sweep.controller,
        "scheduler": sweep.scheduler,
        "updated_at": sweep.updated_at,
    }


def _of(entity: str, project: str) -> dict[str, str]:
    return {"entity_folded": fold(entity), "project_folded": fold(project)}


def _maybe(row: Row | None) -> Sweep | None:
    return None if row is None else to_sweep(row)
