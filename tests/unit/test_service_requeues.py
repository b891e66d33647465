"""A preempted item waits again with its run: for the agent that had it, and nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Conflict, Exists, Forbidden, NotFound
from shipway.domain.ids import UserName
from shipway.domain.item import Event, Failure, FailureClass, Item, Stage, State
from tests.unit.conftest import World

EXIT = Failure(stage=Stage.RUN, failure_class=FailureClass.EXIT, reason="exit 1", exit_code=1)


def again(world: World, item: Item, who: Actor | None = None) -> Item:
    run = f"{item.entity}/{item.project}/{item.run_id}"
    return world.do(lambda tx: world.service.requeues.again(tx, who or world.ann, run=run))


def test_a_held_item_goes_back_itself_once(world: World) -> None:
    item_id, token = world.running(run_id="r1")
    first = again(world, world.item(item_id), replace(world.ann, role=Role.AGENT))
    assert (first.id, first.state, first.lost_count) == (item_id, State.PENDING, 1)
    assert again(world, first) == first
    assert not world.report(item_id, token, Event.FINISH, exit_code=0).ok
    assert world.lease().leases[0].item.id == item_id


def test_a_failed_item_has_a_successor_that_goes_on_with_its_run(world: World) -> None:
    item_id, token = world.running(run_id="r1", run_config={"lr": 1})
    world.report(item_id, token, Event.FAIL, exit_code=1, failure=EXIT)
    old = world.item(item_id)
    new = again(world, old)
    assert (new.state, new.run_id, new.retry_of, new.spec) == (
        State.PENDING, "r1", old.id, old.spec,
    )  # fmt: skip
    assert again(world, new).id == new.id
    grant = world.lease().leases[0]
    assert grant.item.id == new.id
    assert world.report(new.id, grant.token, Event.START).ok
    view = world.do(
        lambda tx: world.service.runs.get(tx, world.ann, "ann", old.project, "r1")
    )  # fmt: skip
    assert (view.item, view.run.config) == (world.item(new.id), {"lr": 1})
    assert world.item(item_id) == old
    with pytest.raises(Exists, match="run id 'r1' is used already"):
        world.add(run_id="r1")


def test_a_run_whose_agent_was_lost_goes_on_as_well(world: World) -> None:
    default = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    soon = {"lost_after_s": 30}
    world.do(lambda tx: world.service.queues.update(tx, world.ann, default, soon))
    item_id, _ = world.running(run_id="r1")
    world.pass_time(60_000)
    lost = world.item(item_id)
    assert lost.failure is not None
    assert lost.failure.failure_class is FailureClass.LOST
    assert again(world, lost).state is State.PENDING


def test_only_the_agent_that_had_it_may(world: World) -> None:
    item_id, _ = world.running(run_id="r1")
    item, carl = world.item(item_id), replace(world.ann, user=UserName("carl"))
    with pytest.raises(Forbidden, match="only the agent that had the run"):
        again(world, item, carl)
    with pytest.raises(NotFound, match="there is no run ann/"):
        again(world, item, world.bob)
    with pytest.raises(Forbidden, match="role viewer may not add items"):
        again(world, item, replace(world.ann, role=Role.VIEWER))
    assert world.item(item_id) == item


def test_nobody_else_goes_on_with_a_failed_run(world: World) -> None:
    item_id, token = world.running(run_id="r1")
    world.report(item_id, token, Event.FAIL, exit_code=1, failure=EXIT)
    with pytest.raises(Forbidden, match="only the agent that had the run"):
        again(world, world.item(item_id), replace(world.ann, user=UserName("carl")))


def test_what_was_never_leased_or_has_another_end_does_not_come_again(world: World) -> None:
    item_id, token = world.running(run_id="r1")
    world.report(item_id, token, Event.FINISH, exit_code=0)
    with pytest.raises(Conflict, match="is finished: only one that was lost goes on"):
        again(world, world.item(item_id))
    waiting = world.add(run_id="r2")
    world.do(lambda tx: world.service.items.stop(tx, world.ann, waiting.id))
    with pytest.raises(Forbidden, match="run id 'r2' is used already"):
        again(world, world.item(waiting.id))
    with pytest.raises(Conflict, match="is stopped"):
        again(world, world.item(waiting.id), replace(world.root, entity="ann"))
