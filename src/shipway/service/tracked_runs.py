"""Takes what the clients of runs say by themselves: how they stand, their lines, their end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Forbidden, Invalid, NotFound
from shipway.domain.ids import Random, RunId, new_run_id
from shipway.domain.item import Item
from shipway.domain.names import DEFAULT_PROJECT, check_name, check_title, fold
from shipway.domain.run import ENDED, ConsoleChunk, Run, RunFacts, RunState, StreamLine
from shipway.service.access import READERS, WRITERS, check_sees, missing, own_entity, require
from shipway.service.client_leases import ClientLeases, is_going_on
from shipway.service.items import Items
from shipway.service.lease_time import LeaseTime
from shipway.service.ports import Clock, Tx
from shipway.service.queues import known_entity
from shipway.service.run_history import unsaid
from shipway.service.runs import Runs, RunView, merge, view_of
from shipway.service.sweep_places import SweepPlaces

SILENT_MS = 5 * 60_000  # of lease time; a client that says nothing for so long has crashed
CRASHES_LIMIT = 100  # runs given up in one transaction
TEXT_LIMIT = 64 << 10  # characters of notes or of a description
FACT_LIMIT = 2_048  # characters of any other fact
TAGS_LIMIT = 100
ALERTS_LIMIT = 20
PAGE = 1_000  # runs read at once
PROJECTS_LIMIT = 10_000
_LONG = frozenset({"description", "notes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAsk:
    """What a client asks a run to be; None leaves as it is."""

    entity: str | None = None
    project: str | None = None
    id: str | None = None
    name: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # by the names of `RunFacts`
    config: Mapping[str, Any] | None = None
    summary: Mapping[str, Any] | None = None
    is_pending: bool = False  # made for a program that is still to come
    is_begun: bool = False  # said by the program itself, as it begins
    is_hidden: bool = False  # a client makes it for its own work


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """What a client sends of a run as it goes on, and at its end."""

    history: Sequence[StreamLine] = ()
    system: Sequence[StreamLine] = ()
    console: ConsoleChunk | None = None
    summary: Mapping[str, Any] | None = None
    is_complete: bool = False
    exit_code: int = 0


class TrackedRuns:
    """Use cases of runs whose own clients report; those of items keep their items' states."""

    def __init__(
        self, *, clock: Clock, random: Random, lease_time: LeaseTime, runs: Runs, items: Items,
        client_leases: ClientLeases, places: SweepPlaces,
    ) -> None:  # fmt: skip
        self._client_leases = client_leases
        self._clock = clock
        self._random = random
        self._lease_time = lease_time
        self._runs = runs
        self._items = items
        self._places = places

    def upsert(self, tx: Tx, actor: Actor, ask: RunAsk) -> tuple[RunView, bool]:
        """Make a run or change it; tell whether it is new."""
        facts = _checked(ask.facts)
        sweep = facts.pop("sweep", None)
        if ask.name is not None:
            check_title(ask.name, field="name")
        run = self._find(tx, actor, ask)
        if run is None:
            made = self._insert(tx, actor, ask, facts)
            return (made if sweep is None else self._joined(tx, made, sweep)), True
        self.check_writes(tx, actor, run)
        values = replace(
            run, name=ask.name or run.name, facts=replace(run.facts, **facts),
            is_hidden=run.is_hidden or ask.is_hidden,
        )  # fmt: skip
        if run.item_id is not None:
            changed = self._heard(tx, values) if ask.is_begun else values
            merge(tx, run, config=ask.config or {}, summary=ask.summary or {})
        else:
            changed = self._begun(values) if ask.is_begun else values
            config = run.config if ask.config is None else ask.config
            summary = run.summary if ask.summary is None else ask.summary
            tx.runs.update(run.seq, config=config, summary=summary)
        tx.tracked.amend(changed)
        if sweep is not None:
            self._places.join(tx, changed, sweep)
        return self.get(tx, actor, run.entity, run.project, run.id), False

    def get(self, tx: Tx, actor: Actor, entity: str, project: str, run_id: str) -> RunView:
        """Return a run; a program finds its own under every name of a project."""
        item = self._own_item(tx, actor, run_id)
        if item is not None:
            entity, project = item.entity, item.project
        return self._runs.get(tx, actor, entity, project, run_id)

    def of_project(
        self, tx: Tx, actor: Actor, entity: str, project: str, *, after: int | None = None,
        is_newest_first: bool = False, page_size: int = PAGE,
    ) -> Iterator[RunView]:  # fmt: skip
        """Yield the runs of a project that have come to be, those after one of them."""
        check_sees(actor, entity, f"entity {entity!r}")
        require(actor, READERS, "list runs")
        while page := tx.tracked.of_project(
            entity, project, after_seq=after, limit=page_size, is_newest_first=is_newest_first
        ):
            for run in page:
                view = view_of(tx, run)
                if view is not None:
                    yield view
            after = page[-1].seq

    def count(self, tx: Tx, actor: Actor, entity: str, project: str) -> int:
        """Count the runs of a project that have come to be."""
        check_sees(actor, entity, f"entity {entity!r}")
        require(actor, READERS, "list runs")
        return tx.tracked.count(entity, project)

    def projects(self, tx: Tx, actor: Actor, entity: str | None) -> Sequence[tuple[str, int]]:
        """Return the projects that an entity has runs in, each with the time of its first."""
        return tx.tracked.projects(own_entity(actor, entity), limit=PROJECTS_LIMIT)

    def report(
        self, tx: Tx, actor: Actor, view: RunView, report: StreamReport
    ) -> None:  # fmt: skip
        """Take lines, a summary and the end of a run; what is repeated changes nothing."""
        run = view.run
        self.check_writes(tx, actor, run)
        said = unsaid(tx, run, report.history)
        tx.streams.add_history(run.seq, said)
        if report.system:
            tx.streams.add_system(run.seq, report.system)
        has_log = view.item is not None and not view.item.is_clients  # its item has it already
        if report.console is not None and not has_log:
            tx.consoles.add(run.seq, report.console)
        if run.item_id is not None:
            merge(tx, run, config={}, summary=report.summary or {})
            tx.tracked.amend(self._heard(tx, run))
            self._look(tx, run, said)
            if report.is_complete and view.item is not None and is_going_on(view.item):
                self._client_leases.ended(tx, view.item, report.exit_code)
            return
        if report.summary is not None:
            tx.runs.update(run.seq, config=run.config, summary=report.summary)
        changed = self._begun(run)
        if report.is_complete:
            changed = replace(
                changed,
                state=_ended(run, report.exit_code),
                exit_code=report.exit_code,
                deadline=None,
                stop_requested_at=run.stop_requested_at,
            )
        tx.tracked.amend(changed)
        self._look(tx, changed, said)

    def alert(
        self, tx: Tx, actor: Actor, view: RunView, *, title: str, text: str, level: str
    ) -> None:  # fmt: skip
        """Keep an alert with its run; of very many the newest."""
        run = view.run
        self.check_writes(tx, actor, run)
        said = {"title": _text("title", title), "text": _text("description", text)}
        alert = {**said, "level": level, "at": self._clock.now()}
        alerts = (*run.facts.alerts, alert)[-ALERTS_LIMIT:]
        tx.tracked.amend(replace(run, facts=replace(run.facts, alerts=alerts)))

    def stop(self, tx: Tx, actor: Actor, view: RunView) -> None:
        """Ask for a run's end; one that has ended stays as it is."""
        if actor.role not in WRITERS:
            raise Forbidden(f"a key with the role {actor.role} may not stop runs")
        if view.item is not None:
            self._items.stop(tx, actor, view.item.id)
        elif view.state not in ENDED and view.run.stop_requested_at is None:
            tx.tracked.amend(replace(view.run, stop_requested_at=self._clock.now()))

    def delete(self, tx: Tx, actor: Actor, view: RunView) -> None:
        """Hide a run for good; its id stays used."""
        if actor.role not in WRITERS:
            raise Forbidden(f"a key with the role {actor.role} may not delete runs")
        if view.item is not None:
            self._items.delete(tx, actor, view.item.id)
        tx.tracked.amend(replace(view.run, deleted_at=self._clock.now(), deadline=None))

    def give_up(self, tx: Tx) -> list[Run]:
        """Let runs that nobody heard of have crashed; return them."""
        silent = tx.tracked.silent(before=self._lease_time.now(), limit=CRASHES_LIMIT)
        crashed = [replace(run, state=RunState.CRASHED, deadline=None) for run in silent]
        for run in crashed:
            tx.tracked.amend(run)
        return crashed

    def extend(self, tx: Tx) -> None:
        """Give every run a full new term: nobody could have been heard for a while."""
        tx.tracked.extend(deadline=self._lease_time.now() + SILENT_MS)

    def check_writes(self, tx: Tx, actor: Actor, run: Run) -> None:
        """Raise unless the actor may write to a run now."""
        check_sees(actor, run.entity, "run")
        if run.deleted_at is not None:
            raise NotFound(missing(f"run {run.entity}/{run.project}/{run.id}"))
        self._runs.check_writes(tx, actor, run)

    def _find(self, tx: Tx, actor: Actor, ask: RunAsk) -> Run | None:
        if ask.id is None:
            return None
        item = self._own_item(tx, actor, ask.id)
        if item is not None:
            return tx.runs.get(item.entity, item.project, item.run_id)
        entity = own_entity(actor, ask.entity)
        project = ask.project or DEFAULT_PROJECT
        run = tx.runs.get(entity, project, RunId(ask.id))
        if run is not None and run.deleted_at is not None:
            raise Invalid(
                f"run {entity}/{project}/{ask.id} was deleted, its id stays used: choose another",
                field="id",
                value=ask.id,
            )
        return run

    def _insert(
        self, tx: Tx, actor: Actor, ask: RunAsk, facts: Mapping[str, Any]
    ) -> RunView:  # fmt: skip
        if actor.role is Role.JOB:
            raise Forbidden(
                "the key of a launched program writes to the program's own run only: "
                "let wandb.init take its id from WANDB_RUN_ID"
            )
        if actor.role not in WRITERS:
            raise Forbidden(f"a key with the role {actor.role} may not make runs")
        entity = own_entity(actor, ask.entity)
        is_own = fold(entity) == fold(actor.entity)
        entity = actor.entity if is_own else known_entity(tx, entity)
        run_id = new_run_id(self._random) if ask.id is None else check_name(ask.id, field="id")
        run = Run(
            seq=0,
            id=RunId(run_id),
            entity=entity,
            project=check_name(ask.project or DEFAULT_PROJECT, field="project"),
            name=ask.name,
            item_id=None,
            created_at=self._clock.now(),
            config=ask.config or {},
            summary=ask.summary or {},
            state=RunState.PENDING,
            facts=RunFacts(**facts),
            created_by=actor.user,
            is_hidden=ask.is_hidden,
        )
        stored = tx.runs.insert(run if ask.is_pending else self._begun(run))
        return self._runs.get(tx, actor, stored.entity, stored.project, stored.id)

    def _heard(self, tx: Tx, run: Run) -> Run:
        """Return an item's run, heard of just now; a lease of a client's agent goes on by that."""
        item = tx.items.get(run.item_id) if run.item_id is not None else None
        if item is not None and is_going_on(item):
            self._client_leases.heard(tx, item)
        return replace(run, heard_at=self._clock.now())

    def _begun(self, run: Run) -> Run:
        """Return a run that was heard of just now; one that had ended goes on."""
        is_over = run.state in ENDED
        return replace(
            run,
            state=RunState.RUNNING,
            exit_code=None,
            heard_at=self._clock.now(),
            deadline=self._lease_time.now() + SILENT_MS,
            stop_requested_at=None if is_over else run.stop_requested_at,
        )

    def _joined(self, tx: Tx, view: RunView, sweep: str) -> RunView:
        return replace(view, run=self._places.join(tx, view.run, sweep))

    def _look(self, tx: Tx, run: Run, lines: Sequence[StreamLine]) -> None:
        """Let the run's sweep, if it has one, look at what it logged."""
        if lines and run.facts.sweep is not None:
            rows = ((line.number, json.loads(line.text)) for line in lines)
            self._places.note(tx, run, rows)

    def _own_item(self, tx: Tx, actor: Actor, run_id: str) -> Item | None:
        if actor.item_id is None:
            return None
        item = tx.items.get(actor.item_id)
        return item if item is not None and item.run_id == run_id else None


def _ended(run: Run, exit_code: int) -> RunState:
    if exit_code == 0:
        return RunState.FINISHED
    return RunState.FAILED if run.stop_requested_at is None else RunState.STOPPED


def _checked(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return those facts that are said, each a text of a bearable length."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        if value is None:
            continue
        if name == "tags":
            if len(value) > TAGS_LIMIT:
                raise Invalid(f"a run has at most {TAGS_LIMIT} tags", field=name, value=len(value))
            found[name] = tuple(_text(name, tag) for tag in value)
        elif name == "client":
            found[name] = value
        else:
            found[name] = _text(name, value)
    return found


def _text(name: str, value: object) -> str:
    limit = TEXT_LIMIT if name in _LONG else FACT_LIMIT
    if not isinstance(value, str) or len(value) > limit:
        raise Invalid(f"{name} must be text of at most {limit} characters", field=name, value=value)
    return value
