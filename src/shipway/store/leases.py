"""Rows of items under lease: the two statements that move them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from shipway.domain.ids import AgentId, Digest, ItemId, Token
from shipway.domain.item import BEFORE_START, HELD, TERMINAL, Event, Item, State, after
from shipway.domain.lease import LeaseQuery, Move, Moved
from shipway.store.rows import check_text, failure_json, to_item, to_moved
from shipway.store.session import Row, Session


class Leases:
    """The port `LeaseRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lease(self, query: LeaseQuery) -> list[Item]:
        """Lease the first items that fit, by (rank, seq); the only place where tokens get in."""
        limit = min(query.limit, len(query.tokens))
        leased: list[Item] = []
        starts = query.starts
        resources = json.dumps(sorted(set(query.resources)))
        sources = json.dumps(query.sources)
        for queue_id in query.queue_ids:
            if len(leased) >= limit:
                break
            rows = self._session.all(
                "lease_items",
                {
                    "queue_id": queue_id,
                    "resources": resources,
                    "submitted_by": query.submitted_by,
                    "for_clients": query.for_clients,
                    "limit": limit - len(leased),
                    "starts": starts,
                    "sources": sources,
                    "tokens": json.dumps(query.tokens[len(leased) : limit]),
                    "agent": query.agent,
                    "deadline": query.deadline,
                    "term": query.term,
                    "now": query.now,
                },
            )
            items = [to_item(row) for row in rows]
            items.sort(key=_order)
            starts -= sum(item.state is State.RUNNING for item in items)
            leased += items
        return leased

    def move(self, move: Move) -> dict[ItemId, Moved]:
        """Make a guarded move; what state or token are not as they were of stays: lease lost."""
        assert after(move.before, move.event) is move.after, f"no such move: {move}"
        assert move.event is not Event.LEASE, "`lease` is the only place where tokens get in"
        is_held = move.before in HELD
        assert all((token is not None) == is_held for token in move.items.values()), (
            "a held item has a token"
        )
        check_text(handle="".join(move.handles.values()))
        rows = self._session.all(
            "move_items",
            {
                "held": json.dumps({item: token or "" for item, token in move.items.items()}),
                "before": move.before.value,
                "after": move.after.value,
                "now": move.now,
                "is_start": move.event is Event.START,
                "unless_stopped": move.unless_stopped or move.event is Event.START,
                "is_requeue": move.event is Event.REQUEUE,
                "is_before_start": move.failure is not None and move.failure.stage in BEFORE_START,
                "is_end": move.after in TERMINAL,
                "lease_now": move.lease_now,
                "handles": json.dumps(dict(move.handles)),
                "exit_code": move.exit_code,
                "failure": failure_json(move.failure),
                "lost": move.lost,
                "retries": move.retries,
            },
        )
        return {row[0]: to_moved(row) for row in rows}

    def renew(self, agent_token: Mapping[ItemId, Token], *, lease_now: int) -> list[Item]:
        """Give each still held lease a new full term; return the items that are still held."""
        if not agent_token:
            return []
        params = {"held": json.dumps(dict(agent_token)), "lease_now": lease_now}
        items = [to_item(row) for row in self._session.all("renew_leases", params)]
        items.sort(key=_arrival)
        return items

    def renew_all(self, *, lease_now: int) -> int:
        """Give every live lease a full new term; return how many."""
        return len(self._session.all("renew_all_leases", {"lease_now": lease_now}))

    def expired(self, *, before: int, limit: int) -> list[Item]:
        """Return held items whose deadline in lease time is before this."""
        params = {"before": before, "limit": limit}
        return [to_item(row) for row in self._session.all("expired_items", params)]

    def held_by(self, agent: AgentId) -> list[Item]:
        """Return the items that this agent holds."""
        return [to_item(row) for row in self._session.all("items_held_by", {"agent": agent})]

    def pin(self, item_id: ItemId, token: Token, lock: Digest) -> Item | None:
        """Pin the resolved lock; None when the token is not the lease's."""
        params = {"id": item_id, "token": token, "lock": lock}
        return _maybe(self._session.one("pin_lock", params))

    def held(self, item_id: ItemId, token: Token) -> Item | None:
        """Return the item if this token is its lease's; for writes on behalf of a lease."""
        return _maybe(self._session.one("held_item", {"id": item_id, "token": token}))


def _order(item: Item) -> tuple[int, int]:
    return item.rank, item.seq


def _arrival(item: Item) -> int:
    return item.seq


def _maybe(row: Row | None) -> Item | None:
    return None if row is None else to_item(row)
