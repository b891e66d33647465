"""The one writer and its group commit."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from shipway.domain.errors import (
    Conflict,
    Overloaded,
    ShipwayError,
    StorageFull,
    UnknownOutcome,
)
from shipway.domain.ids import ItemId, QueueId
from shipway.domain.item import ItemEvent, State
from shipway.store.session import Contended, DiskFailed, Params, Row
from shipway.store.transaction import Transaction
from shipway.store.writer import GROUP_LIMIT, RUN_LIMIT, Work, Writer


class FakeDatabase:
    """An engine and a session that write down what they are asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.is_lost = False

    def begin(self) -> None:
        self.is_lost = False
        self._note("begin")

    def begin_part(self) -> None:
        self._note("part")

    def end_part(self) -> None:
        self._note("kept")

    def undo_part(self) -> None:
        self._note("undone")

    def is_open(self) -> bool:
        return not self.is_lost

    def lock_events(self) -> None:
        self._note("lock")

    def commit(self, events: Sequence[ItemEvent]) -> None:
        self._note(f"commit {len(events)}" if events else "commit")

    def rollback(self) -> None:
        self.calls.append("rollback")

    def one(self, name: str, params: Params) -> Row | None:
        return (41,)

    def all(self, name: str, params: Params) -> list[Row]:
        return []

    def run(self, name: str, params: Params) -> None:
        self._note(name)

    def many(self, name: str, params: Sequence[Params]) -> None:
        self._note(name)

    def _note(self, call: str) -> None:
        self.calls.append(call)
        error = self.errors.get(call)
        if error is not None:
            raise error


@pytest.fixture
def database() -> FakeDatabase:
    return FakeDatabase()


def a_writer(database: FakeDatabase, **arguments: Any) -> Writer:
    return Writer(database, Transaction(database), **({"fatal": pytest.fail} | arguments))


def an_event() -> ItemEvent:
    return ItemEvent(
        seq=0, item_id=ItemId("i"), queue_id=QueueId(1), event="enqueue", state=State.PENDING,
        attempt=0, actor="ada", at=1, data={},
    )  # fmt: skip


def test_nothing_is_answered_before_the_commit(database: FakeDatabase) -> None:
    writer = a_writer(database)
    first = writer.write(lambda tx: database.calls.append("first"))
    second = writer.write(lambda tx: database.calls.append(f"second {first.done()}"))
    first.add_done_callback(lambda _: database.calls.append("answered"))
    assert writer.drain() == 2
    assert second.done()
    assert database.calls == [
        "begin", "part", "first", "kept", "part", "second False", "kept", "commit", "answered",
    ]  # fmt: skip
    assert writer.drain() == 0


def test_one_request_alone_needs_no_savepoint(database: FakeDatabase) -> None:
    writer = a_writer(database)
    future = writer.write(lambda tx: 7)
    writer.drain()
    assert future.result(0) == 7
    assert database.calls == ["begin", "commit"]


def test_an_error_undoes_its_own_request_alone(database: FakeDatabase) -> None:
    writer = a_writer(database)
    got: list[ItemEvent] = []
    writer.subscribe(got.extend)

    def fail(tx: Transaction) -> None:
        tx.events.append(an_event())
        raise Conflict("no")

    first = writer.write(lambda tx: tx.events.append(an_event()))
    failed = writer.write(fail)
    last = writer.write(lambda tx: 3)
    writer.drain()
    assert isinstance(failed.exception(0), Conflict)
    assert (first.result(0), last.result(0)) == (None, 3)
    assert database.calls[-3:] == ["lock", "insert_event", "commit 1"]
    assert "undone" in database.calls
    assert [event.seq for event in got] == [42]


def test_what_waited_for_an_event_is_done_in_the_events_own_commit(database: FakeDatabase) -> None:
    writer = a_writer(database)
    got: list[ItemEvent] = []
    writer.subscribe(got.extend)
    asked: list[list[ItemEvent]] = []
    claim: Future[str] = Future()
    claim.add_done_callback(lambda _: database.calls.append("answered"))

    def work(tx: Transaction) -> str:
        tx.events.append(an_event())
        return "mine"

    def claims(events: Sequence[ItemEvent]) -> list[tuple[Future[str], Work]]:
        asked.append(list(events))
        return [(claim, work)]

    writer.before_commit(claims)
    writer.write(lambda tx: None)
    assert writer.drain() == 1
    assert asked == []
    writer.write(lambda tx: tx.events.append(an_event()))
    assert writer.drain() == 1
    assert asked == [[an_event()]]
    assert claim.result(0) == "mine"
    assert [event.seq for event in got] == [42, 43]
    assert database.calls[2:] == [
        "begin", "part", "kept", "lock", "insert_event", "commit 2", "answered",
    ]  # fmt: skip


@pytest.mark.parametrize("beside", [0, 1])
def test_a_claim_that_fails_undoes_nothing_but_itself(database: FakeDatabase, beside: int) -> None:
    writer = a_writer(database)
    got: list[ItemEvent] = []
    writer.subscribe(got.extend)
    claims: list[Future[None]] = [Future(), Future(), Future()]
    claims[1].cancel()

    def fail(tx: Transaction) -> None:
        tx.events.append(an_event())
        raise Conflict("no")

    def done(tx: Transaction) -> None:
        database.calls.append("done")

    works: list[Work] = [fail, done, done]
    writer.before_commit(lambda events: list(zip(claims, works, strict=True)))
    added = writer.write(lambda tx: tx.events.append(an_event()))
    for _ in range(beside):
        writer.write(lambda tx: None)
    writer.drain()
    assert added.exception(0) is None
    assert isinstance(claims[0].exception(0), Conflict)
    assert claims[2].exception(0) is None
    assert (len(got), database.calls.count("done")) == (1, 1)


def test_a_failed_commit_is_the_claims_answer_too(database: FakeDatabase) -> None:
    writer = a_writer(database)
    claim: Future[int] = Future()
    writer.before_commit(lambda events: [(claim, lambda tx: 1)])
    database.errors["commit 1"] = UnknownOutcome("who knows")
    added = writer.write(lambda tx: tx.events.append(an_event()))
    writer.drain()
    assert isinstance(added.exception(0), UnknownOutcome)
    assert isinstance(claim.exception(0), UnknownOutcome)


def test_nobody_who_may_be_asked_is_in_the_way_of_a_commit(database: FakeDatabase) -> None:
    writer = a_writer(database)
    writer.before_commit(lambda events: 1 // 0)  # type: ignore[arg-type,return-value] # a fault
    added = writer.write(lambda tx: tx.events.append(an_event()))
    writer.drain()
    assert added.exception(0) is None


def test_a_request_that_fails_alone_is_rolled_back(database: FakeDatabase) -> None:
    writer = a_writer(database)
    failed = writer.write(lambda tx: 1 // 0)
    writer.drain()
    assert isinstance(failed.exception(0), ZeroDivisionError)
    assert database.calls == ["begin", "rollback"]


def test_a_group_ends_after_its_time_or_its_number(database: FakeDatabase) -> None:
    ticks = itertools.count(step=0.002)
    writer = a_writer(database, seconds=lambda: next(ticks))
    for _ in range(9):
        writer.write(lambda tx: None)
    assert [writer.drain() for _ in range(3)] == [3, 3, 3]
    writer = a_writer(database, seconds=lambda: 0.0)
    for _ in range(GROUP_LIMIT + 1):
        writer.write(lambda tx: None)
    assert [writer.drain() for _ in range(2)] == [GROUP_LIMIT, 1]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "error", [StorageFull("full"), UnknownOutcome("who knows"), ShipwayError("swallowed")]
)
def test_a_failed_commit_is_everybodys_answer(
    database: FakeDatabase, error: ShipwayError, count: int
) -> None:
    writer = a_writer(database)
    got: list[ItemEvent] = []
    writer.subscribe(got.extend)
    database.errors["commit 1"] = error
    writer.write(lambda tx: tx.events.append(an_event()))
    futures = [writer.write(lambda tx: None) for _ in range(count - 1)]
    writer.drain()
    assert all(future.exception(0) is error for future in futures)
    assert database.calls[-1] == "rollback"
    assert got == []
    assert writer.write(lambda tx: 1).exception is not None
    assert writer.drain() == 1


def test_a_failed_disk_is_fatal_and_nobody_hears_yes(database: FakeDatabase) -> None:
    fatal: list[BaseException] = []
    writer = a_writer(database, fatal=fatal.append)
    database.errors["commit"] = DiskFailed("EIO")
    futures = [writer.write(lambda tx: None) for _ in range(2)]
    writer.drain()
    assert all(isinstance(future.exception(0), UnknownOutcome) for future in futures)
    assert fatal == [database.errors["commit"]]
    assert isinstance(writer.write(lambda tx: None).exception(0), Overloaded)


def test_a_transaction_that_is_gone_takes_its_group_along(database: FakeDatabase) -> None:
    writer = a_writer(database)

    def lose(tx: Transaction) -> None:
        database.is_lost = True
        raise StorageFull("full")

    first = writer.write(lambda tx: 1)
    futures = [first, writer.write(lose)]
    later = writer.write(lambda tx: 2)
    writer.drain()
    assert all(isinstance(future.exception(0), StorageFull) for future in futures)
    writer.drain()
    assert later.result(0) == 2


def test_a_database_out_of_reach_is_said_to_all_that_wait(database: FakeDatabase) -> None:
    writer = a_writer(database)
    database.errors["begin"] = Overloaded("gone")
    futures = [writer.write(lambda tx: None) for _ in range(3)]
    assert writer.drain() == 3
    assert all(isinstance(future.exception(0), Overloaded) for future in futures)


@pytest.mark.parametrize("beside", [0, 1])
def test_contended_work_is_run_again_a_few_times(database: FakeDatabase, beside: int) -> None:
    writer = a_writer(database)
    runs = []

    def contended(tx: Transaction) -> int:
        tx.events.append(an_event())
        runs.append(tx.events.count)
        if len(runs) < RUN_LIMIT:
            raise Contended("another server")
        return len(runs)

    def hopeless(tx: Transaction) -> None:
        raise Contended("another server")

    future = writer.write(contended)
    for _ in range(beside):
        writer.write(lambda tx: None)
    writer.drain()
    assert future.result(0) == RUN_LIMIT
    assert runs == [1] * RUN_LIMIT
    lost = writer.write(hopeless)
    writer.drain()
    assert isinstance(lost.exception(0), Overloaded)


def test_a_full_queue_refuses_more(database: FakeDatabase) -> None:
    writer = a_writer(database, queue_limit=2)
    futures = [writer.write(lambda tx: 1) for _ in range(3)]
    assert isinstance(futures[2].exception(0), Overloaded)
    writer.drain()
    assert [future.result(0) for future in futures[:2]] == [1, 1]


def test_cancelled_work_is_not_done(database: FakeDatabase) -> None:
    writer = a_writer(database)
    futures = [writer.write(lambda tx: database.calls.append("done")) for _ in range(2)]
    assert futures[0].cancel()
    assert writer.drain() == 1
    assert database.calls.count("done") == 1


def test_a_subscribers_fault_stays_its_own(database: FakeDatabase) -> None:
    writer = a_writer(database)
    got: list[ItemEvent] = []
    writer.subscribe(lambda events: 1 // 0)  # type: ignore[arg-type,return-value] # a fault
    writer.subscribe(got.extend)
    writer.write(lambda tx: tx.events.append(an_event()))
    writer.drain()
    assert len(got) == 1


def test_other_servers_events_are_published_by_the_next_drain(database: FakeDatabase) -> None:
    writer = a_writer(database)
    got: list[ItemEvent] = []
    writer.subscribe(got.extend)
    writer.hear([an_event()])
    assert writer.drain() == 0
    assert got == [an_event()]


def test_closing_finishes_what_is_queued(database: FakeDatabase) -> None:
    writer = a_writer(database)
    future = writer.write(lambda tx: 1)
    writer.close()
    writer.close()
    assert future.result(0) == 1
    assert isinstance(writer.write(lambda tx: 1).exception(0), Overloaded)


def test_a_thread_drains_whatever_comes(database: FakeDatabase) -> None:
    writer = a_writer(database)
    writer.start()
    try:
        done = threading.Event()
        for _ in range(200):
            future = writer.write(lambda tx: 1)
        future.add_done_callback(lambda _: done.set())
        assert done.wait(30)
        assert writer.write(lambda tx: 2).result(30) == 2
    finally:
        writer.close()
