"""Answers workers of sweeps, takes them on and gives them runs."""

from __future__ import annotations

from typing import Any

from shipway.domain.names import DEFAULT_PROJECT
from shipway.domain.sweep import SweepAgent
from shipway.server.graphql import translate_sweeps as words
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.sweeps import page_info
from shipway.server.graphql.translate import time_of
from shipway.service.ports import Tx
from shipway.service.runs import RunView
from shipway.service.sweep_agents import Beat
from shipway.service.sweeps import SweepView


async def create_agent(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Take a worker on."""
    call = info.context
    actor, service = call.actor, call.edge.service
    entity = input.get("entityName") or actor.entity
    project = input.get("projectName") or DEFAULT_PROJECT

    def work(tx: Tx) -> SweepAgent:
        sweep = service.sweeps.get(tx, actor, entity, project, input["sweep"])
        return service.sweep_agents.register(tx, actor, sweep, host=input["host"])

    agent = await call.edge.write(work)
    return {"agent": agent, "clientMutationId": input.get("clientMutationId")}


async def heartbeat(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Hear which runs a worker has, and tell it what to do."""
    call = info.context
    actor, agents, agent_id = call.actor, call.edge.service.sweep_agents, input["id"]
    running = words.running_of(input.get("runState"))
    beat: Beat = await call.edge.write(lambda tx: agents.beat(tx, actor, agent_id, running))
    if beat.needs_search:  # it takes its time
        ask = await call.edge.read(lambda tx: agents.ask(tx, actor, agent_id))
        found = await call.edge.run(lambda: agents.search(ask))
        beat = await call.edge.write(lambda tx: agents.beat(tx, actor, agent_id, running, found))
    return {
        "agent": await call.edge.read(lambda tx: agents.get(tx, actor, agent_id)),
        "commands": words.commands_of(beat.commands),
        "clientMutationId": input.get("clientMutationId"),
    }


async def agent_of(
    view: SweepView,
    info: Info,
    *,
    agentName: str,  # noqa: N803 - the schema's name
) -> SweepAgent | None:
    """Return a worker of a sweep, or null."""
    call = info.context
    sweeps = call.edge.service.sweeps
    return await call.edge.read(lambda tx: sweeps.agent(tx, view.sweep, agentName))


async def agents_of(view: SweepView, info: Info, **_more: Any) -> dict[str, Any]:
    """Return the workers of a sweep; all of them are one page."""
    call = info.context
    sweeps = call.edge.service.sweeps
    agents = await call.edge.read(lambda tx: sweeps.agents(tx, view.sweep))
    edges = [{"node": agent, "cursor": agent.id} for agent in agents]
    return {"edges": edges, "pageInfo": page_info(edges, is_more=False)}


async def runs_of(agent: SweepAgent, info: Info, **_more: Any) -> dict[str, Any]:
    """Return the last runs that a worker was given; they are one page."""
    call = info.context
    agents = call.edge.service.sweep_agents
    views: list[RunView] = await call.edge.read(lambda tx: agents.runs(tx, agent))
    edges = [{"node": view, "cursor": str(view.run.seq)} for view in views]
    return {
        "edges": edges,
        "pageInfo": page_info(edges, is_more=False),
        "totalCount": len(edges),
    }


async def run_count(agent: SweepAgent, info: Info) -> int:
    """Return how many of a worker's runs there are to be seen."""
    return len((await runs_of(agent, info))["edges"])


RESOLVERS: Resolvers = {
    "Mutation": {"createAgent": create_agent, "agentHeartbeat": heartbeat},
    "Sweep": {"agent": agent_of, "agents": agents_of},
    "Agent": {
        "id": lambda agent, _: agent.id,
        "name": lambda agent, _: agent.id,
        "host": lambda agent, _: agent.host,
        "state": lambda agent, _: "STOPPED" if agent.deadline is None else "RUNNING",
        "totalRuns": run_count,
        "createdAt": lambda agent, _: time_of(agent.created_at),
        "heartbeatAt": lambda agent, _: time_of(agent.heard_at),
        "runs": runs_of,
    },
}
