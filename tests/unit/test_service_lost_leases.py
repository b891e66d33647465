"""A lease whose answer the network lost is nobody's: the item must not suffer for it."""

from __future__ import annotations

import hashlib

import pytest

from shipway.domain.errors import Code
from shipway.domain.ids import Digest, ItemId, Token
from shipway.domain.item import Event, Failure, FailureClass, Stage, State
from shipway.service.leases import UNSTARTED_TERM_MS, Grant, Starts
from shipway.service.reports import trace
from shipway.service.upkeep import GRACE_MS
from tests.unit.conftest import SOURCE, World

STARTS = Starts(limit=1, sources=[SOURCE])
ASKED_AFTER_MS = 13_000
DAY_MS = 86_400_000


def started(world: World) -> Grant:
    """Add an item that is started with its lease."""
    world.add()
    (grant,) = world.lease(starts=STARTS).leases
    assert grant.is_started
    return grant


def test_a_lease_that_nobody_heard_of_expires_and_is_made_again(world: World) -> None:
    world.add()
    (lost,) = world.lease().leases
    world.pass_time(60_000)
    assert [grant.item.id for grant in world.lease().leases] == [lost.item.id]


@pytest.mark.parametrize("jump", [DAY_MS, -DAY_MS], ids=["on", "back"])
def test_a_jump_of_the_wall_clock_ends_no_lease_early_or_late(world: World, jump: int) -> None:
    world.add()
    assert world.lease().leases
    world.pass_time(5_000)
    world.clock.jump(jump)
    assert not world.pass_time(UNSTARTED_TERM_MS + GRACE_MS - 6_000), "it ended early"
    assert world.pass_time(2_000), "it did not end in time"


def test_an_item_started_with_a_lease_that_never_came_is_given_back_when_asked(
    world: World,
) -> None:
    lost = started(world)
    assert not world.lease(limit=0).doubts
    world.pass_time(ASKED_AFTER_MS)
    (doubt,) = world.lease(limit=0).doubts
    assert (doubt.item, doubt.attempt, doubt.token) == (lost.item.id, 1, lost.token)
    assert world.report(doubt.item, doubt.token, Event.REQUEUE).ok
    (again,) = world.lease(starts=STARTS).leases
    assert (again.item.id, again.item.attempt, again.item.lost_count) == (lost.item.id, 2, 0)


def test_what_fails_at_build_never_started_though_it_passed_the_gate(world: World) -> None:
    grant = started(world)
    assert world.item(grant.item.id).started_at is not None
    failure = Failure(stage=Stage.BUILD, failure_class=FailureClass.BUILD, reason="no such Python")
    assert world.report(grant.item.id, grant.token, Event.FAIL, failure=failure).ok
    ended = world.item(grant.item.id)
    assert (ended.state, ended.started_at) == (State.FAILED, None)


def test_what_was_renewed_is_not_asked_about(world: World) -> None:
    grant = started(world)
    world.do(
        lambda tx: world.service.leases.renew(
            tx, world.ann, world.agent, {grant.item.id: grant.token}
        )
    )
    world.pass_time(ASKED_AFTER_MS)
    assert not world.lease(limit=0).doubts


@pytest.mark.parametrize(
    ("is_whole", "state"), [(True, State.PENDING), (False, State.FAILED)], ids=["whole", "not"]
)
def test_what_an_agent_came_back_without_began_only_if_its_journal_may_have_lost_it(
    world: World, is_whole: bool, state: State
) -> None:
    grant = started(world)
    held: dict[ItemId, Token] = {}
    world.lease(limit=0, held=held, is_whole=is_whole)
    assert world.item(grant.item.id).state is state


@pytest.mark.parametrize(("on_lost", "state"), [("retry:1", State.PENDING), ("fail", State.FAILED)])
def test_what_an_agent_reports_as_lost_follows_the_queue_s_rule(
    world: World, on_lost: str, state: State
) -> None:
    queues = world.service.queues
    queue = world.do(lambda tx: queues.named(tx, world.ann, "default"))
    world.do(lambda tx: queues.update(tx, world.ann, queue, {"on_lost": on_lost}))
    item_id, token = world.running()
    failure = Failure(stage=Stage.RUN, failure_class=FailureClass.LOST, reason="it is gone")
    assert world.report(item_id, token, Event.FAIL, failure=failure).ok
    item = world.item(item_id)
    assert (item.state, item.retry_count) == (state, int(state is State.PENDING))


def test_a_lease_that_an_agent_came_back_without_says_so(world: World) -> None:
    item_id, _ = world.running()
    world.lease(limit=0, held={})
    failure = world.item(item_id).failure
    assert failure is not None
    assert failure.reason == "its agent was lost while it ran: it came back without this lease"


def test_an_event_shows_sixteen_digits_of_a_token_s_digest() -> None:
    assert trace(Token("t")) == hashlib.sha256(b"t").hexdigest()[:16]


def test_an_agent_that_comes_back_with_its_lease_goes_on_with_it(world: World) -> None:
    item_id, token = world.running()
    assert world.lease(limit=0, held={item_id: token}).lost == []
    events = world.do(lambda tx: world.service.items.events(tx, world.ann, item_id))
    assert (events[-1].event, events[-1].actor) == ("resume", "agent-one")


def test_an_end_is_written_down_with_its_exit_code(world: World) -> None:
    item_id, token = world.running()
    world.report(item_id, token, Event.FINISH, exit_code=0)
    events = world.do(lambda tx: world.service.items.events(tx, world.ann, item_id))
    assert events[-1].data == {"lease": trace(token), "report": "finish", "exit_code": 0}


def test_a_program_that_never_passed_the_gate_cannot_have_finished(world: World) -> None:
    world.add()
    (grant,) = world.lease().leases
    refused = world.report(grant.item.id, grant.token, Event.FINISH, exit_code=0)
    assert (refused.ok, refused.code, refused.state) == (False, Code.CONFLICT, State.LEASED)
    assert world.item(grant.item.id).state is State.LEASED


def test_a_pinned_lock_and_a_failure_s_reason_are_written_down(world: World) -> None:
    item_id, token = world.running()
    lock = Digest("d" * 64)
    world.do(lambda tx: world.service.blobs.admit(tx, world.ann, {lock: 1}))
    world.do(lambda tx: world.service.leases.pin(tx, world.ann, item_id, token, lock))
    failure = Failure(stage=Stage.RUN, failure_class=FailureClass.EXIT, reason="exit code 3")
    world.report(item_id, token, Event.FAIL, exit_code=3, failure=failure)
    events = world.do(lambda tx: world.service.items.events(tx, world.ann, item_id))
    assert (events[-2].event, events[-2].actor, events[-2].data) == ("pin", "ann", {"lock": lock})
    assert events[-1].data["reason"] == "exit code 3"


def test_a_late_copy_of_a_first_call_takes_no_newer_lease(world: World) -> None:
    """A network may deliver what an agent said it holds again, long after: it is old by then."""
    world.register("agent-one", facts={"process": "first"})
    world.lease(limit=0, held={}, is_whole=True, process="first")
    world.add()
    grant = world.lease().leases[0]
    answer = world.lease(limit=0, held={}, is_whole=True, process="first")
    assert answer.lost == []
    assert world.item(grant.item.id).state is State.LEASED
    world.register("agent-one", facts={"process": "first"})  # a late copy of that call, too
    gone = {ItemId("nothing"): Token("t")}
    answer = world.lease(limit=0, held=gone, is_whole=True, process="first")
    assert answer.lost == ["nothing"]
    assert world.item(grant.item.id).state is State.LEASED
    world.register("agent-one", facts={"process": "second"})
    world.lease(limit=0, held={}, is_whole=True, process="second")
    assert world.item(grant.item.id).state is State.PENDING
