"""The routes of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from shipway.client.wire import Wire, segment


class Runs:
    """`/runs`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def find(
        self,
        *,
        project: str | None = None,
        entity: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Return a page of runs, newest first: `{items, next}`."""
        query = {"project": project, "entity": entity, "cursor": cursor, "limit": limit}
        return self._wire.get("/runs", query)

    def get(self, entity: str, project: str, run_id: str) -> dict[str, Any]:
        """Return a run."""
        return self._wire.get(_path(entity, project, run_id))

    def history(
        self, entity: str, project: str, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> dict[str, Any]:
        """Return rows of the history after so many: `{items, next}`."""
        query = {"after": after, "limit": limit}
        return self._wire.get(_path(entity, project, run_id) + "/history", query)

    def console(
        self, entity: str, project: str, run_id: str, *, after: int = 0
    ) -> dict[str, Any]:  # fmt: skip
        """Return lines that a run's own client saw: `{items, next}`."""
        return self._wire.get(_path(entity, project, run_id) + "/console", {"after": after})

    def stop(self, entity: str, project: str, run_id: str) -> dict[str, Any]:
        """Ask for a run's end."""
        found: dict[str, Any] = self._wire.send(
            "POST", _path(entity, project, run_id) + "/stop", body={}
        ).json()
        return found

    def files(self, entity: str, project: str, run_id: str) -> list[dict[str, Any]]:
        """Return the run's files: `{path, digest, size, at}`."""
        found: list[dict[str, Any]] = self._wire.get(_path(entity, project, run_id) + "/files")[
            "items"
        ]
        return found

    def file(self, entity: str, project: str, run_id: str, path: str) -> bytes:
        """Return a file's bytes."""
        address = f"{_path(entity, project, run_id)}/files/{quote(path)}"
        headers = {"Accept": "application/octet-stream"}
        return self._wire.send("GET", address, headers=headers).data

    def update(
        self,
        entity: str,
        project: str,
        run_id: str,
        *,
        config: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Merge values into the run's config or summary."""
        body = {"config": config, "summary": summary}
        given = {name: value for name, value in body.items() if value is not None}
        found: dict[str, Any] = self._wire.send(
            "PATCH", _path(entity, project, run_id), body=given
        ).json()
        return found

    def add_history(
        self, entity: str, project: str, run_id: str, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Append rows to the history; sent once only, as a repeated row would count twice."""
        made: dict[str, Any] = self._wire.send(
            "POST",
            _path(entity, project, run_id) + "/history",
            body={"rows": list(rows)},
            patience_s=0,
        ).json()
        return made


def _path(entity: str, project: str, run_id: str) -> str:
    return f"/runs/{segment(entity)}/{segment(project)}/{segment(run_id)}"
