"""How an agent that said goodbye stands, and who may say it."""

from __future__ import annotations

import pytest

from shipway.domain.agent import AgentState
from shipway.domain.errors import Forbidden, Invalid
from shipway.domain.ids import AgentId
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
