"""Registers agents, shows them, and passes on what an admin asks of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shipway.domain.actor import Actor, Role
from shipway.domain.agent import SETTLED_FACT, Agent, AgentState, RunAs, room_in
from shipway.domain.errors import Forbidden, Invalid, NotFound
from shipway.domain.ids import AgentId
from shipway.domain.item import Item
from shipway.domain.names import check_name
from shipway.service.access import AGENTS, READERS, WRITERS, missing, require, sees
from shipway.service.ports import Clock, Tx
from shipway.service.queues import Queues
from shipway.service.resources import Resources

QUEUES_LIMIT = 64  # queues of one agent
CHANGING = frozenset({"disk"})  # facts that an agent tells anew while it runs
SLOTS_LIMIT = 1_000_000


class Agents:
    """Use cases of agents as things that people see."""

    def __init__(self, *, clock: Clock, queues: Queues, resources: Resources) -> None:
        self._clock = clock
        self._queues = queues
        self._resources = resources

    def register(self, tx: Tx, actor: Actor, values: Mapping[str, Any]) -> Agent:
        """Store what an agent says of itself; a second call with its id replaces it."""
        require(actor, AGENTS, "register agents")
        agent_id = AgentId(check_name(values.get("id"), field="id"))
        known = tx.agents.get(agent_id)
        if known is not None and known.user != actor.user:
            raise Forbidden(f"agent {agent_id} was registered with a key of {known.user}")
        names = _names(values, "queues")
        if not names or len(names) > QUEUES_LIMIT:
            raise Invalid(
                f"an agent serves 1 to {QUEUES_LIMIT} queues", field="queues", value=len(names)
            )
        entity = values.get("entity")
        queues = [self._queues.named(tx, actor, name, entity=entity) for name in names]
        run_as = values.get("run_as") or RunAs.SELF
        if run_as not in list(RunAs):
            raise Invalid(
                f"run_as {run_as!r} is not one of {', '.join(RunAs)}", field="run_as", value=run_as
            )
        slots = values.get("slots", 1)
        is_whole = isinstance(slots, int) and not isinstance(slots, bool)
        if not is_whole or not -1 <= slots <= SLOTS_LIMIT or slots == 0:
            raise Invalid(
                f"slots must be -1 (unlimited) or from 1 to {SLOTS_LIMIT}, not {slots!r}",
                field="slots",
                value=slots,
            )
        facts = values.get("facts") or {}
        now = self._clock.now()
        agent = Agent(
            id=agent_id,
            user=actor.user,
            hostname=str(values.get("hostname") or "")[:255],
            version=str(values.get("version") or "")[:64],
            state=AgentState.ACTIVE,
            queue_ids=tuple(queue.id for queue in queues),
            queues=tuple(queue.name for queue in queues),
            resources=tuple(_names(values, "resources")),
            run_as=RunAs(run_as),
            slots=slots,
            used_slots=known.used_slots if known else 0,
            facts=_facts(facts, known),
            created_at=known.created_at if known else now,
            seen_at=now,
        )
        tx.agents.upsert(agent)
        self._resources.learn(agent.facts.get("schemas") or {})
        stored = tx.agents.get(agent_id)
        assert stored is not None
        return stored

    def get(self, tx: Tx, actor: Actor, agent_id: str) -> Agent:
        """Return an agent that serves a queue which the actor sees."""
        require(actor, READERS | AGENTS, "see agents")
        agent = tx.agents.get(AgentId(agent_id))
        if agent is None or not self._sees(tx, actor, agent):
            raise NotFound(missing(f"agent {agent_id!r}"))
        return agent

    def held(self, tx: Tx, actor: Actor, agent_id: str) -> list[Item]:
        """Return the items that an agent holds, of the entities that the actor sees."""
        agent = self.get(tx, actor, agent_id)
        return [item for item in tx.leases.held_by(agent.id) if sees(actor, item.entity)]

    def find(self, tx: Tx, actor: Actor) -> list[Agent]:
        """Return the agents that serve queues which the actor sees."""
        require(actor, READERS, "list agents")
        return [agent for agent in tx.agents.find() if self._sees(tx, actor, agent)]

    def ask(self, tx: Tx, actor: Actor, agent_id: str, state: AgentState) -> Agent:
        """Ask an agent to drain, to go on or to end."""
        agent = self.get(tx, actor, agent_id)
        is_own = agent.user == actor.user
        require(actor, WRITERS | (AGENTS if is_own else frozenset()), "change agents")
        if not is_own and actor.role is not Role.ADMIN:
            raise Forbidden(f"agent {agent.id} belongs to {agent.user}: only they and admins may")
        if agent.is_clients and agent.state is AgentState.GONE:
            return agent  # it never comes back under this name
        changed = tx.agents.set_state(agent.id, state)
        assert changed is not None
        return changed

    def tell(self, tx: Tx, actor: Actor, agent_id: str, facts: Mapping[str, Any]) -> Agent:
        """Change facts that change while an agent runs; None removes one."""
        agent = self.get(tx, actor, agent_id)
        if agent.user != actor.user:
            raise Forbidden(f"agent {agent.id} belongs to {agent.user}: only it says how it is")
        for name, value in facts.items():
            if name not in CHANGING:
                raise Invalid(
                    f"the fact {name!r} is not one that changes ({', '.join(sorted(CHANGING))})",
                    field=f"facts.{name}",
                    value=value,
                )
        if room_in(facts) is None and facts.get("disk") is not None:
            raise Invalid(
                "the fact 'disk' has the numbers 'free' and 'total' in bytes",
                field="facts.disk",
                value=facts["disk"],
            )
        merged = {**agent.facts, **facts}
        kept = {name: value for name, value in merged.items() if value is not None}
        changed = tx.agents.set_facts(agent.id, kept)
        assert changed is not None
        return changed

    def leave(self, tx: Tx, actor: Actor, agent_id: str, *, process: str) -> Agent:
        """Note that an agent said goodbye, so that nobody counts on it any more.

        Only for the process that registered last: a goodbye that comes late ends no newer one.
        An agent that drains stays so, and drains when it comes back.
        """
        agent = self.get(tx, actor, agent_id)
        if agent.user != actor.user:
            raise Forbidden(f"agent {agent.id} belongs to {agent.user}: only it says goodbye")
        if agent.facts.get("process") != process or agent.state is AgentState.DRAINING:
            return agent
        gone = tx.agents.set_state(agent.id, AgentState.GONE)
        assert gone is not None
        return gone

    def _sees(self, tx: Tx, actor: Actor, agent: Agent) -> bool:
        if actor.role is Role.ADMIN or agent.user == actor.user:
            return True
        queues = (tx.queues.get(queue_id) for queue_id in agent.queue_ids)
        return any(q is not None and q.entity.casefold() == actor.entity.casefold() for q in queues)


def _names(values: Mapping[str, Any], key: str) -> list[str]:
    value = values.get(key)
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if not is_list or not all(isinstance(name, str) for name in value or ()):
        raise Invalid(f"{key} must be a list of names, not {value!r}", field=key, value=value)
    assert value is not None
    return list(dict.fromkeys(value))


def _facts(facts: object, known: Agent | None) -> dict[str, Any]:
    """Return what an agent says of itself; a process that settled stays settled."""
    said = dict(facts) if isinstance(facts, Mapping) else {}
    said.pop(SETTLED_FACT, None)
    settled = known.facts.get(SETTLED_FACT) if known is not None else None
    if settled is not None and settled == said.get("process"):
        said[SETTLED_FACT] = settled
    return said
