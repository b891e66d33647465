"""What may go wrong between agents and server, and what must then still be true."""

from __future__ import annotations

import contextlib
import hashlib
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from shipway.domain.errors import Code, LeaseLost, WrongOffset
from shipway.domain.ids import Digest, ItemId, Token
from shipway.domain.item import Event, Failure, FailureClass, Item, Stage, State
from shipway.domain.launch_spec import Draft
from shipway.domain.queue import LOST_LIMIT
from shipway.service.logs import Records
from shipway.service.ports import LogChunk, Tx
from shipway.service.reports import Report, ReportResult

if TYPE_CHECKING:
    from tests.unit.conftest import World

LEASE_MS = 30_000 + 10_000 + 2_000  # term, grace, and the look of the server's upkeep


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """An agent that stopped in the middle of an attempt and knows nothing of what came since."""

    world: World
    item: ItemId
    token: Token
    attempt: int = 1

    def report(self, event: Event, **values: Any) -> ReportResult:
        said = Report(item=self.item, token=self.token, event=event, **values)
        return self._do(
            lambda tx: self.world.service.leases.report(
                tx, self.world.ann, self.world.agent, [said]
            )
        )[0]

    def log(self, data: bytes, *, offset: int = 0, name: str = "program") -> Any:
        chunk = a_chunk(self.item, data, offset=offset, name=name, attempt=self.attempt)
        logs, ann = self.world.service.logs, self.world.ann
        return self._do(lambda tx: logs.append(tx, ann, chunk, self.token))

    def metrics(self) -> Any:
        chunk = a_chunk(self.item, b"{}\n", name="records", attempt=self.attempt)
        said = Records(config={"lr": 9}, summary={"loss": 9}, history=[{"loss": 9}], files=[])
        logs, ann = self.world.service.logs, self.world.ann
        return self._do(lambda tx: logs.records(tx, ann, chunk, self.token, said))

    def pin(self) -> Any:
        lock, world = Digest("d" * 64), self.world
        self._do(lambda tx: world.service.blobs.admit(tx, world.ann, {lock: 1}))
        return self._do(
            lambda tx: world.service.leases.pin(tx, world.ann, self.item, self.token, lock)
        )

    def renew(self) -> list[ItemId]:
        renew, held = self.world.service.leases.renew, {self.item: self.token}
        answer = self._do(lambda tx: renew(tx, self.world.ann, self.world.agent, held))
        return list(answer.lost)

    def _do(self, work: Callable[[Tx], Any]) -> Any:
        return self.world.do(work)


def a_chunk(
    item_id: ItemId, data: bytes, *, offset: int = 0, name: str = "program", attempt: int = 1
) -> LogChunk:
    digest = Digest(hashlib.sha256(zlib.compress(data)).hexdigest())
    return LogChunk(
        item_id=item_id, attempt=attempt, name=name, offset=offset, length=len(data),
        digest=digest, first_at=1, last_at=2,
    )  # fmt: skip


def change_queue(world: World, **values: Any) -> None:
    queue = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    world.do(lambda tx: world.service.queues.update(tx, world.ann, queue, values))


def kept(world: World, item_id: ItemId) -> tuple[Item, list[Any], list[Any], int]:
    """Return all that an agent's writes could change of an item."""

    def look(tx: Tx) -> tuple[Item, list[Any], list[Any], int]:
        item = tx.items.get(item_id)
        assert item is not None
        run = tx.runs.get(item.entity, item.project, item.run_id)
        assert run is not None
        events = [event.event for event in tx.events.of_item(item_id)]
        return item, tx.logs.attempts(item_id), [run, *tx.runs.files(run.seq)], len(events)

    return world.do(look)


def asleep(world: World) -> Frozen:
    """Leave an agent frozen with an item that it is only preparing."""
    world.add(project="p")
    grant = world.lease().leases[0]
    return Frozen(world=world, item=grant.item.id, token=grant.token)


def waiting_again(world: World) -> Frozen:
    frozen = asleep(world)
    world.pass_time(LEASE_MS)
    assert world.item(frozen.item).state is State.PENDING
    return frozen


def leased_to_another(world: World) -> Frozen:
    frozen = waiting_again(world)
    world.register("agent-two")
    assert world.lease("agent-two").leases[0].item.attempt == 2
    return frozen


def run_by_another(world: World) -> Frozen:
    frozen = waiting_again(world)
    world.register("agent-two")
    grant = world.lease("agent-two").leases[0]
    assert world.report(grant.item.id, grant.token, Event.START, agent="agent-two").ok
    return replace(frozen, attempt=2)  # even one that guesses the attempt right


def given_up(world: World) -> Frozen:
    item_id, token = world.running(project="p")
    world.pass_time(900_000 + 12_000)
    assert world.item(item_id).state is State.FAILED
    return Frozen(world=world, item=item_id, token=token)


@pytest.mark.parametrize(
    "freeze", [waiting_again, leased_to_another, run_by_another, given_up], ids=lambda f: f.__name__
)
def test_an_agent_frozen_past_its_lease_changes_nothing(
    world: World, freeze: Callable[[World], Frozen]
) -> None:
    frozen = freeze(world)
    before = kept(world, frozen.item)
    for event in (Event.START, Event.FINISH, Event.FAIL, Event.STOP):
        result = frozen.report(event)
        assert (result.ok, result.code) == (False, Code.LEASE_LOST)
    frozen.report(Event.REQUEUE)  # what it asks for may have happened without it
    for write in (
        lambda: frozen.log(b"late\n"),
        lambda: frozen.log(b"late\n", name="build"),
        frozen.metrics,
        frozen.pin,
    ):
        with pytest.raises(LeaseLost):
            write()
    assert frozen.renew() == [frozen.item]
    assert kept(world, frozen.item) == before


def test_adds_that_wait_for_the_same_commit_are_one_item_by_their_key(world: World) -> None:
    draft = Draft.from_json({"docker_image": "busybox"})
    adds = [
        world.store.write(lambda tx: world.service.items.enqueue(tx, world.ann, [(draft, "k")]))
        for _ in range(3)
    ]
    while world.store.writer.drain():  # on a busy machine the time of one group may be over
        pass
    assert len({item.id for add in adds for item, _ in add.result(0)}) == 1


def test_a_stop_after_the_lease_was_made_is_obeyed_by_the_gate(world: World) -> None:
    """A build takes minutes: what was true when it began may not be true when it is over."""
    frozen = asleep(world)
    world.do(lambda tx: world.service.items.stop(tx, world.ann, frozen.item))
    result = frozen.report(Event.START)
    assert (result.ok, result.stop_requested) == (False, True)
    assert world.item(frozen.item).state is State.LEASED
    assert frozen.report(Event.STOP).state is State.STOPPED
    assert world.lease().leases == []


def test_a_start_whose_answer_was_lost_is_refused_once_a_stop_was_asked_for(world: World) -> None:
    """An agent that asks again has not started its program: the stop was acked, so it must not."""
    item_id, token = world.running()
    assert world.report(item_id, token, Event.START).ok
    world.do(lambda tx: world.service.items.stop(tx, world.ann, item_id))
    result = world.report(item_id, token, Event.START)
    assert (result.ok, result.stop_requested) == (False, True)
    assert world.report(item_id, token, Event.STOP).state is State.STOPPED


@pytest.mark.parametrize("ending", [Event.FINISH, Event.FAIL, Event.STOP])
def test_nothing_changes_an_end(world: World, ending: Event) -> None:
    failure = Failure(stage=Stage.RUN, failure_class=FailureClass.EXIT, reason="exit code 3")
    item_id, token = world.running(project="p")
    world.report(item_id, token, ending, failure=failure if ending is Event.FAIL else None)
    before, events = world.item(item_id), world.do(lambda tx: tx.events.of_item(item_id))
    assert before.ended_at is not None
    world.clock.advance(1_000)
    world.do(lambda tx: world.service.items.stop(tx, world.ann, item_id))
    for event in (Event.START, Event.FINISH, Event.FAIL, Event.REQUEUE, Event.STOP):
        world.report(item_id, token, event, failure=failure)
    world.lease(limit=1, held={})
    world.pass_time(LEASE_MS)
    world.restart()
    assert world.item(item_id) == before
    assert world.do(lambda tx: tx.events.of_item(item_id)) == events


@pytest.mark.parametrize("limit", [2, LOST_LIMIT + 1])
def test_an_item_that_kills_whoever_takes_it_is_given_up(world: World, limit: int) -> None:
    """Server and agent die of it each time: what is counted must survive them."""
    change_queue(world, max_attempts=limit)
    item = world.add()
    attempts = 0
    while world.lease().leases:
        attempts += 1
        assert attempts <= limit
        world.restart()
        world.lease(limit=0, held={})  # the agent comes back and knows of nothing
    ended = world.item(item.id)
    assert (ended.state, ended.attempt, attempts) == (State.FAILED, limit, limit)
    assert ended.failure is not None
    assert ended.failure.stage is Stage.AGENT


def test_a_program_that_kills_its_machine_is_not_started_for_ever(world: World) -> None:
    change_queue(world, max_attempts=3, on_lost="retry:100")
    item = world.add()
    starts = 0
    while leases := world.lease().leases:
        assert world.report(item.id, leases[0].token, Event.START).ok
        starts += 1
        assert starts <= 3
        world.restart()
        world.lease(limit=0, held={})
    assert (world.item(item.id).state, starts) == (State.FAILED, 3)


def test_a_log_through_lost_and_doubled_answers_has_each_byte_once(world: World) -> None:
    """An agent that hears nothing sends again, and goes on from where the server says it is."""
    chance = random.Random(3)
    item_id, token = world.running()
    agent = Frozen(world=world, item=item_id, token=token)
    whole = b"".join(b"%d\n" % number for number in range(2_000))
    stored: dict[int, bytes] = {}
    offset = 0
    while offset < len(whole):
        piece = whole[offset : offset + chance.randrange(1, 900)]
        for _ in range(chance.randrange(1, 4)):  # sent again: the answer was lost, or came late
            with contextlib.suppress(WrongOffset):
                agent.log(piece, offset=offset)
                assert offset not in stored
                stored[offset] = piece
        offset = world.do(lambda tx: tx.logs.size(item_id, 1, "program"))
    with pytest.raises(WrongOffset):
        agent.log(b"beyond", offset=offset + 1)
    view = world.service.logs.view
    shown = b""
    while len(shown) < len(whole):
        at = len(shown)
        page = world.do(
            lambda tx, at=at: view(tx, world.ann, item_id, name="program", attempt=None, offset=at)
        )
        for chunk in page.chunks:
            assert chunk.offset == len(shown)
            shown += stored[chunk.offset]
    assert shown == whole


@pytest.mark.parametrize(("size", "is_complete"), [(4, True), (9, False)])
def test_an_ended_log_that_lacks_its_last_part_says_so(
    world: World, size: int, is_complete: bool
) -> None:
    item_id, token = world.running()
    agent = Frozen(world=world, item=item_id, token=token)
    agent.log(b"1234")
    agent.report(Event.FINISH, exit_code=0, log_sizes={"program": size})
    view = world.do(
        lambda tx: world.service.logs.view(
            tx, world.ann, item_id, name="program", attempt=None, offset=0
        )
    )
    assert (view.is_ended, view.size, view.is_complete) == (True, 4, is_complete)


def test_a_spec_is_the_same_bytes_from_the_queue_to_the_end(world: World) -> None:
    item = world.add(project="p", args=["--x"], run_config={"lr": 0.1}, priority="low")
    seen = [item.spec]

    def look() -> None:
        seen.append(world.item(item.id).spec)

    world.do(lambda tx: world.service.items.set_priority(tx, world.ann, item.id, "high"))
    look()
    change_queue(world, config={"resource_args": {"local-process": {"grace_s": 3}}})
    look()
    grant = world.lease().leases[0]
    assert grant.item.spec == item.spec
    agent = Frozen(world=world, item=item.id, token=grant.token)
    agent.pin()
    look()
    agent.report(Event.START)
    agent.metrics()
    look()
    agent.report(Event.FINISH, exit_code=0)
    world.do(lambda tx: world.service.items.delete(tx, world.ann, item.id))
    look()
    assert set(seen) == {item.spec}
