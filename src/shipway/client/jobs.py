"""The routes of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shipway.client.wire import Wire, segment


class Jobs:
    """`/jobs`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def create(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Store the next version of a job: `{name, kind, source, …}`."""
        return self._wire.post("/jobs", job)

    def find(
        self, *, entity: str | None = None, project: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the latest version of each job."""
        query = {"entity": entity, "project": project}
        found: list[dict[str, Any]] = self._wire.get("/jobs", query)["items"]
        return found

    def get(self, entity: str, project: str, name: str, alias: str = "latest") -> dict[str, Any]:
        """Return one version of a job."""
        parts = f"{segment(entity)}/{segment(project)}/{segment(name)}:{segment(alias)}"
        return self._wire.get(f"/jobs/{parts}")
