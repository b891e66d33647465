"""Adding, showing, stopping, deleting and retrying items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from shipway.domain.errors import (
    Code,
    Conflict,
    Exists,
    Forbidden,
    Invalid,
    KeyReused,
    NotFound,
    ShipwayError,
)
from shipway.domain.ids import Digest
from shipway.domain.item import Event, State
from shipway.domain.launch_spec import Draft
from shipway.service.ports import ItemFilter

if TYPE_CHECKING:
    from tests.unit.conftest import World


def test_an_added_item_waits_with_a_run_reserved(world: World) -> None:
    item = world.add(name="first", project="digits")
    assert (item.state, item.queue, item.entity, item.project) == (
        State.PENDING, "default", "ann", "digits",
    )  # fmt: skip
    with pytest.raises(NotFound, match="waits in its queue"):
        world.do(lambda tx: world.service.runs.get(tx, world.ann, "ann", "digits", item.run_id))


def test_the_same_key_adds_the_same_item(world: World) -> None:
    first = world.add(key="k", project="p")
    assert world.add(key="k", project="p").id == first.id
    with pytest.raises(KeyReused) as refused:
        world.add(key="k", project="other")
    assert refused.value.details["item"] == first.id
    assert len(world.do(lambda tx: tx.items.find(ItemFilter()))) == 1


def test_a_key_stays_used_after_a_delete(world: World) -> None:
    first = world.add(key="k")
    world.do(lambda tx: world.service.items.delete(tx, world.ann, first.id))
    assert world.add(key="k").id == first.id


def test_a_run_id_is_used_once_in_its_project(world: World) -> None:
    world.add(run_id="r1", project="P")
    with pytest.raises(Exists, match="r1"):
        world.add(run_id="r1", project="p")
    assert world.add(run_id="r1", project="other").run_id == "r1"


@pytest.mark.parametrize(
    ("draft", "code", "field"),
    [
        ({"queue": "nope"}, Code.NOT_FOUND, "queue_name"),
        ({"resource": "moon"}, Code.INVALID, "resource"),
        ({"resource_args": {"local-process": {"grace": 1}}}, Code.INVALID, "resource_args"),
        ({"source": None, "job": "ann/p/missing:latest"}, Code.NOT_FOUND, "job"),
        ({"source": None, "run": "ann/p/missing"}, Code.NOT_FOUND, "uri"),
        ({"priority": 7}, Code.INVALID, "priority"),
        ({"priority": True}, Code.INVALID, "priority"),
    ],
)
def test_bad_input_stores_nothing(
    world: World, draft: dict[str, Any], code: Code, field: str
) -> None:
    with pytest.raises(ShipwayError) as refused:
        world.add(**draft)
    assert refused.value.code is code
    assert str(refused.value.details["field"]).startswith(field)
    assert world.do(lambda tx: tx.items.find(ItemFilter())) == []
    assert world.do(lambda tx: tx.events.last_seq()) == 0


def test_a_capsule_must_have_been_uploaded(world: World) -> None:
    source = {"kind": "capsule", "digest": "c" * 64, "size": 1, "files": 1, "subdirectory": ""}
    with pytest.raises(Invalid, match="was not uploaded"):
        world.add(source=source)
    world.do(lambda tx: world.service.blobs.admit(tx, world.ann, {source["digest"]: 5}))
    assert world.add(source=source).state is State.PENDING


def test_an_admins_agent_reads_the_blobs_of_those_it_serves(world: World) -> None:
    digest = Digest("c" * 64)
    world.do(lambda tx: world.service.blobs.admit(tx, world.ann, {digest: 5}))
    read = world.service.blobs.check_reads
    assert world.do(lambda tx: read(tx, world.root, [digest])) == [digest]
    with pytest.raises(NotFound):
        world.do(lambda tx: read(tx, world.bob, [digest]))


def test_a_pending_item_stops_at_once(world: World) -> None:
    item = world.add()
    stopped = world.do(lambda tx: world.service.items.stop(tx, world.ann, item.id))
    assert (stopped.state, stopped.stop_requested_by) == (State.STOPPED, "ann")
    assert world.lease().leases == []


def test_a_second_stop_changes_nothing(world: World) -> None:
    item = world.add()
    stop = world.service.items.stop
    first = world.do(lambda tx: stop(tx, world.ann, item.id))
    world.clock.advance(10)
    assert world.do(lambda tx: stop(tx, world.ann, item.id)) == first


def test_a_stop_after_the_end_changes_nothing(world: World) -> None:
    item_id, token = world.running()
    world.report(item_id, token, Event.FINISH, exit_code=0)
    after = world.do(lambda tx: world.service.items.stop(tx, world.ann, item_id))
    assert (after.state, after.stop_requested_at) == (State.FINISHED, None)


def test_delete_stops_and_hides(world: World) -> None:
    item = world.add()
    gone = world.do(lambda tx: world.service.items.delete(tx, world.ann, item.id))
    assert gone.deleted_at is not None
    assert gone.state is State.STOPPED
    found = world.do(lambda tx: world.service.items.find(tx, world.ann, ItemFilter()))
    assert found == []
    assert world.item(item.id).deleted_at == gone.deleted_at


def test_retry_makes_a_new_item_with_a_new_run(world: World) -> None:
    item_id, token = world.running(project="p", args=["--x"])
    with pytest.raises(Conflict):
        world.do(lambda tx: world.service.items.retry(tx, world.ann, item_id))
    world.report(item_id, token, Event.FINISH, exit_code=0)
    again = world.do(lambda tx: world.service.items.retry(tx, world.ann, item_id))
    old = world.item(item_id)
    assert (again.retry_of, again.state) == (item_id, State.PENDING)
    assert again.run_id != old.run_id
    assert '"args":["--x"]' in again.spec


def test_a_run_is_launched_again_from_its_address(world: World) -> None:
    item_id, token = world.running(project="p", args=["--x"], name="old", priority=0)
    lock = Digest("d" * 64)
    world.do(lambda tx: world.service.blobs.admit(tx, world.ann, {lock: 1}))
    world.do(lambda tx: world.service.leases.pin(tx, world.ann, item_id, token, lock))
    world.report(item_id, token, Event.FINISH, exit_code=0)
    path = f"ann/p/{world.item(item_id).run_id}"
    again = world.add(source=None, run=path)
    assert '"args":["--x"]' in again.spec
    assert (again.name, again.priority, again.project) == (None, 2, "p")
    assert again.lock_digest == lock
    assert world.add(source=None, run=path, refresh=True).lock_digest is None


def test_others_see_nothing(world: World) -> None:
    item = world.add()
    for call in (
        lambda tx: world.service.items.get(tx, world.bob, item.id),
        lambda tx: world.service.items.stop(tx, world.bob, item.id),
        lambda tx: world.service.items.explain(tx, world.bob, item.id),
    ):
        with pytest.raises(NotFound, match="there is no item"):
            world.do(call)
    made = Draft.from_json({"job": "ann/p/j:latest"})
    with pytest.raises(NotFound):
        world.do(lambda tx: world.service.items.enqueue(tx, world.bob, [(made, None)]))
    assert world.do(lambda tx: world.service.items.find(tx, world.bob, ItemFilter())) == []


def test_critical_may_be_kept_to_admins(world: World) -> None:
    queue = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    kept = {"critical_for_admins": True}
    world.do(lambda tx: world.service.queues.update(tx, world.root, queue, kept))
    with pytest.raises(Forbidden, match="critical"):
        world.add(priority=0)
    assert world.add(priority=1).rank == 1


def test_priority_moves_a_pending_item_ahead(world: World) -> None:
    first, second = world.add(), world.add()
    world.do(lambda tx: world.service.items.set_priority(tx, world.ann, second.id, "high"))
    assert [grant.item.id for grant in world.lease(limit=2).leases] == [second.id, first.id]


def test_a_retry_makes_no_critical_item_where_these_are_kept_to_admins(world: World) -> None:
    queue = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    kept = {"critical_for_admins": True}
    world.do(lambda tx: world.service.queues.update(tx, world.root, queue, kept))
    item = world.add(world.root, entity="ann", queue_entity="ann", priority=0)
    world.do(lambda tx: world.service.items.stop(tx, world.root, item.id))
    with pytest.raises(Forbidden):
        world.do(lambda tx: world.service.items.retry(tx, world.ann, item.id))
