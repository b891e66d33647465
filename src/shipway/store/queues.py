"""Rows of queues."""

from __future__ import annotations

from dataclasses import replace

from shipway.domain.errors import Conflict, Exists
from shipway.domain.ids import QueueId
from shipway.domain.item import State
from shipway.domain.names import fold
from shipway.domain.queue import Queue
from shipway.store.rows import check_text, to_json, to_queue
from shipway.store.session import Row, Session


class Queues:
    """The port `QueueRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, queue: Queue) -> Queue:
        """Store a new queue and return it with its id; `Exists` for a known name."""
        check_text(
            entity=queue.entity, project=queue.project, name=queue.name,
            resource=queue.resource, created_by=queue.created_by,
        )  # fmt: skip
        names = {
            "entity": queue.entity,
            "entity_folded": fold(queue.entity),
            "project": queue.project,
            "project_folded": fold(queue.project),
            "name": queue.name,
            "created_at": queue.created_at,
            "created_by": queue.created_by,
            "is_personal": queue.is_personal,
        }
        row = self._session.one("insert_queue", names | _settings(queue))
        if row is None:
            raise Exists(
                f"queue {queue.name!r} is there already in {queue.entity}/{queue.project}",
                details={"field": "name", "value": queue.name},
            )
        return replace(queue, id=QueueId(row[0]))

    def get(self, queue_id: QueueId) -> Queue | None:
        """Return a queue by its id."""
        return _maybe(self._session.one("queue", {"id": queue_id}))

    def by_name(self, entity: str, project: str, name: str) -> Queue | None:
        """Return a queue by its name; entity and project are matched without case."""
        params = {"entity_folded": fold(entity), "project_folded": fold(project), "name": name}
        return _maybe(self._session.one("queue_by_name", params))

    def find(self, *, entity: str | None = None) -> list[Queue]:
        """Return queues in order of entity, project and name."""
        params = {"entity": None if entity is None else fold(entity)}
        return [to_queue(row) for row in self._session.all("find_queues", params)]

    def update(self, queue: Queue) -> Queue | None:
        """Replace the changeable columns; None for an unknown queue."""
        check_text(resource=queue.resource)
        return _maybe(self._session.one("update_queue", {"id": queue.id} | _settings(queue)))

    def delete(self, queue_id: QueueId) -> None:
        """Delete a queue that has no live items; ended ones keep its name."""
        if self._session.one("delete_queue", {"id": queue_id}) is not None:
            return
        queue = self.get(queue_id)
        if queue is not None:
            raise Conflict(f"queue {queue.name!r} has items that have not ended: stop them first")

    def counts(self, queue_id: QueueId) -> dict[State, int]:
        """Count its items by state, tombstones left out."""
        rows = self._session.all("count_items", {"queue_id": queue_id})
        found = {State(state): int(count) for state, count in rows}
        return {state: found.get(state, 0) for state in State}


def _settings(queue: Queue) -> dict[str, object]:
    return {
        "resource": queue.resource,
        "config": to_json(queue.config),
        "template_variables": to_json(queue.template_variables),
        "has_priorities": queue.has_priorities,
        "is_critical_for_admins": queue.is_critical_for_admins,
        "is_paused": queue.is_paused,
        "on_lost": queue.on_lost.value,
        "on_lost_retries": queue.on_lost_retries,
        "lost_after_s": queue.lost_after_s,
        "max_attempts": queue.max_attempts,
        "external_links": to_json(queue.external_links),
    }


def _maybe(row: Row | None) -> Queue | None:
    return None if row is None else to_queue(row)
