"""Lets wandb's launch agents take items, and tell what became of them."""

from __future__ import annotations

from typing import Any

from shipway.domain.agent import Agent
from shipway.domain.errors import Invalid
from shipway.domain.names import DEFAULT_QUEUE_PROJECT
from shipway.server.graphql import translate_items
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.service.client_agents import ClientGrant
from shipway.service.ports import Tx


async def pop(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any] | None:
    """Lease an item; the id that is answered stands for this lease alone."""
    call = info.context
    service, actor, agent_id = call.edge.service, call.actor, input.get("launchAgentId")
    if agent_id is None:
        raise Invalid("launchAgentId is missing: items are leased to agents", field="launchAgentId")

    def work(tx: Tx) -> tuple[ClientGrant | None, Agent]:
        grant = service.client_agents.pop(
            tx, actor, agent_id, input["queueName"], entity=input["entityName"],
            project=input["projectName"] or DEFAULT_QUEUE_PROJECT,
        )  # fmt: skip
        return grant, service.agents.get(tx, actor, agent_id)

    grant, agent = await call.edge.write(work)
    if grant is None:
        return None
    spec = translate_items.run_spec_of(grant, agent)
    return {"runQueueItemId": grant.name, "runSpec": spec}


async def ack(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Let a leased item start."""
    call = info.context
    actor, agents, name = call.actor, call.edge.service.client_agents, input["runQueueItemId"]
    is_done = await call.edge.write(lambda tx: agents.ack(tx, actor, name, input["runName"]))
    return {"success": is_done}


async def fail(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """End an item that its agent could not see through."""
    call = info.context
    actor, agents, name = call.actor, call.edge.service.client_agents, input["runQueueItemId"]
    says = translate_items.says_of(input)
    return {"success": await call.edge.write(lambda tx: agents.fail(tx, actor, name, says))}


async def warn(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Keep a warning with its item."""
    call = info.context
    actor, agents, name = call.actor, call.edge.service.client_agents, input["runQueueItemId"]
    says = translate_items.says_of(input)
    return {"success": await call.edge.write(lambda tx: agents.warn(tx, actor, name, says))}


RESOLVERS: Resolvers = {
    "Mutation": {
        "popFromRunQueue": pop,
        "ackRunQueueItem": ack,
        "failRunQueueItem": fail,
        "updateRunQueueItemWarning": warn,
    },
}
