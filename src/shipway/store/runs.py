"""Rows of runs with what they report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shipway.domain.errors import Exists
from shipway.domain.ids import RunId
from shipway.domain.names import fold
from shipway.domain.run import Run, RunFile
from shipway.store.items import NEWEST
from shipway.store.rows import check_text, to_file, to_json, to_run
from shipway.store.session import Session

STEP_LIMIT = (1 << 63) - 1  # what a column holds


class Runs:
    """The port `RunRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, run: Run) -> Run:
        """Store a new run; `Exists` for an id that its project knows."""
        check_text(id=run.id, entity=run.entity, project=run.project, name=run.name)
        row = self._session.one(
            "insert_run",
            {
                "id": run.id,
                "entity": run.entity,
                "entity_folded": fold(run.entity),
                "project": run.project,
                "project_folded": fold(run.project),
                "name": run.name,
                "item_id": run.item_id,
                "created_at": run.created_at,
                "config": to_json(run.config),
                "summary": to_json(run.summary),
                "state": run.state,
                "facts": to_json(run.facts.to_json()),
                "created_by": run.created_by,
                "heard_at": run.heard_at,
                "deadline": run.deadline,
                "is_hidden": run.is_hidden,
            },
        )
        if row is None:
            raise Exists(
                f"run id {run.id!r} is used already in {run.entity}/{run.project}",
                details={"field": "run_id", "value": run.id},
            )
        return replace(run, seq=row[0])

    def get(self, entity: str, project: str, run_id: RunId) -> Run | None:
        """Return a run; entity and project are matched without case."""
        params = {"entity_folded": fold(entity), "project_folded": fold(project), "id": run_id}
        row = self._session.one("run", params)
        return None if row is None else to_run(row)

    def find(
        self, *, entity: str | None, project: str | None, before_seq: int | None, limit: int
    ) -> list[Run]:
        """Return runs, newest first."""
        params = {
            "entity": None if entity is None else fold(entity),
            "project": None if project is None else fold(project),
            "before_seq": NEWEST if before_seq is None else before_seq,
            "limit": limit,
        }
        return [to_run(row) for row in self._session.all("find_runs", params)]

    def update(self, seq: int, *, config: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Replace config and summary as a whole."""
        params = {"seq": seq, "config": to_json(config), "summary": to_json(summary)}
        self._session.run("update_run", params)

    def add_history(self, seq: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows of the history; NaN and Infinity allowed."""
        if not rows:
            return
        texts = [(to_json(row), _step(row)) for row in rows]
        grown = self._session.one("grow_history", {"seq": seq, "count": len(texts)})
        assert grown is not None, f"no run has seq {seq}"
        first = grown[0] - len(texts)
        self._session.many(
            "insert_history",
            [
                {"run_seq": seq, "number": number, "values_json": text, "step": step}
                for number, (text, step) in enumerate(texts, first)
            ],
        )

    def history(self, seq: int, *, after: int, limit: int) -> list[dict[str, Any]]:
        """Return rows of the history after so many, in order."""
        params = {"run_seq": seq, "after": after, "limit": limit}
        return [json.loads(row[0]) for row in self._session.all("history", params)]

    def add_file(self, seq: int, file: RunFile) -> None:
        """Add or replace a file."""
        check_text(path=file.path)
        params = {
            "run_seq": seq,
            "path": file.path,
            "digest": file.digest,
            "size": file.size,
            "at": file.at,
            "checksum": file.md5,
        }
        self._session.run("put_run_file", params)

    def files(self, seq: int) -> list[RunFile]:
        """Return the files in order of path."""
        return [to_file(row) for row in self._session.all("run_files", {"run_seq": seq})]


def _step(row: Mapping[str, Any]) -> int | None:
    step = row.get("_step")
    if not isinstance(step, int) or isinstance(step, bool):
        return None
    return step if abs(step) <= STEP_LIMIT else None
