"""Registers and shows agents, and passes on what is asked of them."""

from __future__ import annotations

from starlette.responses import Response

from shipway.domain.agent import AgentState
from shipway.server.call import Asked, Call
from shipway.server.rest.answers import answer, page
from shipway.server.rest.bodies import AgentBody, FactsBody, GoodbyeBody
from shipway.server.rest.views import agent_view


async def register(call: Asked, body: AgentBody) -> Response:
    """Register an agent; a second call with its id replaces what it said before."""
    actor, agents, values = call.actor, call.edge.service.agents, body.model_dump()
    agent = await call.edge.write(lambda tx: agents.register(tx, actor, values))
    return answer(agent_view(agent), 201)


async def find(call: Asked) -> Response:
    """List agents."""
    actor, agents = call.actor, call.edge.service.agents
    found = await call.edge.read(lambda tx: agents.find(tx, actor))
    return answer(page([agent_view(agent) for agent in found]))


async def get(call: Asked, agent_id: str) -> Response:
    """Return an agent with the items that it holds."""
    actor, agents = call.actor, call.edge.service.agents
    agent, held = await call.edge.read(
        lambda tx: (agents.get(tx, actor, agent_id), agents.held(tx, actor, agent_id))
    )
    return answer({**agent_view(agent), "items": [item.id for item in held]})


async def drain(call: Asked, agent_id: str) -> Response:
    """Ask an agent to finish what it has and take nothing new."""
    return await _ask(call, agent_id, AgentState.DRAINING)


async def resume(call: Asked, agent_id: str) -> Response:
    """Let a draining agent take work again."""
    return await _ask(call, agent_id, AgentState.ACTIVE)


async def stop(call: Asked, agent_id: str) -> Response:
    """Ask an agent to end."""
    return await _ask(call, agent_id, AgentState.STOPPING)


async def tell(call: Asked, agent_id: str, body: FactsBody) -> Response:
    """Take facts that change while an agent runs, such as what is left of its disk."""
    actor, agents, facts = call.actor, call.edge.service.agents, body.facts
    agent = await call.edge.write(lambda tx: agents.tell(tx, actor, agent_id, facts))
    return answer(agent_view(agent))


async def leave(call: Asked, agent_id: str, body: GoodbyeBody) -> Response:
    """Note that an agent has ended."""
    actor, agents, process = call.actor, call.edge.service.agents, body.process
    agent = await call.edge.write(lambda tx: agents.leave(tx, actor, agent_id, process=process))
    return answer(agent_view(agent))


async def _ask(call: Call, agent_id: str, state: AgentState) -> Response:
    actor, agents = call.actor, call.edge.service.agents
    agent = await call.edge.write(lambda tx: agents.ask(tx, actor, agent_id, state))
    call.edge.polls.hint_agents([agent.id])
    return answer(agent_view(agent))
