"""What each role may do: every use case asks, and says what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.agent import AgentState
from shipway.domain.errors import Forbidden, NotFound, ShipwayError
from shipway.domain.ids import AgentId, Digest, ItemId, KeyId, Token, UserName
from shipway.domain.item import Item
from shipway.domain.launch_spec import Draft
from shipway.domain.queue import Queue
from shipway.service.access import own_entity, require
from shipway.service.client_agents import ClientAsk
from shipway.service.ports import ItemFilter, Tx
from shipway.service.sweeps import SweepAsk
from shipway.service.wiring import Service
from tests.unit.conftest import SOURCE, World

Call = Callable[[Service, Tx, Actor, Item, Queue], Any]

WRITERS = {Role.ADMIN, Role.MEMBER}
READERS = {*WRITERS, Role.VIEWER}
AGENTS = {*WRITERS, Role.AGENT}
PEOPLE = {*READERS, Role.AGENT}

SPARE = AgentId("agent-spare")
DIGEST = Digest("e" * 64)

USE_CASES: list[tuple[str, set[Role], Call]] = [
    ("add items", WRITERS, lambda s, tx, who, item, queue: s.items.enqueue(
        tx, who, [(Draft.from_json({"source": SOURCE}), None)])),
    ("list items", READERS, lambda s, tx, who, item, queue: s.items.find(tx, who, ItemFilter())),
    ("stop items", WRITERS, lambda s, tx, who, item, queue: s.items.stop(tx, who, item.id)),
    ("delete items", WRITERS, lambda s, tx, who, item, queue: s.items.delete(tx, who, item.id)),
    ("change priorities", WRITERS,
     lambda s, tx, who, item, queue: s.items.set_priority(tx, who, item.id, 1)),
    ("retry items", WRITERS, lambda s, tx, who, item, queue: s.items.retry(tx, who, item.id)),
    ("make jobs", WRITERS, lambda s, tx, who, item, queue: s.jobs.create(tx, who, {})),
    ("list jobs", READERS,
     lambda s, tx, who, item, queue: s.jobs.find(tx, who, entity=None, project=None)),
    ("make queues", WRITERS,
     lambda s, tx, who, item, queue: s.queues.create(tx, who, name="q", resource="any")),
    ("see queues", READERS, lambda s, tx, who, item, queue: s.queues.get(tx, who, "default")),
    ("see queues", READERS, lambda s, tx, who, item, queue: s.queues.find(tx, who)),
    ("see queues", PEOPLE, lambda s, tx, who, item, queue: s.queues.named(tx, who, "default")),
    ("see queues", PEOPLE, lambda s, tx, who, item, queue: s.queues.by_id(tx, who, queue.id)),
    ("make queues", WRITERS, lambda s, tx, who, item, queue: s.queues.check(
        tx, who, entity="ann", resource="any", settings={})),
    ("(make|change) queues", WRITERS, lambda s, tx, who, item, queue: s.queues.put(
        tx, who, name="q", resource="any", entity="ann", project="p", settings={})),
    ("change queues", WRITERS,
     lambda s, tx, who, item, queue: s.queues.update(tx, who, queue, {})),
    ("change queues", WRITERS,
     lambda s, tx, who, item, queue: s.queues.set_paused(tx, who, queue, is_paused=True)),
    ("change queues", WRITERS, lambda s, tx, who, item, queue: s.queues.delete(tx, who, queue)),
    ("register agents", AGENTS, lambda s, tx, who, item, queue: s.agents.register(tx, who, {})),
    ("see agents", PEOPLE, lambda s, tx, who, item, queue: s.agents.get(tx, who, "agent-one")),
    ("list agents", READERS, lambda s, tx, who, item, queue: s.agents.find(tx, who)),
    ("(see|change) agents", AGENTS,
     lambda s, tx, who, item, queue: s.agents.ask(tx, who, "agent-one", AgentState.DRAINING)),
    ("act as an agent", AGENTS, lambda s, tx, who, item, queue: s.leases.report(
        tx, who, AgentId("agent-one"), [])),
    ("act as an agent", AGENTS, lambda s, tx, who, item, queue: s.leases.renew(
        tx, who, AgentId("agent-one"), {})),
    ("pin locks", AGENTS, lambda s, tx, who, item, queue: s.leases.pin(
        tx, who, item.id, Token("t"), DIGEST)),
    ("send logs", AGENTS, lambda s, tx, who, item, queue: s.logs.check(
        tx, who, item.id, "t", attempt=1, name="program", offset=0)),
    ("list runs", READERS,
     lambda s, tx, who, item, queue: s.runs.find(tx, who, entity=None, project=None)),
    ("store blobs", {*AGENTS, Role.JOB},
     lambda s, tx, who, item, queue: s.blobs.missing(tx, who, [DIGEST])),
    ("store blobs", {*AGENTS, Role.JOB},
     lambda s, tx, who, item, queue: s.blobs.admit(tx, who, {DIGEST: 1})),
    ("read blobs", set(Role),
     lambda s, tx, who, item, queue: s.blobs.check_reads(tx, who, [DIGEST])),
    ("make sweeps", WRITERS, lambda s, tx, who, item, queue: s.sweeps.upsert(
        tx, who, SweepAsk(given={}))),
    ("list sweeps", READERS,
     lambda s, tx, who, item, queue: s.sweeps.of_project(tx, who, "ann", "demo")),
    ("list sweeps", READERS, lambda s, tx, who, item, queue: s.sweeps.count(tx, who, "ann", "p")),
    ("register agents", AGENTS, lambda s, tx, who, item, queue: s.client_agents.register(
        tx, who, ClientAsk(client="c", queue_ids=[queue.id], hostname="", version="", slots=1))),
    ("act as an agent", AGENTS,
     lambda s, tx, who, item, queue: s.client_agents.poll(tx, who, "agent-one")),
    ("act as an agent", AGENTS,
     lambda s, tx, who, item, queue: s.client_agents.leave(tx, who, "agent-one")),
    ("act as an agent", AGENTS, lambda s, tx, who, item, queue: s.client_agents.pop(
        tx, who, "agent-one", "default", entity="ann", project="p")),
    ("add items", AGENTS, lambda s, tx, who, item, queue: s.requeues.again(
        tx, who, run=f"{item.entity}/{item.project}/{item.run_id}")),
    ("add users", {Role.ADMIN},
     lambda s, tx, who, item, queue: s.keys.create_user(tx, who, name="new", role="member")),
    ("list users", {Role.ADMIN}, lambda s, tx, who, item, queue: s.keys.users(tx, who)),
    ("disable users", {Role.ADMIN},
     lambda s, tx, who, item, queue: s.keys.set_disabled(tx, who, "bob", is_disabled=True)),
    ("make keys", READERS,
     lambda s, tx, who, item, queue: s.keys.create_key(tx, who, user=None, role=None, label="")),
    ("make keys", {Role.ADMIN},
     lambda s, tx, who, item, queue: s.keys.create_key(tx, who, user="bob", role=None, label="")),
    ("list keys", READERS, lambda s, tx, who, item, queue: s.keys.keys(tx, who)),
    ("revoke keys", READERS, lambda s, tx, who, item, queue: s.keys.revoke(tx, who, "no-such")),
    ("make sign-in links", READERS, lambda s, tx, who, item, queue: s.keys.make_link(tx, who)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "allowed", "call"),
    USE_CASES,
    ids=[f"{at} {row[0]}" for at, row in enumerate(USE_CASES)],
)
def test_a_use_case_is_for_its_roles_alone(
    world: World, what: str, allowed: set[Role], call: Call
) -> None:
    item = world.add()
    queue = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    for role in Role:
        own = item.id if role is Role.JOB else None
        actor = Actor(
            user=UserName("ann"), role=role, entity="ann", key_id=KeyId("kann"), item_id=own
        )

        def attempt(tx: Tx, actor: Actor = actor) -> None:
            call(world.service, tx, actor, item, queue)

        if role not in allowed:
            with pytest.raises(Forbidden, match=rf"with the role {role} may not {what}"):
                world.do(attempt)
            continue
        try:
            world.do(attempt)
        except Forbidden as error:
            pytest.fail(f"{role} is refused: {error}")
        except ShipwayError:
            pass  # it was let in, and there was something else wrong


def test_a_refusal_names_the_roles_that_may(world: World) -> None:
    with pytest.raises(Forbidden) as refused:
        require(world.ann, frozenset({Role.VIEWER, Role.ADMIN}), "dance")
    assert (
        refused.value.message == "a key with the role member may not dance (roles: admin, viewer)"
    )


def test_an_entity_of_ones_own_is_matched_without_case(world: World) -> None:
    assert own_entity(world.ann, None) == "ann"
    assert own_entity(world.ann, "ANN") == "ANN"
    assert own_entity(world.root, "bob") == "bob"
    with pytest.raises(NotFound, match="there is no entity 'bob' that you may write to"):
        own_entity(world.ann, "bob")


def test_a_program_sees_no_other_item(world: World) -> None:
    mine, other = world.add(), world.add()
    program = replace(world.ann, role=Role.JOB, item_id=mine.id)
    get = world.service.items.get
    assert world.do(lambda tx: get(tx, program, mine.id)).id == mine.id
    with pytest.raises(NotFound, match=f"there is no item '{other.id}'"):
        world.do(lambda tx: get(tx, program, other.id))


def test_a_list_of_anothers_things_is_refused_but_to_admins(world: World) -> None:
    world.add()
    service = world.service
    finders: list[Callable[[Tx, Actor], Any]] = [
        lambda tx, who: service.items.find(tx, who, ItemFilter(entity="ann")),
        lambda tx, who: service.runs.find(tx, who, entity="ann", project=None),
        lambda tx, who: service.jobs.find(tx, who, entity="ann", project=None),
        lambda tx, who: service.queues.find(tx, who, entity="ann"),
    ]
    for find in finders:
        with pytest.raises(NotFound, match="there is no entity 'ann'"):
            world.do(lambda tx: find(tx, world.bob))
        assert isinstance(world.do(lambda tx: find(tx, world.ann)), list)
        assert isinstance(world.do(lambda tx: find(tx, world.root)), list)


def test_a_stop_of_a_missing_item_says_so(world: World) -> None:
    with pytest.raises(NotFound, match="there is no item 'nope'"):
        world.do(lambda tx: world.service.items.stop(tx, world.ann, ItemId("nope")))
