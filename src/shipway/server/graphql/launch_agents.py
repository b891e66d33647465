"""Answers wandb's launch agents about themselves."""

from __future__ import annotations

from typing import Any

from shipway.domain.agent import Agent, AgentState
from shipway.domain.errors import Invalid
from shipway.domain.ids import QueueId
from shipway.server.graphql import ids, translate_items
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate import time_of
from shipway.server.graphql.translate_queues import QUEUE, read_queue_id
from shipway.service.client_agents import ClientAsk

ENDING = frozenset({AgentState.STOPPING, AgentState.GONE})


async def create_launch_agent(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Register an agent; each start of its process is a new one."""
    call = info.context
    actor, agents = call.actor, call.edge.service.client_agents
    slots, is_locked = translate_items.read_agent_config(input.get("agentConfig"))
    ask = ClientAsk(
        client=translate_items.CLIENT,
        queue_ids=[QueueId(read_queue_id(node)) for node in input["runQueues"]],
        hostname=input["hostname"],
        version=input.get("version") or "",
        slots=slots,
        facts={translate_items.LOCKED_FACT: True} if is_locked else {},
    )
    agent = await call.edge.write(lambda tx: agents.register(tx, actor, ask))
    return {"launchAgentId": agent.id, "success": True}


async def launch_agent(_: Any, info: Info, *, id: str) -> Agent:
    """Tell an agent how it stands, and take note that it lives."""
    call = info.context
    actor, agents = call.actor, call.edge.service.client_agents
    return await call.edge.write(lambda tx: agents.poll(tx, actor, id))


async def update_launch_agent(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Take what an agent says of itself."""
    call = info.context
    actor, agents, agent_id = call.actor, call.edge.service.client_agents, input["launchAgentId"]
    status = input.get("agentStatus") or translate_items.POLLING
    if status == translate_items.KILLED:
        await call.edge.write(lambda tx: agents.leave(tx, actor, agent_id))
    elif status in (translate_items.POLLING, translate_items.RUNNING):
        await call.edge.write(lambda tx: agents.poll(tx, actor, agent_id))
    else:
        raise Invalid(
            f"agentStatus {status!r} is none of POLLING, RUNNING, KILLED",
            field="agentStatus",
            value=status,
        )
    return {"success": True}


RESOLVERS: Resolvers = {
    "Query": {"launchAgent": launch_agent},
    "Mutation": {
        "createLaunchAgent": create_launch_agent,
        "updateLaunchAgent": update_launch_agent,
    },
    "LaunchAgent": {
        "name": lambda agent, _: agent.id,
        "runQueues": lambda agent, _: [ids.number(QUEUE, one) for one in agent.queue_ids],
        "agentStatus": lambda agent, _: translate_items.status_of(agent),
        "stopPolling": lambda agent, _: agent.state in ENDING,
        "heartbeatAt": lambda agent, _: time_of(agent.seen_at),
    },
}
