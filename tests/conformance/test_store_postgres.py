"""What is PostgreSQL's own: several servers, hints, lost connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from shipway.domain.errors import Conflict, Invalid, Overloaded, ShipwayError, UnknownOutcome
from shipway.domain.item import ItemEvent
from shipway.service.ports import Tx
from shipway.store.migrate import Migration, known, schema
from shipway.store.open import open_store
from shipway.store.postgres import PostgresStore, open_postgres
from shipway.store.postgres_connection import connect
from shipway.store.sqlite import Durability
from shipway.testing.postgres import new_database, running_postgres
from shipway.testing.store_artifacts_suite import a_collection
from shipway.testing.store_samples import (
    a_lease_query,
    add,
    an_event,
    an_item,
    caught,
    filled,
    write,
)
from tests.support import jobs_before

pytestmark = pytest.mark.postgres

COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity,
    identity_generation
FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
"""
INDEXES = """
SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 2
"""


@pytest.fixture
def one(postgres_url: str) -> Iterator[PostgresStore]:
    with closing(opened(postgres_url)) as store:
        yield store


@pytest.fixture
def other(postgres_url: str, one: PostgresStore) -> Iterator[PostgresStore]:
    """Another server's store on the same database."""
    with closing(opened(postgres_url)) as store:
        yield store


def opened(url: str) -> PostgresStore:
    store = open_store(url, migrate=True, durability=Durability.OFF, fatal=pytest.fail)
    assert isinstance(store, PostgresStore)
    return store


class Heard:
    """A subscriber that can be waited for."""

    def __init__(self) -> None:
        self.events: list[ItemEvent] = []
        self._more = threading.Condition()

    def take(self, events: Sequence[ItemEvent]) -> None:
        with self._more:
            self.events += events
            self._more.notify_all()

    def wait_for(self, count: int) -> list[int]:
        with self._more:
            assert self._more.wait_for(lambda: len(self.events) >= count, timeout=30)
            return [event.seq for event in self.events]


def test_migrations_lead_to_the_schema_file(postgres_server: str, one: PostgresStore) -> None:
    fresh_url = new_database(postgres_server, "fresh")
    with (
        connect(one._url, is_durable=False) as migrated,
        connect(fresh_url, is_durable=False) as fresh,
    ):
        fresh.execute(schema("postgres").encode())
        for question in (COLUMNS, CONSTRAINTS, INDEXES):
            expected = fresh.execute(question.encode()).fetchall()
            assert expected
            assert migrated.execute(question.encode()).fetchall() == expected


def test_servers_that_start_together_migrate_once(postgres_url: str) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            opened(postgres_url).close()
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_jobs_of_before_are_artifacts_since(postgres_url: str) -> None:
    steps = known("postgres")[: jobs_before.NUMBER]
    open_postgres(
        postgres_url, is_migrated=True, now=1, fatal=pytest.fail, is_durable=False, migrations=steps
    ).close()
    with connect(postgres_url, is_durable=False) as connection:
        connection.execute(jobs_before.ROWS.encode())
    open_postgres(
        postgres_url, is_migrated=True, now=1, fatal=pytest.fail, is_durable=False,
        back_up=lambda _: None,
    ).close()  # fmt: skip
    with closing(opened(postgres_url)) as store:
        jobs_before.check_moved(store)


def test_an_old_database_is_backed_up_before_it_is_migrated(one: PostgresStore) -> None:
    number = len(known("postgres")) + 1
    step = Migration(number=number, name="step", text="CREATE TABLE t (a TEXT)")
    steps = [*known("postgres"), step]
    saved: list[str] = []
    open_postgres(
        one._url, is_migrated=True, now=1, fatal=pytest.fail, is_durable=False, migrations=steps,
        back_up=lambda first: saved.append(first.title),
    ).close()  # fmt: skip
    assert saved == [f"{number:04}_step"]
    opened(one._url).close()  # an older server still works on the newer schema
    with pytest.raises(Conflict, match=f"{number + 1:04}_more"):
        open_postgres(
            one._url, is_migrated=False, now=1, fatal=pytest.fail, is_durable=False,
            migrations=[*steps, Migration(number=number + 1, name="more", text="")],
        )  # fmt: skip


def test_a_server_that_may_lose_commits_is_refused(postgres_url: str) -> None:
    with pytest.raises(Invalid, match="fsync = off"):
        open_store(postgres_url, migrate=True)


def test_a_server_out_of_reach_is_said(tmp_path: Path) -> None:
    with pytest.raises(Overloaded, match="cannot be reached"):
        open_store(f"postgresql://x@/x?host={tmp_path}", migrate=True)


def test_each_server_hears_every_event_once(one: PostgresStore, other: PostgresStore) -> None:
    _, (item,) = filled(one, 1)
    heard = [Heard(), Heard()]
    one.subscribe(heard[0].take)
    other.subscribe(heard[1].take)
    for number in range(20):
        store = (one, other)[number % 3 == 0]
        write(store, lambda tx: tx.events.append(an_event(item)))
    for ears in heard:
        assert sorted(ears.wait_for(20)) == list(range(1, 21))
    write(one, lambda tx: tx.events.append(an_event(item)))
    for ears in heard:
        assert sorted(ears.wait_for(21)) == list(range(1, 22))


def test_numbers_follow_the_order_of_commits(one: PostgresStore, other: PostgresStore) -> None:
    """Nothing may ever appear behind what a reader has read."""
    _, (item,) = filled(one, 1)
    futures = [
        store.write(lambda tx: tx.events.append(an_event(item)))
        for _ in range(100)
        for store in (one, other)
    ]
    seen: list[int] = []
    while len(seen) < len(futures):
        with one.read() as tx:
            seen += [event.seq for event in tx.events.after(max(seen, default=0), limit=500)]
    for future in futures:
        future.result(30)
    assert seen == list(range(1, 201))


def test_two_servers_never_lease_an_item_twice(one: PostgresStore, other: PostgresStore) -> None:
    queue, items = filled(one, 100)
    futures = [
        store.write(
            lambda tx, n=first: tx.leases.lease(a_lease_query(queue, limit=3, first=n))  # type: ignore[misc] # bound now
        )
        for turn in range(40)
        for store, first in ((one, 1_000 + 3 * turn), (other, 5_000 + 3 * turn))
    ]
    leased = [item.id for future in futures for item in future.result(30)]
    assert sorted(leased) == sorted(item.id for item in items)


def test_the_same_add_on_two_servers_is_one_item(one: PostgresStore, other: PostgresStore) -> None:
    queue, _ = filled(one, 1)

    def add(tx: Tx, number: int) -> str:
        known = tx.items.by_key("ada", "k")
        if known is not None:
            return known.id
        item = an_item(queue, number, idempotency_key="k", body_hash="h")
        return tx.items.insert(item).id

    futures = [
        store.write(lambda tx, n=number: add(tx, n))  # type: ignore[misc] # bound now
        for number, store in enumerate([one, other] * 20, 10)
    ]
    assert len({future.result(30) for future in futures}) == 1


def test_versions_are_counted_across_servers(one: PostgresStore, other: PostgresStore) -> None:
    made = write(one, lambda tx: tx.collections.insert(a_collection()))
    futures = [
        store.write(lambda tx: tx.collections.number(made.seq)) for store in [one, other] * 10
    ]
    assert sorted(future.result(30) for future in futures) == list(range(20))


def test_a_deadlock_between_servers_is_run_again(one: PostgresStore, other: PostgresStore) -> None:
    _, items = filled(one, 2)
    meet = threading.Barrier(2, timeout=30)
    runs: list[int] = []

    def cross(tx: Tx, first: int, second: int) -> None:
        tx.items.amend(items[first].id, rank=first)
        if len(runs) < 2:
            runs.append(first)
            meet.wait()
        tx.items.amend(items[second].id, rank=second)

    futures = [
        one.write(lambda tx: cross(tx, 0, 1)),
        other.write(lambda tx: cross(tx, 1, 0)),
    ]
    for future in futures:
        future.result(60)


def test_a_lost_connection_is_made_anew(one: PostgresStore) -> None:
    queue, _ = filled(one, 1)
    _cut_all(one)
    write(one, lambda tx: add(tx, an_item(queue, 50)))
    with one.read() as tx:
        assert tx.items.by_run("ada", "demo", an_item(queue, 50).run_id) is not None


def test_a_connection_lost_under_work_stores_nothing(one: PostgresStore) -> None:
    queue, _ = filled(one, 1)

    def work(tx: Tx) -> None:
        tx.items.insert(an_item(queue, 60))
        _cut_all(one)
        tx.clock.now()

    lost = caught(one, work)
    assert isinstance(lost, Overloaded)
    with one.read() as tx:
        assert tx.items.get(an_item(queue, 60).id) is None


def test_a_connection_lost_at_the_commit_leaves_the_outcome_open(one: PostgresStore) -> None:
    queue, _ = filled(one, 1)

    def work(tx: Tx) -> None:
        tx.items.insert(an_item(queue, 70))
        _cut_all(one)

    assert isinstance(caught(one, work), UnknownOutcome)
    write(one, lambda tx: tx.items.insert(an_item(queue, 70)))


def test_a_swallowed_error_of_the_database_is_no_success(one: PostgresStore) -> None:
    queue, _ = filled(one, 1)

    def swallow(tx: Tx) -> None:
        try:
            tx.items.insert(an_item(queue, 80, rank=9))
        except ShipwayError:
            return

    alone = caught(one, swallow)
    assert isinstance(alone, ShipwayError)
    gate = threading.Event()
    blocked = one.write(lambda tx: gate.wait(30))
    futures = [one.write(work) for work in (swallow, lambda tx: tx.clock.advance(5))]
    gate.set()
    blocked.result(30)
    assert isinstance(futures[0].exception(30), ShipwayError)
    assert futures[1].result(30) == 5


def test_one_server_of_several_does_the_chores(one: PostgresStore, other: PostgresStore) -> None:
    assert one.holds_upkeep()
    assert one.holds_upkeep()
    assert not other.holds_upkeep()
    one.close()
    assert other.holds_upkeep()


def test_a_durable_server_is_accepted() -> None:
    """Earns its time: the settings are read back from a server that keeps its promises."""
    with running_postgres(is_durable=True) as url, closing(open_store(url, migrate=True)) as store:
        assert write(store, lambda tx: tx.clock.advance(1)) == 1


def _cut_all(store: PostgresStore) -> None:
    """End all of the database's connections, as its restart would."""
    with connect(store._url, is_durable=False) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
