"""Lets an item wait again with the run that it had, as a client's agent asks."""

from __future__ import annotations

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Conflict, Forbidden
from shipway.domain.ids import AgentId
from shipway.domain.item import HELD, Event, Failure, FailureClass, Item, Stage, State
from shipway.service.access import AGENTS, require
from shipway.service.items import Items
from shipway.service.leases import Leases
from shipway.service.ports import Tx
from shipway.service.reports import Report
from shipway.service.runs import item_of_run

PREEMPTED = Failure(
    stage=Stage.RUN,
    failure_class=FailureClass.LOST,
    reason="its machine was taken away while it ran",
)


class Requeues:
    """The one way in which a run id comes on a queue a second time."""

    def __init__(self, *, items: Items, leases: Leases) -> None:
        self._items = items
        self._leases = leases

    def again(self, tx: Tx, actor: Actor, *, run: str) -> Item:
        """Return the item that waits with a run, which the actor's own agent had and lost.

        One that is still held goes back itself, by the rule for lost leases; one that has failed
        meanwhile gets a successor that goes on with its run. A second call changes nothing.
        """
        require(actor, AGENTS, "add items")
        item = item_of_run(tx, actor, run)
        if item.state is State.PENDING:
            return item
        agent = _last_agent(tx, item)
        self._check_own(tx, actor, item, agent)
        if item.state in HELD:
            assert item.lease_token is not None
            assert agent is not None
            said = Report(
                item=item.id, token=item.lease_token, event=Event.REQUEUE, failure=PREEMPTED
            )
            self._leases.report(tx, actor, agent, [said])
            waiting = tx.items.get(item.id)
            assert waiting is not None
            return waiting
        if item.state is not State.FAILED:
            raise Conflict(f"run {run} is {item.state}: only one that was lost goes on")
        return self._items.succeed(tx, actor, item)

    def _check_own(self, tx: Tx, actor: Actor, item: Item, agent_id: AgentId | None) -> None:
        agent = None if agent_id is None else tx.agents.get(agent_id)
        is_own = agent is not None and agent.user == actor.user
        if not is_own and actor.role is not Role.ADMIN:
            raise Forbidden(
                f"run id {item.run_id!r} is used already, and only the agent that had the run may "
                "put it on a queue again"
            )


def _last_agent(tx: Tx, item: Item) -> AgentId | None:
    if item.lease_agent is not None:
        return item.lease_agent
    leases = [one for one in tx.events.of_item(item.id) if one.event == Event.LEASE]
    return AgentId(leases[-1].actor) if leases else None
