"""What an agent says of itself, who sees and asks it, and how it stands after a goodbye."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Role
from shipway.domain.agent import SILENT_AFTER_MS, Agent, AgentState, RunAs
from shipway.domain.errors import Forbidden, Invalid, NotFound
from shipway.domain.ids import AgentId, ItemId, Token, UserName
from shipway.service.agents import QUEUES_LIMIT, SLOTS_LIMIT
from tests.unit.conftest import World


def said(world: World, *, process: str = "p1") -> AgentState:
    agents = world.service.agents
    return world.do(lambda tx: agents.leave(tx, world.ann, "agent-one", process=process)).state


def state(world: World) -> AgentState:
    return world.do(lambda tx: world.service.agents.get(tx, world.ann, "agent-one")).state


def test_an_agent_that_said_goodbye_is_gone_at_once(world: World) -> None:
    world.register("agent-one", facts={"process": "p1"})
    item = world.add()
    assert said(world) is AgentState.GONE
    assert said(world) is AgentState.GONE
    assert not world.lease().leases  # a poll that was still open gets nothing
    why = world.do(lambda tx: world.service.items.explain(tx, world.ann, item.id))
    assert [reason.code for reason in why.reasons] == ["no_agent"]


def test_a_late_goodbye_ends_no_newer_process(world: World) -> None:
    world.register("agent-one", facts={"process": "p1"})
    world.register("agent-one", facts={"process": "p2"})
    assert said(world, process="p1") is AgentState.ACTIVE
    assert said(world, process="p2") is AgentState.GONE
    world.register("agent-one", facts={"process": "p3"})
    assert state(world) is AgentState.ACTIVE


def test_an_agent_that_drains_drains_again_when_it_comes_back(world: World) -> None:
    world.register("agent-one", facts={"process": "p1"})
    ask = world.service.agents.ask
    world.do(lambda tx: ask(tx, world.ann, "agent-one", AgentState.DRAINING))
    assert said(world) is AgentState.DRAINING
    world.register("agent-one", facts={"process": "p2"})
    assert state(world) is AgentState.DRAINING


def test_nobody_else_says_an_agents_goodbye(world: World) -> None:
    leave = world.service.agents.leave
    with pytest.raises(Forbidden, match="only it"):
        world.do(lambda tx: leave(tx, world.root, AgentId("agent-one"), process="p1"))


SHORT = {"disk": {"free": 10**9, "total": 10**12}}


def told(world: World, facts: dict[str, object]) -> dict[str, object]:
    agents = world.service.agents
    return dict(world.do(lambda tx: agents.tell(tx, world.ann, "agent-one", facts)).facts)


def test_a_fact_that_changes_leaves_the_others_and_what_was_asked(world: World) -> None:
    world.register("agent-one", facts={"python": "3.11"})
    world.do(lambda tx: world.service.agents.ask(tx, world.ann, "agent-one", AgentState.STOPPING))
    assert told(world, SHORT) == {"python": "3.11", **SHORT}
    assert state(world) is AgentState.STOPPING
    assert told(world, {"disk": None}) == {"python": "3.11"}


@pytest.mark.parametrize(
    "facts", [{"python": "9"}, {"disk": {}}, {"disk": "full"}, {"disk": {"free": "1", "total": 2}}]
)
def test_only_known_facts_change(world: World, facts: dict[str, object]) -> None:
    world.register("agent-one")
    with pytest.raises(Invalid, match="fact"):
        told(world, facts)


def test_an_item_that_waits_for_room_says_so(world: World) -> None:
    world.register("agent-one")
    item = world.add()
    told(world, SHORT)
    why = world.do(lambda tx: world.service.items.explain(tx, world.ann, item.id))
    assert [reason.code for reason in why.reasons] == ["disk"]


def an_agent(world: World, **values: Any) -> Agent:
    agent_id = world.register("agent-two", **values)
    return world.do(lambda tx: world.service.agents.get(tx, world.ann, agent_id))


def test_an_agent_is_what_it_says_of_itself(world: World) -> None:
    made = an_agent(
        world,
        resources=["local-process", "moon", "moon"],
        run_as="shared",
        slots=3,
        hostname="h" * 300,
        version="v" * 100,
        facts={"python": "3.11"},
    )
    queue = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    assert made == Agent(
        id=AgentId("agent-two"), user=UserName("ann"), hostname="h" * 255, version="v" * 64,
        state=AgentState.ACTIVE, queue_ids=(queue.id,), queues=("default",),
        resources=("local-process", "moon"), run_as=RunAs.SHARED, slots=3, used_slots=0,
        facts={"python": "3.11"}, created_at=world.clock.now(), seen_at=world.clock.now(),
    )  # fmt: skip


def test_an_agent_that_says_little_serves_its_own_user_in_one_slot(world: World) -> None:
    made = an_agent(world, resources=[], facts="none")
    assert (made.hostname, made.version, made.facts) == ("", "", {})
    assert (made.run_as, made.slots, made.resources) == (RunAs.SELF, 1, ())


def test_an_agent_that_comes_back_keeps_its_age_and_its_work(world: World) -> None:
    first = an_agent(world)
    world.lease("agent-two", used_slots=2)
    world.clock.advance(5_000)
    again = an_agent(world)
    assert (again.created_at, again.seen_at) == (first.created_at, first.seen_at + 5_000)
    assert again.used_slots == 2


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"queues": []}, "queues"),
        ({"queues": "default"}, "queues"),
        ({"queues": None}, "queues"),
        ({"queues": [1]}, "queues"),
        ({"queues": [f"q{at}" for at in range(QUEUES_LIMIT + 1)]}, "queues"),
        ({"queues": ["nope"]}, "queue_name"),
        ({"resources": "local-process"}, "resources"),
        ({"resources": [None]}, "resources"),
        ({"run_as": "root"}, "run_as"),
        ({"slots": 0}, "slots"),
        ({"slots": -2}, "slots"),
        ({"slots": SLOTS_LIMIT + 1}, "slots"),
        ({"slots": True}, "slots"),
        ({"slots": "2"}, "slots"),
        ({"slots": 1.0}, "slots"),
        ({"id": "-x"}, "id"),
        ({"id": None}, "id"),
    ],
)
def test_a_bad_registration_is_refused_with_its_field(
    world: World, values: dict[str, Any], field: str
) -> None:
    said = {"id": "agent-two", "queues": ["default"], "resources": [], **values}
    with pytest.raises((Invalid, NotFound)) as refused:
        world.do(lambda tx: world.service.agents.register(tx, world.ann, said))
    assert refused.value.details["field"] == field


@pytest.mark.parametrize("slots", [-1, 1, SLOTS_LIMIT])
def test_the_ends_of_slots_are_taken(world: World, slots: int) -> None:
    assert an_agent(world, slots=slots).slots == slots


def test_an_agent_may_serve_as_many_queues_as_the_limit(world: World) -> None:
    names = [f"q{at}" for at in range(QUEUES_LIMIT)]
    create = world.service.queues.create
    for name in names:
        world.do(lambda tx, name=name: create(tx, world.ann, name=name, resource="any"))
    assert an_agent(world, queues=names).queues == tuple(names)


def test_an_agent_s_name_is_its_user_s(world: World) -> None:
    with pytest.raises(Forbidden, match=r"^agent agent-one was registered with a key of ann"):
        world.register("agent-one", world.bob)


def test_a_schema_that_an_agent_brings_is_used_and_a_shipped_one_stays(world: World) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    open_schema = {"type": "object"}
    brought = {"moon": schema, "local-process": open_schema, "bad": 3}
    an_agent(world, resources=["moon"], facts={"schemas": brought})
    assert world.add(resource="moon", resource_args={"moon": {"a": 1}}).resource == "moon"
    for name, args in (("moon", {"a": "x"}), ("local-process", {"nope": 1})):
        with pytest.raises(Invalid, match=f"resource_args.{name}"):
            world.add(resource_args={name: args})
    assert world.service.resources.schema("moon") == schema
    assert world.service.resources.schema("bad") is None


def test_an_agent_is_seen_by_those_whose_queues_it_serves(world: World) -> None:
    agents = world.service.agents
    carl = replace(world.ann, user=UserName("carl"), entity="ANN")
    for who in (world.ann, world.root, carl):
        assert world.do(lambda tx: agents.get(tx, who, "agent-one")).id == "agent-one"
        assert [one.id for one in world.do(lambda tx: agents.find(tx, who))] == ["agent-one"]
    assert world.do(lambda tx: agents.find(tx, world.bob)) == []
    for name in ("agent-one", "agent-none"):
        with pytest.raises(NotFound, match=rf"^there is no agent '{name}'"):
            world.do(lambda tx, name=name: agents.get(tx, world.bob, name))


def test_an_agent_of_a_deleted_queue_is_seen_by_its_user_alone(world: World) -> None:
    queues, agents = world.service.queues, world.service.agents
    queue = world.do(lambda tx: queues.create(tx, world.ann, name="gone", resource="any"))
    an_agent(world, queues=["gone"])
    world.do(lambda tx: queues.delete(tx, world.ann, queue))
    carl = replace(world.ann, user=UserName("carl"))
    assert world.do(lambda tx: agents.get(tx, world.ann, "agent-two")).id == "agent-two"
    with pytest.raises(NotFound):
        world.do(lambda tx: agents.get(tx, carl, "agent-two"))


def test_only_its_user_and_admins_ask_an_agent(world: World) -> None:
    ask = world.service.agents.ask

    def asked(who: Any) -> AgentState:
        return world.do(lambda tx: ask(tx, who, "agent-one", AgentState.DRAINING)).state

    assert asked(replace(world.ann, role=Role.AGENT)) is AgentState.DRAINING
    assert asked(world.root) is AgentState.DRAINING
    carl = replace(world.ann, user=UserName("carl"))
    with pytest.raises(Forbidden, match="belongs to ann: only they and admins may"):
        asked(carl)
    with pytest.raises(Forbidden, match="may not change agents"):
        asked(replace(carl, role=Role.AGENT))


def test_only_an_agent_says_how_it_is(world: World) -> None:
    tell = world.service.agents.tell
    with pytest.raises(Forbidden, match="belongs to ann: only it says how it is"):
        world.do(lambda tx: tell(tx, world.root, "agent-one", SHORT))


@pytest.mark.parametrize(
    ("facts", "field"), [({"python": "9"}, "facts.python"), ({"disk": {}}, "facts.disk")]
)
def test_a_bad_fact_is_named(world: World, facts: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        told(world, facts)
    assert refused.value.details["field"] == field


def test_an_agent_acts_for_nobody_elses_agent(world: World) -> None:
    renew = world.service.leases.renew
    held: dict[ItemId, Token] = {}
    with pytest.raises(NotFound, match=r"^there is no agent agent-one: register it first"):
        world.do(lambda tx: renew(tx, world.bob, AgentId("agent-one"), held))
    with pytest.raises(NotFound, match=r"^there is no agent agent-none: register it first"):
        world.do(lambda tx: renew(tx, world.root, AgentId("agent-none"), held))
    assert world.do(lambda tx: renew(tx, world.root, AgentId("agent-one"), held)).lost == []


def test_an_admin_s_agent_may_serve_the_queues_of_others(world: World) -> None:
    world.register("agent-two", world.root, entity="ann")
    agent = world.do(lambda tx: world.service.agents.get(tx, world.root, "agent-two"))
    queue = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    assert agent.queue_ids == (queue.id,)


def test_an_image_that_no_agent_can_run_is_told_what_the_agents_say_of_it(world: World) -> None:
    item = world.add(source=None, docker_image="box:1")
    facts = {"lacks": {"local-container": "no container engine can be used: no program docker"}}
    world.register("agent-two", hostname="box", facts=facts)
    explain = world.service.items.explain
    why = world.do(lambda tx: explain(tx, world.ann, item.id))
    assert [reason.code for reason in why.reasons] == ["lacks"]
    assert str(why).startswith(
        "No live agent of queue 'default' can run an image: agent agent-two (box) says: no "
        "container engine can be used: no program docker."
    )
    world.pass_time(SILENT_AFTER_MS)
    world.register("agent-three")
    why = world.do(lambda tx: explain(tx, world.ann, item.id))
    assert [reason.code for reason in why.reasons] == ["resource"]
    world.register("agent-four", resources=["local-container"])
    why = world.do(lambda tx: explain(tx, world.ann, item.id))
    assert [reason.code for reason in why.reasons] == ["next"]
