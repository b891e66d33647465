"""Shows runs, and takes what they report: config, summary, history, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Forbidden, Invalid, LeaseLost, NotFound
from shipway.domain.ids import Digest, RunId, UserName, is_digest
from shipway.domain.item import HELD, Item
from shipway.domain.run import Run, RunFile, RunState, is_clean_path, state_of
from shipway.service.access import READERS, WRITERS, check_sees, missing, require
from shipway.service.ports import Tx
from shipway.service.sweep_places import SweepPlaces

LIST_LIMIT = 1_000
HISTORY_LIMIT = 10_000  # rows in one answer
ROWS_LIMIT = 1_000  # rows in one report


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run with what its item says of it."""

    run: Run
    state: RunState
    item: Item | None

    @property
    def exit_code(self) -> int | None:
        """The program's exit code, from whoever saw its end."""
        return self.run.exit_code if self.item is None else self.item.exit_code

    @property
    def user(self) -> UserName | None:
        """Who made it; None for one of an earlier version."""
        return self.run.created_by if self.item is None else self.item.submitted_by

    @property
    def sweep(self) -> str | None:
        """The id of the sweep that it belongs to."""
        named = None if self.item is None else self.item.sweep_id
        return self.run.facts.sweep or named

    @property
    def is_stop_requested(self) -> bool:
        """Whether somebody asked for its end."""
        return (self.run if self.item is None else self.item).stop_requested_at is not None


class Runs:
    """Use cases of runs."""

    def __init__(self, *, places: SweepPlaces) -> None:
        self._places = places

    def get(self, tx: Tx, actor: Actor, entity: str, project: str, run_id: str) -> RunView:
        """Return a run; one whose item no agent took yet has not come to be."""
        path = f"run {entity}/{project}/{run_id}"
        check_sees(actor, entity, path)
        run = tx.runs.get(entity, project, RunId(run_id))
        if run is None or run.deleted_at is not None:
            raise NotFound(missing(path))
        view = view_of(tx, run)
        if view is None:
            raise NotFound(f"{missing(path)} yet: its item {run.item_id} waits in its queue")
        if actor.role is Role.JOB and run.item_id != actor.item_id:
            raise NotFound(missing(path))
        return view

    def find(
        self, tx: Tx, actor: Actor, *, entity: str | None, project: str | None,
        before_seq: int | None = None, limit: int = 100,
    ) -> list[RunView]:  # fmt: skip
        """Return the runs that have come to be, newest first."""
        require(actor, READERS, "list runs")
        if actor.role is not Role.ADMIN:
            if entity is not None:
                check_sees(actor, entity, f"entity {entity!r}")
            entity = actor.entity
        runs = tx.runs.find(
            entity=entity, project=project, before_seq=before_seq, limit=min(limit, LIST_LIMIT)
        )
        views = [view_of(tx, run) for run in runs]
        return [view for view in views if view is not None]

    def history(
        self, tx: Tx, actor: Actor, view: RunView, *, after: int = 0, limit: int = 1_000
    ) -> list[dict[str, Any]]:
        """Return rows of a run's history in the order in which they were logged."""
        check_sees(actor, view.run.entity, "run")
        return tx.runs.history(view.run.seq, after=after, limit=min(limit, HISTORY_LIMIT))

    def files(self, tx: Tx, actor: Actor, view: RunView) -> list[RunFile]:
        """Return the files that a run saved."""
        check_sees(actor, view.run.entity, "run")
        return tx.runs.files(view.run.seq)

    def update(
        self, tx: Tx, actor: Actor, view: RunView, *,
        config: Mapping[str, Any] | None, summary: Mapping[str, Any] | None,
    ) -> Run:  # fmt: skip
        """Merge values into a run's config and summary."""
        self.check_writes(tx, actor, view.run)
        return merge(tx, view.run, config=config or {}, summary=summary or {})

    def add_history(
        self, tx: Tx, actor: Actor, view: RunView, rows: Sequence[Mapping[str, Any]]
    ) -> int:
        """Append rows to a run's history and return how many it has now."""
        self.check_writes(tx, actor, view.run)
        if len(rows) > ROWS_LIMIT:
            raise Invalid(f"at most {ROWS_LIMIT} rows a call", field="rows", value=len(rows))
        tx.runs.add_history(view.run.seq, rows)
        self._places.note(tx, view.run, enumerate(rows, view.run.history_size))
        return view.run.history_size + len(rows)

    def check_writes(self, tx: Tx, actor: Actor, run: Run) -> None:
        """Raise unless the actor may write to a run now."""
        if actor.role is Role.JOB and run.item_id != actor.item_id:
            raise NotFound(missing("run"))
        if actor.item_id is not None and run.item_id == actor.item_id:
            item = tx.items.get(actor.item_id)
            if item is None:
                raise NotFound(missing("run"))
            # The server remembers keys for seconds, in which a lease may end.
            if item.state not in HELD or item.attempt != actor.attempt:
                raise LeaseLost(f"attempt {actor.attempt} of item {item.id} has ended")
            return
        if actor.role not in WRITERS:
            raise Forbidden(f"a key with the role {actor.role} may not write to runs")


def item_of_run(tx: Tx, actor: Actor, path: str) -> Item:
    """Return the item behind `entity/project/id` or `entity/project/runs/id`."""
    parts = [part for part in path.split("/") if part]
    if len(parts) == 4 and parts[2] == "runs":
        del parts[2]
    if len(parts) != 3:
        raise Invalid(f"{path!r} is no run: write entity/project/runs/id", field="uri", value=path)
    entity, project, run_id = parts
    what = f"run {entity}/{project}/{run_id}"
    check_sees(actor, entity, what)
    item = tx.items.by_run(entity, project, RunId(run_id))
    if item is None:
        raise NotFound(missing(what), details={"field": "uri", "value": path})
    return item


def merge(tx: Tx, run: Run, *, config: Mapping[str, Any], summary: Mapping[str, Any]) -> Run:
    """Merge values into a run's config and summary, key by key at the top."""
    changed = replace(run, config={**run.config, **config}, summary={**run.summary, **summary})
    tx.runs.update(run.seq, config=changed.config, summary=changed.summary)
    return changed


def check_file(path: object, digest: object, size: object, *, at: int) -> RunFile:
    """Return a run's file, its path checked; raise `Invalid` otherwise."""
    if not is_clean_path(path):
        raise Invalid(
            f"path {path!r} is not a relative path without '..'", field="path", value=path
        )
    if not isinstance(digest, str) or not is_digest(digest):
        raise Invalid(f"digest {digest!r} is not a SHA-256 in hex", field="digest", value=digest)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Invalid(f"size {size!r} is not a number of bytes", field="size", value=size)
    return RunFile(path=str(path), digest=Digest(digest), size=size, at=at)


def view_of(tx: Tx, run: Run) -> RunView | None:
    """Return a run with its item; None before it has come to be."""
    item = tx.items.get(run.item_id) if run.item_id is not None else None
    if item is None:
        return RunView(run=run, state=run.state or RunState.FINISHED, item=None)
    state = state_of(item, run) or run.state  # a sweep's run is there before its launch
    return None if state is None else RunView(run=run, state=state, item=item)
