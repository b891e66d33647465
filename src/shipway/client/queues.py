"""The routes of queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shipway.client.wire import Wire, segment


class Queues:
    """`/queues`; a queue is named within its entity and its project."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def create(self, queue: Mapping[str, Any]) -> dict[str, Any]:
        """Create a queue: `{name, resource, …}`."""
        return self._wire.post("/queues", queue)

    def find(self, *, entity: str | None = None) -> list[dict[str, Any]]:
        """Return the queues that this key may see."""
        found: list[dict[str, Any]] = self._wire.get("/queues", {"entity": entity})["items"]
        return found

    def get(
        self, name: str, *, entity: str | None = None, project: str | None = None
    ) -> dict[str, Any]:
        """Return a queue with its counts of items by state."""
        return self._wire.get(_path(name), {"entity": entity, "project": project})

    def update(
        self,
        name: str,
        changes: Mapping[str, Any],
        *,
        entity: str | None = None,
        project: str | None = None,
    ) -> dict[str, Any]:
        """Change a queue's settings."""
        return self._send("PATCH", _path(name), entity, project, changes)

    def pause(
        self, name: str, *, entity: str | None = None, project: str | None = None
    ) -> dict[str, Any]:
        """Let nothing more be leased from it; what runs goes on."""
        return self._send("POST", _path(name) + "/pause", entity, project, {})

    def resume(
        self, name: str, *, entity: str | None = None, project: str | None = None
    ) -> dict[str, Any]:
        """Let items be leased from it again."""
        return self._send("POST", _path(name) + "/resume", entity, project, {})

    def delete(
        self, name: str, *, entity: str | None = None, project: str | None = None
    ) -> dict[str, Any]:
        """Delete a queue that has no live items."""
        return self._send("DELETE", _path(name), entity, project, None)

    def _send(
        self,
        method: str,
        path: str,
        entity: str | None,
        project: str | None,
        body: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        query = {"entity": entity, "project": project}
        reply = self._wire.send(method, path, query=query, body=body)
        answer: dict[str, Any] = reply.json() if reply.data else {}
        return answer


def _path(name: str) -> str:
    return f"/queues/{segment(name)}"
