"""Compares a store with a model of it in plain dictionaries, through random lives of items."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shipway.domain.errors import Exists
from shipway.domain.ids import AgentId, ItemId, Token, UserName
from shipway.domain.item import HELD, TERMINAL, TRANSITIONS, Event, Item, ItemFilter, State, after
from shipway.domain.lease import LeaseQuery, Move
from shipway.domain.queue import Queue
from shipway.service.ports import Tx
from shipway.store.postgres import PostgresStore
from shipway.store.session import Taken
from shipway.store.sqlite import SqliteStore
from shipway.testing.store_samples import (
    a_digest,
    a_lease_query,
    a_move,
    a_queue,
    add,
    an_event,
    an_item,
    caught,
    write,
)

EXAMPLES = 40  # machines of STEPS steps: some seconds on each kind of database
STEPS = 50
TERM = 900_000  # ms: a queue's lost_after_s unless it says otherwise
RESOURCES = ("local-process", "local-container")
USERS = (UserName("ada"), UserName("bob"))
AGENTS = (AgentId("agent-1"), AgentId("agent-2"))

TABLES = """
TRUNCATE items, item_events, queues, item_offers, logs, log_chunks, runs, run_history, run_files
RESTART IDENTITY CASCADE
"""


class StoreMachine(RuleBasedStateMachine):
    """What a store does, beside what it should."""

    def __init__(self, store: SqliteStore | PostgresStore) -> None:
        super().__init__()
        self.store = store
        self.queues: list[Queue] = []
        self.items: dict[ItemId, Item] = {}
        self.old_tokens: list[Token] = [Token("never")]
        self.events: list[tuple[ItemId, str]] = []
        self.ended: dict[ItemId, Item] = {}
        self.numbers = itertools.count(1)
        self.now = 1_000

    @initialize()
    def two_queues(self) -> None:
        if isinstance(self.store, SqliteStore):
            for table in ("items", "item_events", "queues", "runs"):
                self.store._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a name of ours
        else:
            with self.store._connect() as connection:
                connection.execute(TABLES.encode())
        for name in ("one", "two"):
            self.queues.append(write(self.store, lambda tx, n=name: tx.queues.insert(a_queue(n))))  # type: ignore[misc] # bound now
        for user in USERS:
            self.add(
                queue=0, rank=2, resource=RESOURCES[0], user=user, key=None, repeats_run=False,
                suits_clients=False,
            )  # fmt: skip

    @rule(
        queue=st.integers(0, 1),
        rank=st.integers(0, 3),
        resource=st.sampled_from(RESOURCES),
        user=st.sampled_from(USERS),
        key=st.none() | st.sampled_from(["k1", "k2", "k3"]),
        repeats_run=st.booleans(),
        suits_clients=st.booleans(),
    )
    def add(
        self, queue: int, rank: int, resource: str, user: UserName, key: str | None, *,
        repeats_run: bool, suits_clients: bool,
    ) -> None:  # fmt: skip
        item = an_item(
            self.queues[queue], next(self.numbers), rank=rank, priority=rank, resource=resource,
            submitted_by=user, idempotency_key=key, body_hash=key, suits_clients=suits_clients,
        )  # fmt: skip
        if repeats_run and self.items:
            item = item._replace(run_id=next(iter(self.items.values())).run_id)
        is_known = any(key is not None and known.idempotency_key == key for known in self._all())
        is_used = any(known.run_id == item.run_id for known in self._all())
        if is_known or is_used:
            error = caught(self.store, lambda tx: add(tx, item))
            assert isinstance(error, Exists)
            assert isinstance(error, Taken) is is_known
            return

        def work(tx: Tx) -> Item:
            stored = add(tx, item)
            tx.events.append(an_event(stored))
            return stored

        stored = write(self.store, work)
        assert stored == item._replace(seq=stored.seq)
        assert all(stored.seq > known.seq for known in self._all())
        self.items[stored.id] = stored
        self.events.append((stored.id, "enqueue"))

    @rule(
        order=st.permutations([0, 1]),
        resources=st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=3),
        user=st.none() | st.sampled_from(USERS),
        limit=st.integers(1, 4),
        agent=st.sampled_from(AGENTS),
        for_clients=st.booleans(),
    )
    def lease(
        self, order: list[int], resources: list[str], user: UserName | None, limit: int,
        agent: AgentId, *, for_clients: bool,
    ) -> None:  # fmt: skip
        self.now += 1
        query = a_lease_query(
            self.queues[0], limit=limit, first=1_000 * next(self.numbers), agent=agent,
            queue_ids=tuple(self.queues[place].id for place in order),
            resources=tuple(resources), submitted_by=user, now=self.now, deadline=self.now + 50,
            term=50, for_clients=for_clients,
        )  # fmt: skip
        leased = write(self.store, lambda tx: tx.leases.lease(query))
        expected = self._expected_leases(query, [self.queues[place] for place in order])
        assert leased == expected
        for item in leased:
            self.items[item.id] = item
            assert item.lease_token is not None
            self.old_tokens.append(item.lease_token)

    @precondition(lambda self: self.items)
    @rule(
        data=st.data(),
        event=st.sampled_from([event for event in Event if event is not Event.LEASE]),
        is_stale=st.booleans(),
        lost=st.integers(0, 1),
    )
    def move(self, data: st.DataObject, event: Event, lost: int, *, is_stale: bool) -> None:
        self.now += 1
        item = self._draw(data)
        moves = [before for (before, other) in TRANSITIONS if other is event]
        before = item.state if item.state in moves else data.draw(st.sampled_from(moves))
        token = item.lease_token
        if is_stale or (token is None) == (before in HELD):
            token = data.draw(st.sampled_from(self.old_tokens)) if before in HELD else None
        to = after(before, event)
        assert to is not None
        move = replace(
            a_move(item._replace(state=before), event), items={item.id: token}, now=self.now,
            lost=lost, retries=1 - lost, lease_now=self.now,
        )  # fmt: skip
        moved = write(self.store, lambda tx: tx.leases.move(move))
        fits = item.state is before and item.lease_token == token
        if event is Event.START and item.stop_requested_at is not None:
            fits = False
        assert list(moved) == ([item.id] if fits else [])
        if moved:
            expected = self._expected_move(item, move)
            with self.store.read() as tx:
                assert tx.items.get(item.id) == expected
            self._put(expected)

    @precondition(lambda self: self.items)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        item = self._draw(data)
        asked = write(
            self.store, lambda tx: tx.items.request_stop(item.id, by="ada", grace_s=1.5, now=7)
        )
        if item.state in TERMINAL or item.stop_requested_at is not None:
            assert asked is None
            return
        assert asked == item._replace(
            stop_requested_at=7, stop_requested_by="ada", stop_grace_s=1.5
        )
        self._put(asked)

    @precondition(lambda self: self.items)
    @rule(data=st.data(), rank=st.integers(0, 3), is_deleted=st.booleans())
    def amend(self, data: st.DataObject, rank: int, *, is_deleted: bool) -> None:
        item = self._draw(data)
        deleted_at = 9 if is_deleted else None
        changed = write(
            self.store, lambda tx: tx.items.amend(item.id, rank=rank, deleted_at=deleted_at)
        )
        expected = item if item.state in TERMINAL else item._replace(rank=rank)
        assert changed == expected._replace(deleted_at=item.deleted_at or deleted_at)
        self._put(changed)

    @rule(data=st.data(), is_stale=st.booleans())
    def renew(self, data: st.DataObject, *, is_stale: bool) -> None:
        self.now += 1
        held = {item.id: item.lease_token for item in self._all() if item.lease_token is not None}
        asked = {id: token for id, token in held.items() if data.draw(st.booleans())}
        if is_stale and self.items:
            asked[self._draw(data).id] = data.draw(st.sampled_from(self.old_tokens))
        renewed = write(self.store, lambda tx: tx.leases.renew(asked, lease_now=self.now))
        expected = [
            item._replace(lease_deadline=self.now + item.lease_term)
            for item in self._all()
            if item.lease_token is not None and asked.get(item.id) == item.lease_token
        ]
        assert renewed == expected
        for item in renewed:
            self._put(item)

    @rule()
    def renew_all(self) -> None:
        self.now += 1
        count = write(self.store, lambda tx: tx.leases.renew_all(lease_now=self.now))
        held = [item for item in self._all() if item.lease_token is not None]
        assert count == len(held)
        for item in held:
            self._put(item._replace(lease_deadline=self.now + item.lease_term))

    @precondition(lambda self: self.items)
    @rule(data=st.data(), lock=st.integers(1, 2))
    def pin(self, data: st.DataObject, lock: int) -> None:
        item = self._draw(data)
        token = data.draw(st.sampled_from([*self.old_tokens, item.lease_token or Token("none")]))
        pinned = write(self.store, lambda tx: tx.leases.pin(item.id, token, a_digest(lock)))
        if token != item.lease_token:
            assert pinned is None
            return
        assert pinned == item._replace(lock_digest=item.lock_digest or a_digest(lock))
        self._put(pinned)

    @rule(place=st.integers(0, 1), is_paused=st.booleans())
    def pause(self, place: int, *, is_paused: bool) -> None:
        queue = replace(self.queues[place], is_paused=is_paused)
        assert write(self.store, lambda tx: tx.queues.update(queue)) == queue
        self.queues[place] = queue

    @invariant()
    def reads_say_the_same(self) -> None:
        if not self.queues:
            return
        newest = sorted(self._all(), key=lambda item: -item.seq)
        live = [item for item in newest if item.deleted_at is None]
        held = [item for item in reversed(newest) if item.lease_token is not None]
        with self.store.read() as tx:
            assert tx.items.find(ItemFilter(limit=1_000)) == live
            for item in newest:
                if item.deleted_at is not None:
                    assert tx.items.get(item.id) == item
            for agent in AGENTS:
                expected = [item for item in held if item.lease_agent == agent]
                assert tx.leases.held_by(agent) == expected
            expired = tx.leases.expired(before=self.now - 20, limit=1_000)
            assert {item.id for item in expired} == {
                item.id for item in held if (item.lease_deadline or 0) < self.now - 20
            }
            for queue in self.queues:
                here = [item for item in live if item.queue_id == queue.id]
                assert tx.items.find(ItemFilter(queue_id=queue.id, limit=1_000)) == here
                counts = tx.queues.counts(queue.id)
                assert counts == {s: sum(item.state is s for item in here) for s in State}
            stored = [(event.item_id, event.event) for event in tx.events.after(0, limit=1_000)]
            assert stored == self.events

    @invariant()
    def ended_items_are_as_they_ended(self) -> None:
        for id, item in self.ended.items():
            assert self.items[id]._replace(deleted_at=item.deleted_at) == item

    def _expected_leases(self, query: LeaseQuery, queues: list[Queue]) -> list[Item]:
        chosen: list[Item] = []
        for queue in queues:
            fitting = [
                item
                for item in self._all()
                if item.state is State.PENDING
                and item.queue_id == queue.id
                and not queue.is_paused
                and item.deleted_at is None
                and item.stop_requested_at is None
                and item.resource in query.resources
                and query.submitted_by in (None, item.submitted_by)
                and (item.suits_clients or not query.for_clients)
            ]
            chosen += sorted(fitting, key=lambda item: (item.rank, item.seq))
        return [
            item._replace(
                state=State.LEASED,
                attempt=item.attempt + 1,
                lease_token=token,
                lease_agent=query.agent,
                lease_deadline=query.deadline,
                lease_term=query.term,
                leased_at=query.now,
            )
            for item, token in zip(chosen, query.tokens, strict=False)
        ]

    def _expected_move(self, item: Item, move: Move) -> Item:
        item = item._replace(state=move.after, lost_count=item.lost_count + move.lost,
            retry_count=item.retry_count + move.retries,
        )  # fmt: skip
        if move.event is Event.START:
            return item._replace(
                started_at=move.now, lease_deadline=move.lease_now + TERM, lease_term=TERM
            )
        item = item._replace(lease_token=None, lease_agent=None, lease_deadline=None, lease_term=0)
        if move.event is Event.REQUEUE:
            return item._replace(leased_at=None, started_at=None, handle=None)
        return item._replace(ended_at=move.now)

    def _all(self) -> list[Item]:
        return list(self.items.values())

    def _draw(self, data: st.DataObject) -> Item:
        return data.draw(st.sampled_from(self._all()))

    def _put(self, item: Item | None) -> None:
        assert item is not None
        self.items[item.id] = item
        if item.state in TERMINAL:
            self.ended.setdefault(item.id, item)


@pytest.fixture
def machine(store: SqliteStore | PostgresStore) -> Callable[[], StoreMachine]:
    return lambda: StoreMachine(store)


def test_a_store_does_what_its_model_does(machine: Callable[[], StoreMachine]) -> None:
    """Earns its time: it found by itself what no example test looked for."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
