"""Waits: no hint is lost, one agent of a group is woken, stops are told once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.agent import Agent, AgentState, RunAs
from shipway.domain.errors import Code, KeyReused, ShipwayError
from shipway.domain.ids import AgentId, ItemId, KeyId, QueueId, Token, UserName
from shipway.domain.item import Event, Item, ItemEvent, State
from shipway.server.auth import Throttle
from shipway.server.call import Call
from shipway.server.hints import waiting
from shipway.server.polls import LeasePolls
from shipway.server.protocol import LimitedProtocol
from shipway.server.replays import Answer, Replays
from shipway.server.rest.leases import hold
from shipway.server.settle import Settler
from shipway.server.waits import Waits
from shipway.service.leases import Grant, LeaseAnswer, LeaseAsk
from shipway.service.ports import Tx
from shipway.service.reports import Report


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ms = 0

    def now(self) -> int:
        return self.ms

    def monotonic(self) -> int:
        return self.ms

    def seconds(self) -> float:
        return self.ms / 1000


def an_agent(name: str, *queues: int, user: str = "ann") -> Agent:
    return Agent(
        id=AgentId(name), user=UserName(user), hostname="h", version="", state=AgentState.ACTIVE,
        queue_ids=tuple(QueueId(queue) for queue in queues), queues=(), resources=("r",),
        run_as=RunAs.SELF, slots=1, used_slots=0, created_at=0, seen_at=0,
    )  # fmt: skip


def no_work(_: Tx) -> None:
    """Do nothing: nobody takes this up."""


ACTOR = Actor(user=UserName("ann"), role=Role.ADMIN, entity="ann", key_id=KeyId("k"))


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 5))


def test_a_hint_before_the_wait_is_not_lost() -> None:
    async def work() -> None:
        waits: Waits[str] = Waits()
        with waits.watch("a") as watch:
            waits.hint("b")
            waits.hint("a")
            assert await watch.wait(5) is True
            assert await watch.wait(0.001) is False
        assert len(waits) == 0

    run(work())


def test_closing_wakes_those_who_wait_and_those_who_come() -> None:
    async def work() -> None:
        waits: Waits[str] = Waits()
        with waits.watch("a") as watch:
            waits.close()
            assert await watch.wait(5) is True
        with waits.watch("a") as late:
            assert await late.wait(5) is True

    run(work())


def test_one_poll_of_each_group_is_woken_in_turn() -> None:
    polls = LeasePolls()
    first = polls.add(an_agent("1", 1), no_work, wants_work=True, since=polls.mark())
    second = polls.add(an_agent("2", 1), no_work, wants_work=True, since=polls.mark())
    other = polls.add(an_agent("3", 1, 2, user="bob"), no_work, wants_work=True, since=polls.mark())
    full = polls.add(an_agent("4", 1), no_work, wants_work=False, since=polls.mark())

    async def woken() -> list[bool]:
        return [await poll.watch.wait(0) for poll in (first, second, other, full)]

    polls.hint_queue(QueueId(1))
    assert asyncio.run(woken()) == [True, False, True, False]
    polls.rejoin(first)
    polls.hint_queue(QueueId(1))
    assert asyncio.run(woken()) == [False, True, False, False]
    polls.hint_queue(QueueId(7))
    for poll in (first, second, other, full):
        polls.remove(poll)
        polls.remove(poll)
    assert len(polls) == 0
    assert polls.queues() == []


def an_event(name: str, item: str = "i", queue: int = 1) -> ItemEvent:
    return ItemEvent(
        seq=0, item_id=ItemId(item), queue_id=QueueId(queue), event=name, state=State.PENDING,
        attempt=0, actor="ann", at=1, data={},
    )  # fmt: skip


def test_the_writer_takes_one_poll_of_each_group_and_a_hint_another() -> None:
    polls = LeasePolls()
    first = polls.add(an_agent("1", 1), no_work, wants_work=True, since=polls.mark())
    second = polls.add(an_agent("2", 1), no_work, wants_work=True, since=polls.mark())
    other = polls.add(an_agent("3", 1, 2, user="bob"), no_work, wants_work=True, since=polls.mark())
    full = polls.add(an_agent("4", 1), no_work, wants_work=False, since=polls.mark())
    assert polls.claims([an_event("lease"), an_event("enqueue", queue=7)]) == []
    added = [an_event("enqueue"), an_event("enqueue", "j"), an_event("requeue", "k", queue=2)]
    assert polls.claims(added) == [first, other]
    polls.hint_queue(QueueId(1))
    assert polls.claims(added) == []
    claims = [polls.leave(poll) for poll in (first, second, other, full)]
    assert claims == [first.claim, None, other.claim, None]
    assert None not in {first.claim, other.claim}
    polls.rejoin(first)
    polls.rejoin(second)
    assert polls.leave(first) is None
    assert polls.claims(added) == [second]


def test_what_the_same_commit_leased_wakes_nobody() -> None:
    added = [an_event("enqueue"), an_event("enqueue", "j", 2), an_event("lease"),
             an_event("requeue", "k", 3), an_event("start", "j", 2)]  # fmt: skip
    assert waiting(added) == {ItemId("j"): QueueId(2), ItemId("k"): QueueId(3)}
    again = [an_event("lease"), an_event("requeue")]
    assert waiting(again) == {ItemId("i"): QueueId(1)}


class Line:
    """A connection that a test breaks."""

    def __init__(self) -> None:
        self.gone: Callable[[], None] | None = None

    def when_gone(self, call: Callable[[], None] | None) -> None:
        self.gone = call or self.gone


class Server:
    """An edge whose writer is the test, and a service that writes down what it is told."""

    def __init__(self) -> None:
        self.polls = LeasePolls()
        self.service = SimpleNamespace(leases=self)
        self.edge = self
        self.actor = ACTOR
        self.told: list[tuple[ItemId, Token, Event]] = []

    async def write(self, work: Callable[[Tx], Any]) -> Any:
        return work(cast(Tx, None))

    async def claimed(self, claim: Future[Any]) -> Any:
        return await asyncio.wrap_future(claim)

    def report(self, tx: Tx, actor: Actor, agent: AgentId, reports: Sequence[Report]) -> None:
        self.told += [(report.item, report.token, report.event) for report in reports]


def an_answer(*items: str) -> LeaseAnswer:
    grants = [
        Grant(
            item=cast(Item, SimpleNamespace(id=ItemId(item))), token=Token("t"), job_key="",
            term_ms=1, is_started=False,
        )
        for item in items
    ]  # fmt: skip
    return LeaseAnswer(
        leases=grants, results=(), stops=(), doubts=(), lost=(), is_draining=False,
        is_stopping=False,
    )  # fmt: skip


@pytest.mark.parametrize("leaves", [False, True])
def test_what_is_leased_while_its_agent_leaves_is_given_back(*, leaves: bool) -> None:
    server, line, agent = Server(), Line(), an_agent("1", 1)
    ask = LeaseAsk(agent=agent.id, limit=1)

    async def work() -> None:
        holding = asyncio.create_task(
            hold(
                cast(Call, server), cast(LimitedProtocol, line), ask, an_answer(),
                agent=agent, wait_s=20, mark=server.polls.mark(),
            )
        )  # fmt: skip
        await asyncio.sleep(0)
        (poll,) = server.polls.claims([an_event("enqueue")])
        assert line.gone is not None
        assert poll.claim is not None
        if leaves:
            line.gone()
        poll.claim.set_result((an_answer("i"), agent))
        poll.watch.hint()
        got = await holding
        assert [grant.item.id for grant in got.leases] == ["i"]

    run(work())
    assert server.told == ([(ItemId("i"), Token("t"), Event.REQUEUE)] if leaves else [])
    assert len(server.polls) == 0


def test_a_hint_between_the_look_and_the_wait_is_not_lost() -> None:
    polls = LeasePolls()
    mark = polls.mark()
    polls.hint_queue(QueueId(1))
    late = polls.add(an_agent("1", 1), no_work, wants_work=True, since=mark)
    calm = polls.add(an_agent("2", 1), no_work, wants_work=True, since=polls.mark())

    async def work() -> None:
        assert await late.watch.wait(0) is True
        assert await calm.watch.wait(0) is False

    run(work())


def test_a_stop_is_told_once_and_again_after_two_seconds() -> None:
    time = Time()
    polls = LeasePolls(monotonic=time.seconds)
    agent = AgentId("1")
    stop = frozenset({(ItemId("i"), Token("t"))})
    more = stop | {(ItemId("j"), Token("u"))}
    time.ms = 10_000
    assert polls.is_news(agent, stop)
    assert not polls.is_news(agent, stop)
    assert polls.is_news(agent, more)
    assert not polls.is_news(agent, stop)
    time.ms += 2_000
    assert polls.is_news(agent, more)
    assert not polls.is_news(agent, frozenset())


def test_wrong_keys_are_counted_by_address_and_minute() -> None:
    time = Time()
    throttle = Throttle(limit=2, monotonic=time.seconds)
    throttle.note("a")
    throttle.note("a")
    throttle.note("b")
    with pytest.raises(ShipwayError) as refused:
        throttle.note("a")
    assert refused.value.code is Code.RATE_LIMITED
    time.ms += 61_000
    throttle.note("a")


def test_a_repeated_create_runs_once_and_a_failed_one_again() -> None:
    time = Time()
    replays = Replays(clock=time)
    calls: list[int] = []

    async def good() -> Answer:
        calls.append(1)
        await asyncio.sleep(0)
        return Answer(status=201, body=b"x")

    async def bad() -> Answer:
        calls.append(2)
        raise ShipwayError("no")

    async def work() -> None:
        both = await asyncio.gather(
            replays.once(ACTOR, "r", "k", b"body", good),
            replays.once(ACTOR, "r", "k", b"body", good),
        )
        assert both[0] == both[1]
        with pytest.raises(KeyReused):
            await replays.once(ACTOR, "r", "k", b"other", good)
        for _ in range(2):
            with pytest.raises(ShipwayError):
                await replays.once(ACTOR, "r", "bad", b"body", bad)
        time.ms += 600_001
        await replays.once(ACTOR, "r", "k", b"other", good)

    run(work())
    assert calls == [1, 2, 2, 1]


def test_results_of_another_thread_reach_the_loop() -> None:
    async def work() -> None:
        settler = Settler(asyncio.get_running_loop())
        futures: list[Future[int]] = [Future() for _ in range(100)]
        waiting = [settler.watch(future) for future in futures]

        def settle() -> None:
            for index, future in enumerate(futures):
                if index % 10 == 9:
                    future.set_exception(ShipwayError("no"))
                else:
                    future.set_result(index)

        thread = Thread(target=settle)
        thread.start()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        thread.join()
        assert results[8] == 8
        assert isinstance(results[9], ShipwayError)

    run(work())
