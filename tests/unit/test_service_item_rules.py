"""Items of others' jobs and runs, used run ids, paused queues, successors that come too late."""

from __future__ import annotations

import pytest

from shipway.domain.errors import Conflict, Exists, NotFound
from shipway.domain.item import Event, Failure, FailureClass, Item, Stage
from shipway.domain.tombstone import KEPT_MS
from tests.unit.conftest import SOURCE, World

EXIT = Failure(stage=Stage.RUN, failure_class=FailureClass.EXIT, reason="exit 1", exit_code=1)


def again(world: World, item: Item) -> Item:
    run = f"{item.entity}/{item.project}/{item.run_id}"
    return world.do(lambda tx: world.service.requeues.again(tx, world.ann, run=run))


def a_failed_item(world: World) -> Item:
    item_id, token = world.running(run_id="r1")
    assert world.report(item_id, token, Event.FAIL, exit_code=1, failure=EXIT).ok
    return world.item(item_id)


def test_an_item_of_a_job_or_run_belongs_to_that_one_s_entity(world: World) -> None:
    said = {"kind": "git", "source": SOURCE, "name": "train"}
    job = world.do(lambda tx: world.service.jobs.create(tx, world.ann, said))
    by_job = world.add(world.root, source=None, job=job.address)
    assert (by_job.entity, by_job.submitted_by) == ("ann", "root")
    item = world.add(run_id="r1", project="demo")
    by_run = world.add(world.root, source=None, run=f"ann/demo/{item.run_id}")
    assert (by_run.entity, by_run.submitted_by) == ("ann", "root")
    assert by_job.queue_id == by_run.queue_id == item.queue_id, "and waits in its queue"
    own = world.add(world.root)
    assert own.entity == "root"
    assert own.queue_id != item.queue_id


def test_a_used_run_id_is_refused_with_its_field(world: World) -> None:
    world.add(run_id="r1", project="demo")
    with pytest.raises(Exists, match="run id 'r1' is used already in ann/demo") as refused:
        world.add(run_id="r1", project="demo")
    assert refused.value.details == {"field": "run_id", "value": "r1"}
    assert world.add(run_id="r1", project="another").run_id == "r1"


def test_an_item_on_a_paused_queue_says_so(world: World) -> None:
    item = world.add()
    queue = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    explain = world.service.items.explain

    def codes() -> list[str]:
        why = world.do(lambda tx: explain(tx, world.ann, item.id))
        return [reason.code for reason in why.reasons]

    assert "paused" not in codes()
    world.do(lambda tx: world.service.queues.set_paused(tx, world.ann, queue, is_paused=True))
    assert "paused" in codes()


def test_a_failed_item_deleted_long_ago_has_no_successor(world: World) -> None:
    item = a_failed_item(world)
    world.do(lambda tx: world.service.items.delete(tx, world.ann, item.id))
    world.clock.advance(KEPT_MS)
    with pytest.raises(Conflict, match="deleted more than 7 days ago"):
        again(world, item)


def test_a_failed_item_of_a_deleted_queue_has_no_successor(world: World) -> None:
    item = a_failed_item(world)
    queue = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    world.do(lambda tx: world.service.queues.delete(tx, world.ann, queue))
    with pytest.raises(NotFound, match=f"queue 'default' of item {item.id} was deleted"):
        again(world, item)
