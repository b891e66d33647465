"""Rows of items outside of leases."""

from __future__ import annotations

import json

from shipway.domain.errors import Exists
from shipway.domain.ids import ItemId, RunId
from shipway.domain.item import Item, ItemFilter, State
from shipway.domain.names import fold
from shipway.store.rows import check_text, to_item
from shipway.store.session import Row, Session, Taken

NEWEST = (1 << 63) - 1  # a seq after every other


class Items:
    """The port `ItemRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, item: Item) -> Item:
        """Store a new item and return it with its seq; `Exists` for a run id used before."""
        assert item.state is State.PENDING
        assert item.attempt == 0
        check_text(
            run_id=item.run_id, name=item.name, author=item.author, sweep_id=item.sweep_id,
            entity=item.entity, project=item.project, resource=item.resource,
            idempotency_key=item.idempotency_key,
        )  # fmt: skip
        row = self._session.one(
            "insert_item",
            {
                "id": item.id,
                "queue_id": item.queue_id,
                "queue": item.queue,
                "project_queue": item.project_queue,
                "entity": item.entity,
                "entity_folded": fold(item.entity),
                "project": item.project,
                "project_folded": fold(item.project),
                "run_id": item.run_id,
                "name": item.name,
                "author": item.author,
                "submitted_by": item.submitted_by,
                "sweep_id": item.sweep_id,
                "priority": int(item.priority),
                "rank": int(item.rank),
                "resource": item.resource,
                "spec": item.spec,
                "created_at": item.created_at,
                "lock_digest": item.lock_digest,
                "retry_of": item.retry_of,
                "idempotency_key": item.idempotency_key,
                "body_hash": item.body_hash,
                "suits_clients": item.suits_clients,
            },
        )
        if row is None:
            raise self._conflict(item)
        return item._replace(seq=row[0])

    def get(self, item_id: ItemId) -> Item | None:
        """Return the item, tombstones too."""
        return _maybe(self._session.one("item", {"id": item_id}))

    def by_key(self, entity: str, idempotency_key: str) -> Item | None:
        """Return the item that was added with this key, tombstones too."""
        params = {"entity_folded": fold(entity), "idempotency_key": idempotency_key}
        return _maybe(self._session.one("item_by_key", params))

    def by_run(self, entity: str, project: str, run_id: RunId) -> Item | None:
        """Return the item of a run; names are matched without case."""
        params = {"entity_folded": fold(entity), "project_folded": fold(project), "run_id": run_id}
        return _maybe(self._session.one("item_by_run", params))

    def find(self, query: ItemFilter) -> list[Item]:
        """Return live and ended items, no tombstones, newest first."""
        params = {
            "before_seq": NEWEST if query.before_seq is None else query.before_seq,
            "entity": None if query.entity is None else fold(query.entity),
            "project": None if query.project is None else fold(query.project),
            "submitted_by": query.submitted_by,
            "limit": query.limit,
        }
        if query.queue_id is None:
            params["state"] = None if query.state is None else query.state.value
            return [to_item(row) for row in self._session.all("find_items", params)]
        states = list(State) if query.state is None else [query.state]
        params |= {"queue_id": query.queue_id, "states": json.dumps(states)}
        return [to_item(row) for row in self._session.all("find_items_of_queue", params)]

    def request_stop(self, item_id: ItemId, *, by: str, grace_s: float, now: int) -> Item | None:
        """Set the request unless it is set or the item has ended; None when nothing changed."""
        params = {"id": item_id, "by": by, "grace_s": float(grace_s), "now": now}
        return _maybe(self._session.one("request_stop", params))

    def amend(
        self,
        item_id: ItemId,
        *,
        priority: int | None = None,
        rank: int | None = None,
        deleted_at: int | None = None,
    ) -> Item | None:
        """Change what may change of a row outside of its state; None for an unknown item."""
        params = {
            "id": item_id,
            "priority": None if priority is None else int(priority),
            "rank": None if rank is None else int(rank),
            "deleted_at": deleted_at,
        }
        return _maybe(self._session.one("amend_item", params))

    def count_ahead(self, item: Item) -> int:
        """Count the pending items of the same queue and resource that come before this one."""
        row = self._session.one(
            "count_ahead",
            {
                "queue_id": item.queue_id,
                "resource": item.resource,
                "rank": int(item.rank),
                "seq": item.seq,
            },
        )
        assert row is not None
        return int(row[0])

    def _conflict(self, item: Item) -> Exists:
        key = item.idempotency_key
        if key is not None and self.by_key(item.entity, key) is not None:
            return Taken(
                f"idempotency key {key!r} is used already in {item.entity}",
                details={"field": "idempotency_key", "value": key},
            )
        return Exists(
            f"run id {item.run_id!r} is used already in {item.entity}/{item.project}",
            details={"field": "run_id", "value": item.run_id},
        )


def _maybe(row: Row | None) -> Item | None:
    return None if row is None else to_item(row)
