"""Lets the agents that clients bring along work our queues, on the leases of all agents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shipway.domain.actor import Actor, Role
from shipway.domain.agent import CLIENT_FACT, Agent, AgentState, RunAs
from shipway.domain.client_agent import lease_name, read_lease_name, resource_of
from shipway.domain.errors import Invalid, NotFound, ShipwayError
from shipway.domain.ids import AgentId, QueueId, Random, new_agent_id
from shipway.domain.item import (
    HELD,
    Event,
    Failure,
    FailureClass,
    Item,
    ItemEvent,
    Note,
    Stage,
    State,
)
from shipway.domain.launch_spec import LaunchSpec
from shipway.service.access import AGENTS, missing, require
from shipway.service.agents import QUEUES_LIMIT, SLOTS_LIMIT
from shipway.service.client_leases import UNACKED_TERM_MS, ClientLeases
from shipway.service.jobs import Jobs
from shipway.service.leases import Leases
from shipway.service.ports import Clock, Tx
from shipway.service.queues import Queues

NOTED_MS = 5_000  # between two notes that an agent lives
REASON_LIMIT = 500  # characters of the sentence that a failure has; the rest is its log
TAIL_LIMIT = 50  # lines of that
LINE_LIMIT = 2_000  # characters of one
WARNINGS_LIMIT = 100  # of one item


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAsk:
    """What a client's agent says of itself as it begins."""

    client: str  # whose agent it is
    queue_ids: Sequence[QueueId]
    hostname: str
    version: str
    slots: int  # -1: unlimited
    facts: Mapping[str, Any] = field(default_factory=dict)  # what its facade wants to know again


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientGrant:
    """A lease, as a client's agent gets it."""

    name: str  # of the lease: it stands for the token, which stays here
    item: Item
    spec: LaunchSpec
    job_key: str
    entry_point: tuple[str, ...] | None  # where it is another than the job's own


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSays:
    """What a client's agent says of an item beside its end."""

    message: str
    stage: Stage
    files: Sequence[str] = ()  # of the agent's own run


class ClientAgents:
    """Use cases of such agents; each of them is a row of `agents`."""

    def __init__(
        self, *, clock: Clock, random: Random, queues: Queues, jobs: Jobs, leases: Leases,
        held: ClientLeases,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._random = random
        self._queues = queues
        self._jobs = jobs
        self._leases = leases
        self._held = held

    def register(self, tx: Tx, actor: Actor, ask: ClientAsk) -> Agent:
        """Store an agent under a name of its own, which is also the id of its run."""
        require(actor, AGENTS, "register agents")
        queue_ids = tuple(dict.fromkeys(ask.queue_ids))
        if not 1 <= len(queue_ids) <= QUEUES_LIMIT:
            raise Invalid(
                f"an agent serves 1 to {QUEUES_LIMIT} queues", field="queues", value=len(queue_ids)
            )
        if not (ask.slots == -1 or 0 <= ask.slots <= SLOTS_LIMIT):
            raise Invalid(
                f"max_jobs must be -1 (unlimited) or from 0 to {SLOTS_LIMIT}, not {ask.slots}",
                field="max_jobs",
                value=ask.slots,
            )
        queues = [self._queues.by_id(tx, actor, queue_id) for queue_id in queue_ids]
        now = self._clock.now()
        agent = Agent(
            id=new_agent_id(self._random),
            user=actor.user,
            hostname=ask.hostname[:255],
            version=ask.version[:64],
            state=AgentState.ACTIVE,
            queue_ids=queue_ids,
            queues=tuple(queue.name for queue in queues),
            resources=tuple(dict.fromkeys(resource_of(queue) for queue in queues)),
            run_as=RunAs.SHARED,
            slots=ask.slots,
            used_slots=0,
            facts={**ask.facts, CLIENT_FACT: ask.client},
            created_at=now,
            seen_at=now,
        )
        tx.agents.upsert(agent)
        return agent

    def poll(self, tx: Tx, actor: Actor, agent_id: str) -> Agent:
        """Take note that an agent lives, look after what it holds, and tell how it stands."""
        agent = self._own(tx, actor, agent_id)
        used, now = self._held.poll(tx, agent.id), self._clock.now()
        if used == agent.used_slots and now - agent.seen_at < NOTED_MS:
            return agent  # each of its jobs polls for itself
        tx.agents.seen(agent.id, used_slots=used, now=now)
        return replace(agent, used_slots=used, seen_at=now)

    def leave(self, tx: Tx, actor: Actor, agent_id: str) -> None:
        """Take note that an agent has ended; it never comes back under this name."""
        agent = self._own(tx, actor, agent_id)
        self._held.give_back(tx, agent.id)
        tx.agents.set_state(agent.id, AgentState.GONE)

    def pop(
        self, tx: Tx, actor: Actor, agent_id: str, queue_name: str, *, entity: str,
        project: str,
    ) -> ClientGrant | None:  # fmt: skip
        """Lease what comes first in a queue and suits clients; None where nothing does."""
        agent = self._own(tx, actor, agent_id)
        queue = self._queues.named(tx, actor, queue_name, entity=entity, project=project)
        if queue.id not in agent.queue_ids:
            raise Invalid(
                f"agent {agent.id} does not serve queue {queue_name!r} (it serves: "
                f"{', '.join(agent.queues)})",
                field="queueName",
                value=queue_name,
            )
        one = replace(agent, queue_ids=(queue.id,), resources=(resource_of(queue),))
        grant = self._leases.grant_one(tx, one, term_ms=UNACKED_TERM_MS)
        if grant is None:
            return None
        spec = LaunchSpec.from_json(json.loads(grant.item.spec))
        return ClientGrant(
            name=lease_name(grant.item),
            item=grant.item,
            spec=spec,
            job_key=grant.job_key,
            entry_point=self._entry_point(tx, actor, spec),
        )

    def ack(self, tx: Tx, actor: Actor, name: str, run_id: str) -> bool:
        """Let an item pass the start gate; False for a second time, or where it may not."""
        item = self._leased(tx, actor, name)
        if item is None or item.state is not State.LEASED:
            return False
        if run_id != item.run_id:
            raise Invalid(
                f"the run of item {item.id} is {item.run_id!r}, not {run_id!r}",
                field="runName",
                value=run_id,
            )
        if not self._held.report(tx, item, Event.START):
            return False
        run = tx.runs.get(item.entity, item.project, item.run_id)
        if run is not None and run.heard_at is not None:  # by an earlier attempt
            tx.tracked.amend(replace(run, heard_at=None))
        return True

    def fail(self, tx: Tx, actor: Actor, name: str, says: ClientSays) -> bool:
        """End an item that its agent could not see through; False for another lease than now's."""
        item = self._leased(tx, actor, name)
        if item is None:
            return False
        failure = _failure(says, agent=item.lease_agent)
        return self._held.report(tx, item, Event.FAIL, failure=failure)

    def warn(self, tx: Tx, actor: Actor, name: str, says: ClientSays) -> bool:
        """Keep a warning with its item; False for another lease than now's."""
        item = self._leased(tx, actor, name)
        if item is None:
            return False
        told = sum(one.event == Note.WARNING for one in tx.events.of_item(item.id))
        if told >= WARNINGS_LIMIT:
            return True
        data: dict[str, Any] = {"reason": says.message[:LINE_LIMIT], "stage": says.stage.value}
        if says.files:
            data["files"] = _files(says, item.lease_agent)
        tx.events.append(
            ItemEvent(
                seq=0,
                item_id=item.id,
                queue_id=item.queue_id,
                event=Note.WARNING.value,
                state=item.state,
                attempt=item.attempt,
                actor=str(item.lease_agent),
                at=self._clock.now(),
                data=data,
            )
        )
        return True

    def _own(self, tx: Tx, actor: Actor, agent_id: str) -> Agent:
        agent = self._find_own(tx, actor, agent_id)
        if agent is None:
            raise NotFound(missing(f"agent {agent_id!r} of a client"))
        return agent

    def _find_own(self, tx: Tx, actor: Actor, agent_id: str) -> Agent | None:
        require(actor, AGENTS, "act as an agent")
        agent = tx.agents.get(AgentId(agent_id))
        is_own = agent is not None and (agent.user == actor.user or actor.role is Role.ADMIN)
        return agent if agent is not None and is_own and agent.is_clients else None

    def _leased(self, tx: Tx, actor: Actor, name: str) -> Item | None:
        """Return the item if this is the name of its present lease, and the agent is one's own.

        Another's name is answered as one of a former lease: nobody learns what there is.
        """
        item_id, attempt = read_lease_name(name)
        item = tx.items.get(item_id)
        if item is None or item.state not in HELD or item.attempt != attempt:
            return None
        assert item.lease_agent is not None
        return None if self._find_own(tx, actor, item.lease_agent) is None else item

    def _entry_point(self, tx: Tx, actor: Actor, spec: LaunchSpec) -> tuple[str, ...] | None:
        """Return the entry point if it is not the job's: agents may be told to take no other."""
        if spec.job is None:
            return None
        try:
            job = self._jobs.get(tx, actor, spec.job)
        except ShipwayError:  # deleted since: its agent will say so
            return spec.entry_point
        return None if job.entry_point == spec.entry_point else spec.entry_point


def _failure(says: ClientSays, *, agent: AgentId | None) -> Failure:
    first, *rest = says.message.strip().splitlines() or ["the agent gave no reason"]
    reason = first[:REASON_LIMIT]
    if says.files:
        reason += f" (see {', '.join(_files(says, agent))})"
    is_build = says.stage is Stage.BUILD
    return Failure(
        stage=says.stage,
        failure_class=FailureClass.BUILD if is_build else FailureClass.AGENT,
        reason=reason,
        log_tail=tuple(line[:LINE_LIMIT] for line in rest[-TAIL_LIMIT:]),
    )


def _files(says: ClientSays, agent: AgentId | None) -> list[str]:
    return [f"run {agent}: {path}"[:LINE_LIMIT] for path in says.files[:TAIL_LIMIT]]
