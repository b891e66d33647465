"""Rows of runs whose own clients say how they stand."""

from __future__ import annotations

from collections.abc import Sequence

from shipway.domain.ids import ItemId
from shipway.domain.names import fold
from shipway.domain.run import Run
from shipway.store.items import NEWEST
from shipway.store.rows import check_text, to_json, to_run
from shipway.store.session import Session, Taken


class TrackedRuns:
    """The port `TrackedRunRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def amend(self, run: Run) -> None:
        """Store everything that may change of a run but its config and summary."""
        check_text(name=run.name)
        params = {
            "seq": run.seq,
            "name": run.name,
            "facts": to_json(run.facts.to_json()),
            "state": run.state,
            "exit_code": run.exit_code,
            "heard_at": run.heard_at,
            "deadline": run.deadline,
            "stop_requested_at": run.stop_requested_at,
            "deleted_at": run.deleted_at,
            "is_hidden": run.is_hidden,
        }
        self._session.run("amend_run", params)

    def hand_over(self, run: Run, item_id: ItemId) -> None:
        """Let a run be another item's from now on; `Exists` where it is one's already."""
        params = {"seq": run.seq, "before": run.item_id, "item_id": item_id}
        if self._session.one("hand_over_run", params) is None:
            raise Taken(f"run {run.id!r} is another item's by now")

    def silent(self, *, before: int, limit: int) -> Sequence[Run]:
        """Return runs that were not heard of until their deadline in lease time."""
        rows = self._session.all("silent_runs", {"before": before, "limit": limit})
        return [to_run(row) for row in rows]

    def extend(self, *, deadline: int) -> None:
        """Give every run that has a deadline at least this one."""
        self._session.run("extend_runs", {"deadline": deadline})

    def of_project(
        self, entity: str, project: str, *, after_seq: int | None = None, limit: int,
        is_newest_first: bool = False,
    ) -> Sequence[Run]:  # fmt: skip
        """Return runs of a project that have come to be, those after one of them."""
        params = {
            "entity_folded": fold(entity),
            "project_folded": fold(project),
            "from_seq": (NEWEST if is_newest_first else 0) if after_seq is None else after_seq,
            "limit": limit,
        }
        name = "newest_runs_of_project" if is_newest_first else "runs_of_project"
        return [to_run(row) for row in self._session.all(name, params)]

    def count(self, entity: str, project: str) -> int:
        """Count the runs of a project that have come to be."""
        params = {"entity_folded": fold(entity), "project_folded": fold(project)}
        row = self._session.one("count_runs_of_project", params)
        assert row is not None
        return int(row[0])

    def projects(self, entity: str, *, limit: int) -> Sequence[tuple[str, int]]:
        """Return the projects that an entity has runs in, each with the time of its first."""
        params = {"entity_folded": fold(entity), "limit": limit}
        return [(name, at) for name, at in self._session.all("projects_of_entity", params)]

    def secret(self, name: str, offered: str) -> str:
        """Return the server's own secret of that name; the first one offered stands."""
        self._session.run("put_secret", {"name": name, "value": offered})
        row = self._session.one("secret", {"name": name})
        assert row is not None
        return str(row[0])
