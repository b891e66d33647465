"""What every store must do with all rows beside items; a test class inherits it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from shipway.domain.actor import Session
from shipway.domain.agent import AgentState
from shipway.domain.errors import Conflict, Exists, Invalid
from shipway.domain.ids import AgentId, ItemId, KeyId, QueueId, RunId, UserName
from shipway.domain.item import Event, Item, State
from shipway.domain.queue import OnLost, Queue
from shipway.domain.run import RunFile
from shipway.service.ports import Store
from shipway.testing.store_samples import (
    ENTITY,
    PROJECT,
    a_chunk,
    a_digest,
    a_key,
    a_lease_query,
    a_move,
    a_queue,
    a_run,
    a_user,
    an_agent,
    an_item,
    write,
)


class QueueSuite:
    """Queues."""

    def test_a_queue_reads_back_as_it_was(self, store: Store) -> None:
        queue = a_queue(
            config={"resource_args": {"x": [1, 2.5, None]}}, template_variables={"v": {}},
            has_priorities=True, is_critical_for_admins=True, on_lost=OnLost.RETRY,
            on_lost_retries=3, lost_after_s=60, max_attempts=9, created_at=5, created_by="ada",
            external_links={"wiki": "https://example.org/"}, is_personal=True,
        )  # fmt: skip
        stored = write(store, lambda tx: tx.queues.insert(queue))
        assert stored == replace(queue, id=stored.id)
        with store.read() as tx:
            assert tx.queues.get(stored.id) == stored
            assert tx.queues.by_name("ADA", "DEMO", "default") == stored
            assert tx.queues.by_name(ENTITY, PROJECT, "Default") is None
            assert tx.queues.get(QueueId(99)) is None

    def test_a_queue_name_is_used_once(self, store: Store) -> None:
        write(store, lambda tx: tx.queues.insert(a_queue()))
        error = store.write(lambda tx: tx.queues.insert(a_queue(entity="ADA"))).exception(30)
        assert isinstance(error, Exists)

    def test_queues_are_listed_in_order(self, store: Store) -> None:
        for name, entity in (("b", "zoe"), ("b", "ada"), ("a", "ada")):
            queue = a_queue(name, entity=entity)
            write(store, lambda tx, q=queue: tx.queues.insert(q))  # type: ignore[misc] # bound now
        with store.read() as tx:
            assert [(q.entity, q.name) for q in tx.queues.find()] == [
                ("ada", "a"),
                ("ada", "b"),
                ("zoe", "b"),
            ]
            assert [queue.name for queue in tx.queues.find(entity="ZOE")] == ["b"]

    def test_settings_change_but_names_do_not(self, store: Store) -> None:
        queue = write(store, lambda tx: tx.queues.insert(a_queue()))
        changed = replace(queue, config={"a": 1}, is_paused=True, max_attempts=2)
        asked = replace(changed, name="other")
        assert write(store, lambda tx: tx.queues.update(asked)) == changed
        unknown = replace(queue, id=QueueId(99))
        assert write(store, lambda tx: tx.queues.update(unknown)) is None

    def test_a_queue_with_live_items_stays(self, store: Store) -> None:
        queue = write(store, lambda tx: tx.queues.insert(a_queue()))
        item = write(store, lambda tx: tx.items.insert(an_item(queue)))
        error = store.write(lambda tx: tx.queues.delete(queue.id)).exception(30)
        assert isinstance(error, Conflict)
        write(store, lambda tx: tx.leases.move(a_move(item, Event.STOP)))
        with store.read() as tx:
            assert tx.queues.counts(queue.id)[State.STOPPED] == 1
            assert sum(tx.queues.counts(queue.id).values()) == 1
        write(store, lambda tx: tx.queues.delete(queue.id))
        write(store, lambda tx: tx.queues.delete(queue.id))
        again = write(store, lambda tx: tx.queues.insert(a_queue()))
        assert again.id != queue.id
        with store.read() as tx:
            stopped = tx.items.get(item.id)
            assert stopped is not None
            assert stopped.queue == "default"


class RunSuite:
    """Runs with what they report."""

    def test_a_run_reads_back_as_it_was(self, store: Store) -> None:
        run = a_run(name="first \N{ROCKET}", config={"lr": 0.1}, summary={"x": "a\0"})
        stored = write(store, lambda tx: tx.runs.insert(run))
        assert stored == replace(run, seq=stored.seq)
        with store.read() as tx:
            assert tx.runs.get("ADA", "DEMO", run.id) == stored
            assert tx.runs.get(ENTITY, PROJECT, RunId("other")) is None
        error = store.write(lambda tx: tx.runs.insert(replace(run, project="Demo"))).exception(30)
        assert isinstance(error, Exists)

    def test_runs_are_listed_newest_first(self, store: Store) -> None:
        runs = [
            write(store, lambda tx, n=number: tx.runs.insert(a_run(n)))  # type: ignore[misc] # bound now
            for number in range(3)
        ]
        with store.read() as tx:
            newest = tx.runs.find(entity="ADA", project=None, before_seq=None, limit=2)
            assert newest == [runs[2], runs[1]]
            rest = tx.runs.find(entity=None, project="Demo", before_seq=runs[1].seq, limit=9)
            assert rest == [runs[0]]
            assert tx.runs.find(entity=None, project="x", before_seq=None, limit=9) == []

    def test_history_keeps_order_and_what_is_not_a_number(self, store: Store) -> None:
        run = write(store, lambda tx: tx.runs.insert(a_run()))
        rows: list[dict[str, Any]] = [
            {"_step": 0, "loss": math.inf},
            {"_step": 1, "loss": -math.inf, "text": "\ud800"},
        ]
        write(store, lambda tx: tx.runs.add_history(run.seq, rows))
        write(store, lambda tx: tx.runs.add_history(run.seq, []))
        write(store, lambda tx: tx.runs.add_history(run.seq, [{"loss": math.nan}]))
        with store.read() as tx:
            assert tx.runs.history(run.seq, after=0, limit=2) == rows
            (last,) = tx.runs.history(run.seq, after=2, limit=9)
            assert math.isnan(last["loss"])
            found = tx.runs.get(ENTITY, PROJECT, run.id)
            assert found is not None
            assert found.history_size == 3

    def test_config_and_summary_are_replaced(self, store: Store) -> None:
        run = write(store, lambda tx: tx.runs.insert(a_run(config={"a": 1})))
        write(store, lambda tx: tx.runs.update(run.seq, config={"b": 2}, summary={"c": 3}))
        with store.read() as tx:
            found = tx.runs.get(ENTITY, PROJECT, run.id)
            assert found == replace(run, config={"b": 2}, summary={"c": 3})

    def test_what_is_not_json_is_refused(self, store: Store) -> None:
        error = store.write(lambda tx: tx.runs.insert(a_run(config={"a": object()}))).exception(30)
        assert isinstance(error, Invalid)

    def test_a_file_saved_again_replaces_the_first(self, store: Store) -> None:
        run = write(store, lambda tx: tx.runs.insert(a_run()))
        first = RunFile(path="b/model.pt", digest=a_digest(1), size=10, at=1)
        other = RunFile(path="a.txt", digest=a_digest(2), size=1 << 40, at=2)
        for file in (first, other, replace(first, digest=a_digest(3))):
            write(store, lambda tx, f=file: tx.runs.add_file(run.seq, f))  # type: ignore[misc] # bound now
        with store.read() as tx:
            assert tx.runs.files(run.seq) == [other, replace(first, digest=a_digest(3))]


class LogSuite:
    """Which blobs make up logs."""

    def test_a_chunk_is_taken_only_where_the_log_ends(self, store: Store) -> None:
        item = _leased(store)
        tries = [(5, 5, False), (0, 10, True), (0, 10, False), (9, 2, False), (10, 5, True)]
        for offset, length, is_taken in [*tries, (15, 1, True)]:
            chunk = a_chunk(item, offset, length)
            assert write(store, lambda tx, c=chunk: tx.logs.append(c)) is is_taken  # type: ignore[misc] # bound now
        with store.read() as tx:
            assert tx.logs.size(item.id, 1, "program") == 16
            assert tx.logs.size(item.id, 1, "build") == 0
            assert tx.logs.attempts(item.id) == [(1, "program", 16)]
            every = [a_chunk(item, 0, 10), a_chunk(item, 10, 5), a_chunk(item, 15, 1)]
            for after, expected in ((0, every), (9, every), (10, every[1:]), (14, every[1:]),
                                    (15, every[2:]), (16, [])):  # fmt: skip
                assert tx.logs.chunks(item.id, 1, "program", after=after, limit=9) == expected
            assert tx.logs.chunks(item.id, 1, "program", after=0, limit=1) == every[:1]

    def test_a_log_is_sealed_once_its_attempt_is_over(self, store: Store) -> None:
        item = _leased(store)
        for offset in (0, 10):
            write(store, lambda tx, o=offset: tx.logs.append(a_chunk(item, o, 10)))  # type: ignore[misc] # bound now
        build = a_chunk(item, 0, 5, name="build")
        write(store, lambda tx: tx.logs.append(build))
        with store.read() as tx:
            assert tx.logs.unsealed(limit=9, size_limit=99) == []
        write(store, lambda tx: tx.leases.move(a_move(item, Event.REQUEUE)))
        with store.read() as tx:
            assert tx.logs.unsealed(limit=9, size_limit=99) == [(item.id, 1, "program")]
        whole = a_chunk(item, 0, 20, digest=a_digest(99))
        old = [a_digest(0), a_digest(10)]
        error = store.write(lambda tx: tx.logs.seal(whole, replaces=old[:1])).exception(30)
        assert isinstance(error, Conflict)
        write(store, lambda tx: tx.logs.seal(whole, replaces=old))
        with store.read() as tx:
            assert tx.logs.unsealed(limit=9, size_limit=99) == []
            assert tx.logs.chunks(item.id, 1, "program", after=0, limit=9) == [whole]
            assert tx.logs.attempts(item.id) == [(1, "build", 5), (1, "program", 20)]


class AgentSuite:
    """Agents."""

    def test_an_agent_that_registers_again_stays_asked_for_what_it_was(self, store: Store) -> None:
        agent = an_agent(facts={"python": ["3.11"]}, queue_ids=(QueueId(1), QueueId(2)))
        write(store, lambda tx: tx.agents.upsert(agent))
        with store.read() as tx:
            assert tx.agents.get(agent.id) == agent
            assert tx.agents.find() == [agent]
            assert tx.agents.find(queue_id=QueueId(2)) == [agent]
            assert tx.agents.find(queue_id=QueueId(12)) == []
            assert tx.agents.get(AgentId("other")) is None
        asked = write(store, lambda tx: tx.agents.set_state(agent.id, AgentState.DRAINING))
        assert asked == replace(agent, state=AgentState.DRAINING)
        again = replace(agent, version="0.2.0", created_at=9, seen_at=9)
        write(store, lambda tx: tx.agents.upsert(again))
        write(store, lambda tx: tx.agents.seen(agent.id, used_slots=2, now=10))
        with store.read() as tx:
            assert tx.agents.get(agent.id) == replace(
                again, state=AgentState.DRAINING, created_at=agent.created_at, used_slots=2,
                seen_at=10,
            )  # fmt: skip

    def test_an_agent_that_was_asked_to_end_comes_back_as_it_says(self, store: Store) -> None:
        write(store, lambda tx: tx.agents.upsert(an_agent()))
        for state in (AgentState.GONE, AgentState.STOPPING):
            write(store, lambda tx, s=state: tx.agents.set_state(an_agent().id, s))  # type: ignore[misc] # bound now
            write(store, lambda tx: tx.agents.upsert(an_agent()))
            with store.read() as tx:
                assert tx.agents.get(an_agent().id) == an_agent()
        unknown = AgentId("unknown")
        assert write(store, lambda tx: tx.agents.set_state(unknown, AgentState.GONE)) is None

    def test_an_agent_s_facts_are_replaced_as_a_whole(self, store: Store) -> None:
        write(store, lambda tx: tx.agents.upsert(an_agent(facts={"python": ["3.11"]})))
        facts = {"disk": {"free": 1, "total": 2}}
        changed = write(store, lambda tx: tx.agents.set_facts(an_agent().id, facts))
        assert changed == an_agent(facts=facts)
        with store.read() as tx:
            assert tx.agents.get(an_agent().id) == an_agent(facts=facts)
        assert write(store, lambda tx: tx.agents.set_facts(AgentId("unknown"), {})) is None


class ActorSuite:
    """Users, keys, sessions and links."""

    def test_users_are_known_by_name_without_case(self, store: Store) -> None:
        write(store, lambda tx: tx.actors.insert_user(a_user("zoe")))
        write(store, lambda tx: tx.actors.insert_user(a_user("ada")))
        error = store.write(lambda tx: tx.actors.insert_user(a_user("Ada"))).exception(30)
        assert isinstance(error, Exists)
        disabled = write(
            store, lambda tx: tx.actors.set_disabled(UserName("zoe"), is_disabled=True)
        )
        assert disabled == replace(a_user("zoe"), is_disabled=True)
        unknown = UserName("bob")
        assert write(store, lambda tx: tx.actors.set_disabled(unknown, is_disabled=True)) is None
        with store.read() as tx:
            assert tx.actors.users() == [a_user("ada"), disabled]

    def test_a_revoked_key_takes_its_sessions_and_links_along(self, store: Store) -> None:
        write(store, lambda tx: tx.actors.insert_user(a_user()))
        for key in (a_key("k1"), a_key("k2", created_at=2_000)):
            write(store, lambda tx, k=key: tx.actors.insert_key(k))  # type: ignore[misc] # bound now
        sessions = [
            Session(id_hash=f"s-{key}", key_id=KeyId(key), csrf="c", created_at=1, seen_at=1)
            for key in ("k1", "k2")
        ]
        for session in sessions:
            write(store, lambda tx, s=session: tx.sessions.insert(s))  # type: ignore[misc] # bound now
        write(store, lambda tx: tx.sessions.add_link("l", KeyId("k1"), expires_at=99))
        revoked = write(store, lambda tx: tx.actors.revoke(KeyId("k1"), now=7))
        assert revoked == replace(a_key("k1"), revoked_at=7)
        assert write(store, lambda tx: tx.actors.revoke(KeyId("k1"), now=8)) == revoked
        assert write(store, lambda tx: tx.actors.revoke(KeyId("none"), now=8)) is None
        with store.read() as tx:
            assert tx.actors.key(KeyId("k1")) == (revoked, a_user())
            assert tx.actors.key(KeyId("none")) is None
            newest_first = tx.actors.keys()
            assert [key.id for key in newest_first] == ["k2", "k1"]
            assert tx.sessions.get("s-k1") is None
            assert tx.sessions.get("s-k2") == sessions[1]
        assert write(store, lambda tx: tx.sessions.take_link("l", now=1)) is None

    def test_sessions_end_and_links_work_once(self, store: Store) -> None:
        write(store, lambda tx: tx.actors.insert_user(a_user()))
        write(store, lambda tx: tx.actors.insert_key(a_key()))
        session = Session(id_hash="s", key_id=KeyId("k1"), csrf="c", created_at=1, seen_at=1)
        write(store, lambda tx: tx.sessions.insert(session))
        write(store, lambda tx: tx.sessions.seen("s", now=5))
        with store.read() as tx:
            assert tx.sessions.get("s") == replace(session, seen_at=5)
        write(store, lambda tx: tx.sessions.delete("s"))
        write(store, lambda tx: tx.sessions.delete("s"))
        with store.read() as tx:
            assert tx.sessions.get("s") is None
        for link in ("one", "late"):
            write(
                store,
                lambda tx, n=link: tx.sessions.add_link(n, KeyId("k1"), expires_at=100),  # type: ignore[misc] # bound now
            )
        assert write(store, lambda tx: tx.sessions.take_link("one", now=99)) == "k1"
        assert write(store, lambda tx: tx.sessions.take_link("one", now=99)) is None
        assert write(store, lambda tx: tx.sessions.take_link("late", now=100)) is None

    def test_only_what_lets_somebody_in_survives_a_purge(self, store: Store) -> None:
        write(store, lambda tx: tx.actors.insert_user(a_user()))
        for key in (a_key("k1"), a_key("k2")):
            write(store, lambda tx, k=key: tx.actors.insert_key(k))  # type: ignore[misc] # bound now
        write(store, lambda tx: tx.actors.revoke(KeyId("k2"), now=7))
        for name, key_id, seen_at in (("old", "k1", 9), ("live", "k1", 10), ("out", "k2", 10)):
            session = Session(
                id_hash=name, key_id=KeyId(key_id), csrf="c", created_at=1, seen_at=seen_at
            )
            write(store, lambda tx, s=session: tx.sessions.insert(s))  # type: ignore[misc] # bound now
        for name, key_id, expires_at in (("late", "k1", 20), ("new", "k1", 21), ("off", "k2", 99)):
            write(
                store,
                lambda tx, n=name, k=key_id, at=expires_at: tx.sessions.add_link(  # type: ignore[misc] # bound now
                    n, KeyId(k), expires_at=at
                ),
            )
        assert write(store, lambda tx: tx.sessions.purge(idle_since=10, now=20, limit=1)) == 2
        assert write(store, lambda tx: tx.sessions.purge(idle_since=10, now=20, limit=9)) == 2
        assert write(store, lambda tx: tx.sessions.purge(idle_since=10, now=20, limit=9)) == 0
        with store.read() as tx:
            assert tx.sessions.get("live") is not None
            assert tx.sessions.get("old") is None
            assert tx.sessions.get("out") is None
        assert write(store, lambda tx: tx.sessions.take_link("new", now=20)) == "k1"


class BlobSuite:
    """Whose blobs are stored, and lease time."""

    def test_what_others_stored_is_missing(self, store: Store) -> None:
        digests = [a_digest(number) for number in (5, 3, 4)]
        write(store, lambda tx: tx.blobs.add("Ada", {a_digest(3): 30, a_digest(4): 40}, now=1))
        write(store, lambda tx: tx.blobs.add("bob", {a_digest(5): 50}, now=1))
        write(store, lambda tx: tx.blobs.add("ada", {a_digest(3): 31}, now=2))
        with store.read() as tx:
            assert tx.blobs.missing("ada", digests) == [a_digest(5)]
            assert tx.blobs.missing("zoe", digests) == digests
            assert tx.blobs.missing("ada", []) == []
            assert tx.blobs.size("ADA", a_digest(3)) == 30
            assert tx.blobs.size("ada", a_digest(5)) is None

    def test_lease_time_goes_on_from_where_it_stood(self, store: Store) -> None:
        with store.read() as tx:
            assert tx.clock.now() == 0
        assert write(store, lambda tx: tx.clock.advance(1_500)) == 1_500
        assert write(store, lambda tx: tx.clock.advance(0)) == 1_500
        with store.read() as tx:
            assert tx.clock.now() == 1_500


def _leased(store: Store) -> Item:
    queue: Queue = write(store, lambda tx: tx.queues.insert(a_queue()))
    item = an_item(queue)
    write(store, lambda tx: tx.items.insert(item))
    (leased,) = write(store, lambda tx: tx.leases.lease(a_lease_query(queue)))
    assert leased.id == ItemId(item.id)
    return leased
