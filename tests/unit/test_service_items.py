"""Adding, showing, stopping, deleting and retrying items."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from shipway.domain.actor import Role
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
from shipway.domain.ids import Digest, ItemId
from shipway.domain.item import Event, State
from shipway.domain.launch_spec import Draft
from shipway.domain.tombstone import KEPT_MS
from shipway.service.items import GRACE_LIMIT_S, KEY_LIMIT
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
        with pytest.raises(NotFound, match=r"^there is no item"):
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


def names_of(world: World, item_id: ItemId) -> list[str]:
    events = world.do(lambda tx: world.service.items.events(tx, world.ann, item_id))
    return [event.event for event in events]


def test_what_happens_to_an_item_is_written_down_with_who_did_it(world: World) -> None:
    item = world.add()
    items = world.service.items
    world.do(lambda tx: items.set_priority(tx, world.root, item.id, "high"))
    world.do(lambda tx: items.delete(tx, world.ann, item.id))
    events = world.do(lambda tx: items.events(tx, world.ann, item.id))
    assert [(one.event, one.actor, one.state) for one in events] == [
        ("enqueue", "ann", State.PENDING),
        ("priority", "root", State.PENDING),
        ("stop_request", "ann", State.PENDING),
        ("stop", "ann", State.STOPPED),
        ("delete", "ann", State.STOPPED),
    ]
    assert [one.data for one in events] == [{}, {"priority": "high"}, {"grace_s": 10.0}, {}, {}]
    assert {(one.at, one.attempt, one.queue_id) for one in events} == {
        (world.clock.now(), 0, item.queue_id)
    }
    later = world.do(lambda tx: items.events(tx, world.ann, item.id, after_seq=events[2].seq))
    assert later == events[3:]
    with pytest.raises(NotFound):
        world.do(lambda tx: items.events(tx, world.bob, item.id))


def test_a_known_key_is_told_from_a_new_one(world: World) -> None:
    made = Draft.from_json({"source": {"kind": "image", "image": "a"}, "resource": None})
    add = world.service.items.enqueue
    (first, is_new), (second, is_new_too) = world.do(
        lambda tx: add(tx, world.ann, [(made, "k"), (made, "k")])
    )
    assert (first.id, is_new, is_new_too) == (second.id, True, False)
    assert first.body_hash is not None
    assert world.do(lambda tx: add(tx, world.ann, [(made, None)]))[0][0].body_hash is None


def test_a_known_key_stands_for_an_image_by_whatever_digest(world: World) -> None:
    image = {"kind": "image", "image": "r.example/a:1"}
    asked = [
        {"docker_image": "r.example/a:1"}, {"source": image},
        {"source": {**image, "digest": "sha256:" + "d" * 64}},
        {"source": {**image, "digest": "sha256:" + "e" * 64, "platforms": ["linux/amd64"]}},
    ]  # fmt: skip
    assert len({world.add(key="k", **{"source": None, **one}).id for one in asked}) == 1
    with pytest.raises(KeyReused):
        world.add(key="k", source={**image, "image": "r.example/a:2"})


@pytest.mark.parametrize("key", ["", "k" * (KEY_LIMIT + 1), "a\nb"])
def test_a_bad_key_is_refused(world: World, key: str) -> None:
    with pytest.raises(Invalid, match=f"has 1 to {KEY_LIMIT} printable characters") as refused:
        world.add(key=key)
    assert refused.value.details["field"] == "idempotency_key"
    assert world.add(key="k" * KEY_LIMIT).idempotency_key == "k" * KEY_LIMIT


def test_a_repeated_retry_adds_one_item(world: World) -> None:
    item = world.add()
    items = world.service.items
    world.do(lambda tx: items.stop(tx, world.ann, item.id))
    again = [world.do(lambda tx: items.retry(tx, world.ann, item.id, key="k")) for _ in range(2)]
    assert again[0].id == again[1].id != item.id
    with pytest.raises(KeyReused, match="'k' was used for item"):
        world.add(key="k")
    assert world.do(lambda tx: items.retry(tx, world.ann, item.id)).id != again[0].id


def test_a_stop_gives_the_grace_that_was_asked_for_or_the_item_s_own(world: World) -> None:
    stop = world.service.items.stop
    own = {"local-process": {"grace_s": 3}}
    for args, asked, grace in (({}, None, 10), (own, None, 3), (own, 5, 5), (own, 0, 0)):
        item_id, _ = world.running(resource_args=args)
        stopping = world.do(lambda tx: stop(tx, world.ann, item_id, grace_s=asked))
        assert (stopping.state, stopping.stop_grace_s) == (State.RUNNING, grace)
        assert names_of(world, item_id)[-1] == "stop_request"


@pytest.mark.parametrize("grace_s", [-0.1, GRACE_LIMIT_S + 1, float("nan")])
def test_a_bad_grace_is_refused(world: World, grace_s: float) -> None:
    item, stop = world.add(), world.service.items.stop
    with pytest.raises(Invalid, match="grace_s must be from 0 to 3600 seconds") as refused:
        world.do(lambda tx: stop(tx, world.ann, item.id, grace_s=grace_s))
    assert refused.value.details["field"] == "grace_s"
    assert world.item(item.id).state is State.PENDING
    stopped = world.do(lambda tx: stop(tx, world.ann, item.id, grace_s=GRACE_LIMIT_S))
    assert stopped.state is State.STOPPED


def test_a_second_delete_changes_nothing(world: World) -> None:
    item_id, token = world.running()
    world.report(item_id, token, Event.FINISH, exit_code=0)
    delete = world.service.items.delete
    first = world.do(lambda tx: delete(tx, world.ann, item_id))
    world.clock.advance(10)
    assert world.do(lambda tx: delete(tx, world.ann, item_id)) == first
    assert first.state is State.FINISHED
    assert names_of(world, item_id).count("delete") == 1


def test_only_a_waiting_item_changes_its_priority(world: World) -> None:
    item_id, _ = world.running()
    set_priority = world.service.items.set_priority
    with pytest.raises(Conflict, match="is running: only a pending one has an order"):
        world.do(lambda tx: set_priority(tx, world.ann, item_id, "high"))
    waiting = world.add()
    with pytest.raises(Invalid):
        world.do(lambda tx: set_priority(tx, world.ann, waiting.id, "urgent"))
    queue = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    kept = {"critical_for_admins": True}
    world.do(lambda tx: world.service.queues.update(tx, world.ann, queue, kept))
    with pytest.raises(Forbidden, match="keeps priority 'critical' to admins"):
        world.do(lambda tx: set_priority(tx, world.ann, waiting.id, "critical"))
    changed = world.do(lambda tx: set_priority(tx, world.root, waiting.id, "critical"))
    assert (changed.priority, changed.rank) == (0, 0)


def test_a_queue_without_priorities_keeps_the_order_of_arrival(world: World) -> None:
    queue = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    world.do(lambda tx: world.service.queues.update(tx, world.ann, queue, {"priorities": False}))
    item = world.add(priority=0)
    assert (item.priority, item.rank) == (0, 2)


def test_what_was_deleted_long_ago_is_not_launched_again(world: World) -> None:
    item, items = world.add(project="p"), world.service.items
    world.do(lambda tx: items.delete(tx, world.ann, item.id))
    world.clock.advance(KEPT_MS - 1)
    path = f"ann/p/{item.run_id}"
    world.do(lambda tx: items.retry(tx, world.ann, item.id))
    world.add(source=None, run=path)
    world.clock.advance(1)
    with pytest.raises(Conflict, match="was deleted more than 7 days ago"):
        world.do(lambda tx: items.retry(tx, world.ann, item.id))
    with pytest.raises(Conflict, match="was deleted more than 7 days ago"):
        world.add(source=None, run=path)


def test_a_deleted_queue_takes_no_retry_and_still_explains_its_items(world: World) -> None:
    queues, items = world.service.queues, world.service.items
    queue = world.do(lambda tx: queues.create(tx, world.ann, name="q", resource="any"))
    item = world.add(queue="q")
    world.do(lambda tx: items.stop(tx, world.ann, item.id))
    world.do(lambda tx: queues.delete(tx, world.ann, queue))
    with pytest.raises(NotFound, match=f"queue 'q' of item {item.id} was deleted"):
        world.do(lambda tx: items.retry(tx, world.ann, item.id))
    why = world.do(lambda tx: items.explain(tx, world.ann, item.id))
    assert str(why) == "It was stopped by ann."


def test_an_item_knows_how_many_are_before_it(world: World) -> None:
    first, second = world.add(), world.add()
    items = world.service.items
    why = world.do(lambda tx: items.explain(tx, world.ann, second.id))
    assert (why.ahead, why.position) == (1, 2)
    world.lease()
    running = world.do(lambda tx: items.explain(tx, world.ann, first.id))
    assert (running.ahead, running.position) == (0, None)


def test_a_program_of_ones_own_is_the_author_of_what_it_adds(world: World) -> None:
    item = world.add()
    assert (item.author, item.submitted_by) == ("ann", "ann")
    assert world.add(author="Ann L").author == "Ann L"
    assert world.add(run_id="mine").run_id == "mine"
    assert world.add(world.root, entity="ann", queue_entity="bob").queue == "default"
    other = world.add(world.root, queue_entity="bob")
    bobs = world.do(lambda tx: world.service.queues.named(tx, world.bob, "default"))
    assert other.queue_id == bobs.id


def test_a_list_is_cut_to_what_was_asked_for(world: World) -> None:
    made = [world.add() for _ in range(3)]
    find = world.service.items.find
    found = world.do(lambda tx: find(tx, world.ann, ItemFilter(limit=2)))
    assert [one.id for one in found] == [made[2].id, made[1].id]
    viewer = replace(world.ann, role=Role.VIEWER)
    assert len(world.do(lambda tx: find(tx, viewer, ItemFilter()))) == 3
    everybodys = world.do(lambda tx: find(tx, world.root, ItemFilter(entity="bob")))
    assert everybodys == []


def test_a_job_launches_what_it_keeps(world: World) -> None:
    said = {
        "kind": "image", "source": {"kind": "image", "image": "a"}, "name": "j", "args": ["--x"],
    }  # fmt: skip
    world.do(lambda tx: world.service.jobs.create(tx, world.ann, said))
    item = world.add(source=None, job="ann/uncategorized/j:latest", resource="local-container")
    assert '"args":["--x"]' in item.spec
    assert '"image":"a"' in item.spec
