"""The routes of sweeps."""

from __future__ import annotations

from typing import Any

from shipway.client.wire import Wire, segment


class Sweeps:
    """`/sweeps`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def find(
        self, *, entity: str, project: str, cursor: str | None = None, limit: int | None = None
    ) -> dict[str, Any]:  # fmt: skip
        """Return a page of a project's sweeps, newest first: `{items, next}`."""
        query = {"entity": entity, "project": project, "cursor": cursor, "limit": limit}
        return self._wire.get("/sweeps", query)

    def get(self, entity: str, project: str, sweep_id: str) -> dict[str, Any]:
        """Return a sweep."""
        return self._wire.get(_path(entity, project, sweep_id))

    def runs(
        self, entity: str, project: str, sweep_id: str, *, after: int = 0, limit: int | None = None
    ) -> dict[str, Any]:
        """Return a sweep's runs after so many: `{items, next}`."""
        query = {"after": after, "limit": limit}
        return self._wire.get(_path(entity, project, sweep_id) + "/runs", query)

    def set_state(self, entity: str, project: str, sweep_id: str, state: str) -> dict[str, Any]:
        """Let a sweep go on (`running`), pause (`paused`) or end (`finished`, `canceled`)."""
        found: dict[str, Any] = self._wire.send(
            "PATCH", _path(entity, project, sweep_id), body={"state": state}
        ).json()
        return found


def _path(entity: str, project: str, sweep_id: str) -> str:
    return f"/sweeps/{segment(entity)}/{segment(project)}/{segment(sweep_id)}"
