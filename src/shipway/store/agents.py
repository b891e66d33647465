"""Rows of agents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shipway.domain.agent import Agent, AgentState
from shipway.domain.ids import AgentId, ItemId, QueueId, Token
from shipway.domain.lease import HeldAsk
from shipway.store.rows import check_text, to_agent, to_json
from shipway.store.session import Row, Session


class Agents:
    """The port `AgentRows` on one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def upsert(self, agent: Agent) -> None:
        """Store what an agent says of itself; its asked-for state is kept unless it is gone."""
        check_text(id=agent.id, hostname=agent.hostname, version=agent.version)
        self._session.run(
            "upsert_agent",
            {
                "id": agent.id,
                "user_name": agent.user,
                "hostname": agent.hostname,
                "version": agent.version,
                "state": agent.state.value,
                "queue_ids": json.dumps(agent.queue_ids),
                "queues": json.dumps(agent.queues),
                "resources": json.dumps(agent.resources),
                "run_as": agent.run_as.value,
                "slots": agent.slots,
                "used_slots": agent.used_slots,
                "facts": to_json(agent.facts),
                "created_at": agent.created_at,
                "seen_at": agent.seen_at,
            },
        )

    def get(self, agent_id: AgentId) -> Agent | None:
        """Return an agent."""
        return _maybe(self._session.one("agent", {"id": agent_id}))

    def find(self, *, queue_id: QueueId | None = None) -> list[Agent]:
        """Return agents in order of id."""
        if queue_id is None:
            rows = self._session.all("find_agents", {})
        else:
            rows = self._session.all("find_agents_of_queue", {"queue_id": queue_id})
        return [to_agent(row) for row in rows]

    def seen(self, agent_id: AgentId, *, used_slots: int, now: int) -> None:
        """Note that an agent was heard of."""
        self._session.run("note_agent", {"id": agent_id, "used_slots": used_slots, "now": now})

    def set_facts(self, agent_id: AgentId, facts: Mapping[str, Any]) -> Agent | None:
        """Replace what an agent told of itself; None for an unknown one."""
        params = {"id": agent_id, "facts": to_json(facts)}
        return _maybe(self._session.one("set_agent_facts", params))

    def set_state(self, agent_id: AgentId, state: AgentState) -> Agent | None:
        """Ask an agent for something; None for an unknown one."""
        return _maybe(self._session.one("set_agent_state", {"id": agent_id, "state": state.value}))

    def forget(self, *, before: int, limit: int) -> int:
        """Delete those not heard of since, but for those that hold items; return how many."""
        rows = self._session.all("forget_agents", {"before": before, "limit": limit})
        return len(rows)

    def asks(self, agent_id: AgentId, *, unheard_before: int) -> list[HeldAsk]:
        """Return what it holds and somebody asked to stop, or it should have told of by now."""
        params = {"agent": agent_id, "unheard_before": unheard_before}
        return [
            HeldAsk(
                item=ItemId(item_id),
                attempt=attempt,
                token=Token(token),
                is_stop=bool(is_stop),
                grace_s=grace_s,
            )
            for item_id, attempt, token, is_stop, grace_s in self._session.all(
                "asks_of_agent", params
            )
        ]


def _maybe(row: Row | None) -> Agent | None:
    return None if row is None else to_agent(row)
