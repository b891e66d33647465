"""A lease whose answer the network lost is nobody's: the item must not suffer for it."""

from __future__ import annotations

import pytest

from shipway.domain.ids import ItemId, Token
from shipway.domain.item import Event, Failure, FailureClass, Stage, State
from shipway.service.leases import UNSTARTED_TERM_MS, Grant, Starts
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
