"""What every store must do with items, leases and events; a test class inherits it.

The class that inherits gives a fixture `store`: an empty, migrated store with a running writer.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from shipway.domain.errors import Code, Exists, Invalid
from shipway.domain.ids import AgentId, ItemId, Token, UserName
from shipway.domain.item import (
    TERMINAL,
    Event,
    Failure,
    FailureClass,
    Item,
    ItemEvent,
    ItemFilter,
    Stage,
    State,
)
from shipway.service.ports import Store, Tx
from shipway.testing.store_samples import (
    AGENT,
    ENTITY,
    PROJECT,
    a_digest,
    a_move,
    a_queue,
    add,
    an_event,
    an_item,
    caught,
    error,
    filled,
    lease,
    move,
    write,
)

RACED_ITEMS = 218  # with select-then-update, eight threads made 800 leases of so many


class ItemSuite:
    """Items outside of leases."""

    def test_an_added_item_reads_back_as_it_was(self, store: Store) -> None:
        queue = write(store, lambda tx: tx.queues.insert(a_queue()))
        item = an_item(
            queue, name="naïve — 名", sweep_id="s1", priority=0, rank=0, spec='{"a":1}',
            lock_digest=a_digest(1), retry_of=ItemId("old"), idempotency_key="k", body_hash="h",
            suits_clients=True,
        )  # fmt: skip
        stored = write(store, lambda tx: add(tx, item))
        assert stored.seq > 0
        assert stored == item._replace(seq=stored.seq)
        with store.read() as tx:
            assert tx.items.get(item.id) == stored
            assert tx.items.by_key(ENTITY.upper(), "k") == stored
            assert tx.items.by_run("ADA", "Demo", item.run_id) == stored
            assert tx.items.get(ItemId("unknown")) is None
            assert tx.items.by_key(ENTITY, "other") is None
            assert tx.items.by_run(ENTITY, PROJECT, item.run_id.upper()) is None  # type: ignore[arg-type] # not an id on purpose

    def test_a_run_id_is_used_once_in_its_project(self, store: Store) -> None:
        queue, (item,) = filled(store, 1)
        again = an_item(queue, 2, run_id=item.run_id, project=PROJECT.upper())
        refused = error(store, lambda tx: add(tx, again))
        assert (refused.code, refused.details["field"]) == (Code.EXISTS, "run_id")
        other = again._replace(project="other")
        assert write(store, lambda tx: add(tx, other)).seq > item.seq

    def test_an_idempotency_key_is_used_once_by_an_entity(self, store: Store) -> None:
        queue = write(store, lambda tx: tx.queues.insert(a_queue()))
        first = an_item(queue, 1, idempotency_key="k", body_hash="h")
        write(store, lambda tx: tx.items.insert(first))
        again = an_item(queue, 2, idempotency_key="k", body_hash="h")
        assert isinstance(caught(store, lambda tx: tx.items.insert(again)), Exists)
        write(store, lambda tx: tx.items.insert(again._replace(entity="bob")))

    def test_a_refused_insert_leaves_the_transaction_usable(self, store: Store) -> None:
        queue, (item,) = filled(store, 1)

        def work(tx: Tx) -> int:
            try:
                tx.items.insert(an_item(queue, 2, run_id=item.run_id))
            except Exists:
                return tx.items.insert(an_item(queue, 3)).seq
            raise AssertionError("it was not refused")

        assert write(store, work) > item.seq

    def test_text_that_no_database_holds_is_refused(self, store: Store) -> None:
        queue = write(store, lambda tx: tx.queues.insert(a_queue()))
        for name in ("a\0b", "\ud800"):
            refused = error(store, lambda tx, n=name: tx.items.insert(an_item(queue, name=n)))
            assert isinstance(refused, Invalid)
        for spec in ("\udfff",):
            refused = error(store, lambda tx, s=spec: tx.items.insert(an_item(queue, spec=s)))
            assert isinstance(refused, Invalid)

    def test_lists_are_newest_first_and_go_on_from_a_cursor(self, store: Store) -> None:
        queue, items = filled(store, 5)
        other = write(store, lambda tx: tx.queues.insert(a_queue("other")))
        apart = write(
            store,
            lambda tx: tx.items.insert(
                an_item(other, 9, project="p9", submitted_by=UserName("bob"))
            ),
        )
        write(store, lambda tx: tx.items.amend(items[1].id, deleted_at=9))
        with store.read() as tx:
            live = [items[4], items[3], items[2], items[0]]
            assert tx.items.find(ItemFilter()) == [apart, *live]
            assert tx.items.find(ItemFilter(queue_id=queue.id)) == live
            assert tx.items.find(ItemFilter(queue_id=queue.id, limit=2)) == live[:2]
            cursor = live[1].seq
            assert tx.items.find(ItemFilter(queue_id=queue.id, before_seq=cursor)) == live[2:]
            assert tx.items.find(ItemFilter(before_seq=cursor, limit=1)) == live[2:3]
            assert tx.items.find(ItemFilter(project="P9")) == [apart]
            assert tx.items.find(ItemFilter(queue_id=other.id, project="P9")) == [apart]
            assert tx.items.find(ItemFilter(submitted_by=UserName("bob"))) == [apart]
            assert tx.items.find(ItemFilter(entity="Ada", state=State.PENDING)) == [apart, *live]
            assert tx.items.find(ItemFilter(entity="bob")) == []
            assert tx.items.find(ItemFilter(queue_id=queue.id, state=State.RUNNING)) == []
            assert tx.items.find(ItemFilter(queue_id=queue.id, submitted_by=UserName("b"))) == []

    def test_the_first_stop_request_stands(self, store: Store) -> None:
        _, (item,) = filled(store, 1)
        asked = write(
            store, lambda tx: tx.items.request_stop(item.id, by="ada", grace_s=2.5, now=7)
        )
        assert asked is not None
        assert (asked.stop_requested_at, asked.stop_requested_by) == (7, "ada")
        assert asked.stop_grace_s == 2.5
        again = write(store, lambda tx: tx.items.request_stop(item.id, by="b", grace_s=1, now=8))
        assert again is None

    def test_only_order_and_tombstone_are_amended(self, store: Store) -> None:
        _, (item,) = filled(store, 1)
        changed = write(store, lambda tx: tx.items.amend(item.id, priority=0, rank=0))
        assert changed == item._replace(priority=0, rank=0)
        gone = write(store, lambda tx: tx.items.amend(item.id, deleted_at=5))
        again = write(store, lambda tx: tx.items.amend(item.id, deleted_at=6))
        assert gone == again == item._replace(priority=0, rank=0, deleted_at=5)
        assert write(store, lambda tx: tx.items.amend(ItemId("unknown"), rank=1)) is None

    def test_those_ahead_are_counted_by_rank_and_arrival(self, store: Store) -> None:
        queue, items = filled(store, 3)
        last = write(store, lambda tx: tx.items.insert(an_item(queue, 9, rank=0, priority=0)))
        with store.read() as tx:
            assert [tx.items.count_ahead(item) for item in [*items, last]] == [1, 2, 3, 0]


class LeaseSuite:
    """The two statements that move items."""

    def test_leases_come_by_rank_and_arrival_with_tokens_in_order(self, store: Store) -> None:
        queue, items = filled(store, 3)
        write(store, lambda tx: tx.items.amend(items[2].id, rank=0))
        leased = lease(store, queue, limit=2)
        assert [item.id for item in leased] == [items[2].id, items[0].id]
        assert [item.lease_token for item in leased] == ["t1", "t2"]
        one = leased[1]
        assert (one.state, one.attempt, one.lease_agent) == (State.LEASED, 1, AGENT)
        assert (one.lease_deadline, one.lease_term, one.leased_at) == (30_000, 30_000, 3_000)
        assert [item.id for item in lease(store, queue, limit=9, first=3)] == [items[1].id]
        assert lease(store, queue, limit=9, first=20) == []

    def test_only_what_fits_is_leased(self, store: Store) -> None:
        queue, items = filled(store, 6)
        write(store, lambda tx: tx.items.amend(items[0].id, deleted_at=1))
        write(store, lambda tx: tx.items.request_stop(items[1].id, by="a", grace_s=1, now=1))
        other = write(
            store, lambda tx: tx.items.insert(an_item(queue, 11, resource="local-container"))
        )
        bobs = write(
            store, lambda tx: tx.items.insert(an_item(queue, 12, submitted_by=UserName("bob")))
        )
        assert [item.id for item in lease(store, queue, submitted_by=UserName("bob"))] == [bobs.id]
        suited = an_item(queue, 13, suits_clients=True, submitted_by=UserName("bob"))
        theirs = write(store, lambda tx: tx.items.insert(suited))
        assert not lease(store, queue, limit=9, for_clients=True, submitted_by=UserName("cay"))
        leased = lease(store, queue, limit=9, first=20, for_clients=True)
        assert [item.id for item in leased] == [theirs.id]
        both = ("local-container", "local-process", "local-process")
        leased = lease(store, queue, limit=9, first=10, resources=both)
        assert [item.id for item in leased] == [item.id for item in [*items[2:], other]]
        assert [item.lease_token for item in leased] == [f"t{number}" for number in range(10, 15)]

    def test_queues_are_looked_at_in_turn_and_paused_ones_not(self, store: Store) -> None:
        first, _ = filled(store, 1)
        second = write(store, lambda tx: tx.queues.insert(a_queue("second")))
        paused = write(store, lambda tx: tx.queues.insert(a_queue("paused")))
        for number, queue in ((5, second), (6, second), (7, paused)):
            write(store, lambda tx, n=number, q=queue: tx.items.insert(an_item(q, n)))  # type: ignore[misc] # bound now
        write(store, lambda tx: tx.queues.update(replace(paused, is_paused=True)))
        ids = (paused.id, second.id, first.id)
        leased = lease(store, first, limit=9, queue_ids=ids)
        assert [item.queue for item in leased] == ["second", "second", "default"]
        assert [item.lease_token for item in leased] == ["t1", "t2", "t3"]

    def test_items_whose_source_is_ready_pass_the_start_gate_with_their_lease(
        self, store: Store
    ) -> None:
        queue, _ = filled(store, 0)
        ready, other = '{"kind":"git","url":"a"}', '{"kind":"git","url":"b"}'
        for number, source in enumerate((ready, other, ready, ready, ready), 1):
            item = an_item(queue, number, spec=f'{{"entry_point":["x"],"source":{source}}}')
            write(store, lambda tx, item=item: tx.items.insert(item))  # type: ignore[misc] # bound now
        write(store, lambda tx: tx.items.request_stop(item.id, by="a", grace_s=1, now=1))
        leased = lease(store, queue, limit=9, starts=2, sources=('{"x":1}', ready))
        running, held = State.RUNNING, State.LEASED
        assert [item.state for item in leased] == [running, held, running, held]
        assert [item.started_at for item in leased] == [3_000, None, 3_000, None]
        terms = [(900_000, 900_000), (30_000, 30_000)] * 2
        assert [(item.lease_deadline, item.lease_term) for item in leased] == terms
        assert [item.lease_token for item in leased] == ["t1", "t2", "t3", "t4"]
        with store.read() as tx:
            assert [tx.items.get(item.id) for item in leased] == leased
        assert move(store, leased[0], Event.FINISH).state is State.FINISHED

    def test_queues_share_the_number_of_starts(self, store: Store) -> None:
        queues = [write(store, lambda tx, n=n: tx.queues.insert(a_queue(n))) for n in "ab"]  # type: ignore[misc] # bound now
        for number in range(4):
            item = an_item(queues[number % 2], number, spec='{"source":{}}')
            write(store, lambda tx, item=item: tx.items.insert(item))  # type: ignore[misc] # bound now
        ids = tuple(queue.id for queue in queues)
        leased = lease(store, queues[0], limit=9, queue_ids=ids, starts=3, sources=("{}",))
        assert [item.state for item in leased] == [State.RUNNING] * 3 + [State.LEASED]

    def test_an_item_goes_through_its_life(self, store: Store) -> None:
        queue, _ = filled(store, 1)
        (item,) = lease(store, queue)
        started = move(store, item, Event.START, handles={item.id: "h1"})
        assert (started.state, started.started_at, started.handle) == (State.RUNNING, 4_000, "h1")
        assert (started.lease_deadline, started.lease_term) == (900_000, 900_000)
        ended = move(store, started, Event.FINISH, now=5_000, exit_code=0)
        assert (ended.state, ended.ended_at, ended.exit_code) == (State.FINISHED, 5_000, 0)
        assert (ended.lease_token, ended.lease_agent, ended.lease_deadline) == (None, None, None)
        assert (ended.started_at, ended.handle, ended.attempt) == (4_000, "h1", 1)

    def test_items_that_move_alike_move_together_each_by_its_own_token(self, store: Store) -> None:
        queue, items = filled(store, 4)
        leased = lease(store, queue, limit=3)
        for item in leased[:2]:
            move(store, item, Event.START)
        tokens = {item.id: item.lease_token for item in leased}
        tokens |= {leased[1].id: Token("t3"), items[3].id: Token("t1"), ItemId("x"): Token("t1")}
        ends = replace(a_move(leased[0]._replace(state=State.RUNNING), Event.FINISH), items=tokens)
        ends = replace(ends, handles={item.id: f"h{item.seq}" for item in leased[:2]})
        moved = write(store, lambda tx: tx.leases.move(ends))
        assert [(key, one.id, one.state) for key, one in moved.items()] == [
            (leased[0].id, leased[0].id, State.FINISHED)
        ]
        with store.read() as tx:
            states = [found.state for item in items if (found := tx.items.get(item.id))]
            handles = [found.handle for item in items if (found := tx.items.get(item.id))]
        assert states == [State.FINISHED, State.RUNNING, State.LEASED, State.PENDING]
        assert handles == [f"h{leased[0].seq}", None, None, None]
        assert write(store, lambda tx: tx.leases.move(replace(ends, items={}))) == {}

    def test_a_failure_reads_back_as_it_was(self, store: Store) -> None:
        queue, _ = filled(store, 1)
        (item,) = lease(store, queue)
        failure = Failure(
            stage=Stage.RUN, failure_class=FailureClass.EXIT, reason="exit \0 \ud800",
            exit_code=3, log_tail=("a", "b"),
        )  # fmt: skip
        ended = move(store, item, Event.FAIL, failure=failure, exit_code=3)
        assert ended.failure == failure
        with store.read() as tx:
            assert tx.items.get(item.id) == ended

    def test_a_requeued_item_waits_again_and_is_counted(self, store: Store) -> None:
        queue, _ = filled(store, 1)
        (item,) = lease(store, queue)
        waiting = move(store, item, Event.REQUEUE, lost=1)
        assert (waiting.state, waiting.lost_count, waiting.attempt) == (State.PENDING, 1, 1)
        assert (waiting.lease_token, waiting.leased_at, waiting.handle) == (None, None, None)
        (again,) = lease(store, queue, first=2)
        assert (again.attempt, again.lease_token) == (2, "t2")
        started = move(store, again, Event.START)
        waiting = move(store, started, Event.REQUEUE, retries=1)
        assert (waiting.retry_count, waiting.started_at) == (1, None)

    def test_a_stale_token_changes_nothing(self, store: Store) -> None:
        queue, _ = filled(store, 1)
        (old,) = lease(store, queue)
        move(store, old, Event.REQUEUE, lost=1)
        (new,) = lease(store, queue, first=2)
        old_token = Token("t1")
        for event in (Event.START, Event.FAIL, Event.REQUEUE, Event.STOP):
            assert write(store, lambda tx, e=event: tx.leases.move(a_move(old, e))) == {}  # type: ignore[misc] # bound now
        assert write(store, lambda tx: tx.leases.pin(old.id, old_token, a_digest(1))) is None
        assert write(store, lambda tx: tx.leases.held(old.id, old_token)) is None
        assert write(store, lambda tx: tx.leases.renew({old.id: old_token}, lease_now=5)) == []
        with store.read() as tx:
            assert tx.items.get(old.id) == new

    def test_nothing_starts_after_a_stop_was_asked_for(self, store: Store) -> None:
        queue, _ = filled(store, 1)
        (item,) = lease(store, queue)
        write(store, lambda tx: tx.items.request_stop(item.id, by="ada", grace_s=1, now=1))
        assert write(store, lambda tx: tx.leases.move(a_move(item, Event.START))) == {}
        assert move(store, item, Event.STOP).state is State.STOPPED

    def test_a_terminal_state_never_changes(self, store: Store) -> None:
        queue, _ = filled(store, 3)
        for number, event in ((1, Event.FINISH), (2, Event.FAIL), (3, Event.STOP)):
            (item,) = lease(store, queue, first=number)
            started = move(store, item, Event.START)
            ended = move(store, started, event)
            assert ended.state in TERMINAL

            def attack(tx: Tx, before: Item = started, end: Item = ended) -> None:
                for again in (Event.FINISH, Event.FAIL, Event.STOP, Event.REQUEUE, Event.GIVE_UP):
                    assert tx.leases.move(a_move(before, again)) == {}
                waiting = end._replace(state=State.PENDING)
                assert tx.leases.move(a_move(waiting, Event.STOP)) == {}
                assert tx.items.request_stop(end.id, by="a", grace_s=1, now=1) is None
                assert tx.items.amend(end.id, priority=0, rank=0) == end
                assert tx.leases.renew({end.id: Token("t")}, lease_now=9) == []

            write(store, attack)
            with store.read() as tx:
                assert tx.items.get(ended.id) == ended
        assert lease(store, queue, limit=3, first=10) == []

    def test_a_pending_item_is_stopped_without_a_token(self, store: Store) -> None:
        queue, (item,) = filled(store, 1)
        stopped = move(store, item, Event.STOP)
        assert (stopped.state, stopped.attempt) == (State.STOPPED, 0)
        assert lease(store, queue) == []

    def test_a_move_that_is_no_transition_is_a_bug(self, store: Store) -> None:
        _, (item,) = filled(store, 1)
        wrong = replace(a_move(item, Event.STOP), event=Event.FINISH, after=State.FINISHED)
        assert isinstance(caught(store, lambda tx: tx.leases.move(wrong)), AssertionError)

    def test_leases_are_renewed_and_expire_in_lease_time(self, store: Store) -> None:
        queue, _ = filled(store, 3)
        leased = lease(store, queue, limit=3)
        held = {leased[0].id: Token("t1"), leased[1].id: Token("wrong"), ItemId("x"): Token("t")}
        renewed = write(store, lambda tx: tx.leases.renew(held, lease_now=50_000))
        assert [(item.id, item.lease_deadline) for item in renewed] == [(leased[0].id, 80_000)]
        assert write(store, lambda tx: tx.leases.renew({}, lease_now=50_000)) == []
        with store.read() as tx:
            assert tx.leases.expired(before=30_000, limit=9) == []
            assert [item.id for item in tx.leases.expired(before=30_001, limit=9)] == [
                leased[1].id,
                leased[2].id,
            ]
            assert len(tx.leases.expired(before=30_001, limit=1)) == 1
        assert write(store, lambda tx: tx.leases.renew_all(lease_now=100_000)) == 3
        with store.read() as tx:
            assert {item.lease_deadline for item in tx.leases.held_by(AGENT)} == {130_000}
            assert tx.leases.held_by(AgentId("agent-2")) == []

    def test_the_first_pinned_lock_stands(self, store: Store) -> None:
        queue, _ = filled(store, 1)
        (item,) = lease(store, queue)
        token = Token("t1")
        pinned = write(store, lambda tx: tx.leases.pin(item.id, token, a_digest(1)))
        again = write(store, lambda tx: tx.leases.pin(item.id, token, a_digest(2)))
        assert pinned == again == item._replace(lock_digest=a_digest(1))
        with store.read() as tx:
            assert tx.leases.held(item.id, token) == pinned

    def test_racing_agents_never_lease_an_item_twice(self, store: Store) -> None:
        """Earns its time: select-then-update shows only in a race."""
        queue, items = filled(store, RACED_ITEMS)
        start = threading.Barrier(8)

        def race(thread: int) -> list[Item]:
            start.wait()
            taken: list[Item] = []
            for turn in range(200):
                first = 100_000 * thread + 10 * turn
                got = lease(store, queue, limit=3, first=first)
                if not got:
                    break
                taken += got
            return taken

        with ThreadPoolExecutor(8) as threads:
            leased = [item for taken in threads.map(race, range(8)) for item in taken]
        assert Counter(item.id for item in leased) == Counter(item.id for item in items)
        assert len({item.lease_token for item in leased}) == RACED_ITEMS


class EventSuite:
    """What happened to items, in order."""

    def test_events_are_numbered_in_the_order_of_commits(self, store: Store) -> None:
        _, (one, two) = filled(store, 2)
        with store.read() as tx:
            assert tx.events.last_seq() == 0

        def work(tx: Tx) -> list[int]:
            tx.events.append(an_event(one, data={"loss": float("inf"), "text": "\0\ud800"}))
            tx.events.append(an_event(two))
            return [event.seq for event in tx.events.of_item(one.id)]

        assert write(store, work) == [0]
        write(store, lambda tx: tx.events.append(an_event(one, "lease")))
        with store.read() as tx:
            assert [event.seq for event in tx.events.after(0, limit=9)] == [1, 2, 3]
            assert [event.seq for event in tx.events.after(1, limit=1)] == [2]
            assert tx.events.last_seq() == 3
            first, last = tx.events.of_item(one.id)
            assert first.data == {"loss": float("inf"), "text": "\0\ud800"}
            assert tx.events.of_item(one.id, after_seq=first.seq) == [last]
            assert last._replace(seq=0) == an_event(one, "lease")

    def test_subscribers_get_the_events_of_a_commit_after_it(self, store: Store) -> None:
        _, (item,) = filled(store, 1)
        got: list[tuple[Sequence[ItemEvent], int]] = []
        heard = threading.Event()

        def take(events: Sequence[ItemEvent]) -> None:
            with store.read() as tx:
                got.append((events, tx.events.last_seq()))
            heard.set()

        store.subscribe(take)
        write(store, lambda tx: tx.events.append(an_event(item)))
        assert heard.wait(30)
        ((events, seen),) = got
        assert [event.seq for event in events] == [1]
        assert seen == 1

    def test_events_of_failed_work_are_neither_stored_nor_published(self, store: Store) -> None:
        _, (item,) = filled(store, 1)
        got: list[ItemEvent] = []
        store.subscribe(got.extend)

        def work(tx: Tx) -> None:
            tx.events.append(an_event(item))
            raise Exists("no")

        assert isinstance(caught(store, work), Exists)
        write(store, lambda tx: tx.events.append(an_event(item, "lease")))
        write(store, lambda tx: tx.clock.now())  # the answer to it comes after what is published
        assert [event.event for event in got] == ["lease"]
