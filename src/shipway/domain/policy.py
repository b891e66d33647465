"""Rules of waiting and of loss: pure functions over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shipway.domain.agent import Agent, AgentState, RunAs
from shipway.domain.disk import Room
from shipway.domain.item import Event, Failure, FailureClass, Item, Stage, State
from shipway.domain.queue import LOCAL_CONTAINER, LOST_LIMIT, OnLost, Queue

LACKING_SHOWN = 5  # agents that a reason names


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What becomes of an item whose lease ended without a report."""

    event: Event
    failure: Failure | None = None
    lost: int = 0  # added to the item's lost_count
    retries: int = 0  # added to its retry_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that keeps an item waiting, or says how it stands."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why an item stands as it does; its text is a sentence."""

    sentence: str
    reasons: tuple[Reason, ...]
    position: int | None  # 1 is next; None once it does not wait any more
    ahead: int

    def __str__(self) -> str:
        return self.sentence


def after_loss(item: Item, queue: Queue, *, why: str) -> Loss:
    """Decide on an item whose agent was lost; `why` is a sentence for people."""
    assert item.state in {State.LEASED, State.RUNNING}
    if item.stop_requested_at is not None:
        return Loss(event=Event.STOP)
    if item.state is State.LEASED:
        if item.lost_count >= LOST_LIMIT:
            return _give_up(FailureClass.AGENT, f"{_tries(item)} leases came to nothing: {why}")
        if _tries(item) >= queue.max_attempts:
            return _give_up(FailureClass.POISON, f"{_tries(item)} attempts, the limit: {why}")
        return Loss(event=Event.REQUEUE, lost=1)
    may_retry = queue.on_lost is OnLost.RETRY and item.retry_count < queue.on_lost_retries
    if may_retry and _tries(item) < queue.max_attempts:
        return Loss(event=Event.REQUEUE, retries=1)
    reason = f"its agent was lost while it ran: {why}"
    return Loss(
        event=Event.GIVE_UP,
        failure=Failure(stage=Stage.AGENT, failure_class=FailureClass.LOST, reason=reason),
    )


def after_return(item: Item, queue: Queue, failure: Failure | None) -> Loss:
    """Decide on a lease that its agent gave back before it started the program."""
    assert item.state in {State.LEASED, State.RUNNING}  # the gate may be passed already
    if item.stop_requested_at is not None:
        return Loss(event=Event.STOP)
    if failure is None:  # it was leased ahead of a slot: no fault of the item's, and not counted
        return Loss(event=Event.REQUEUE)
    if item.lost_count >= LOST_LIMIT or _tries(item) >= queue.max_attempts:
        return Loss(event=Event.GIVE_UP, failure=failure)
    return Loss(event=Event.REQUEUE, lost=1)


def explain(
    item: Item,
    queue: Queue,
    agents: Sequence[Agent],
    *,
    ahead: int,
    now: int,
    short: Room | None = None,
) -> Explanation:
    """Say why an item stands as it does, from what its queue's agents told of themselves.

    `short` is what is left of the server's own disk, if that is too little for new work.
    """
    if item.state is not State.PENDING:
        reason = _standing(item, now)
        return Explanation(sentence=reason.text, reasons=(reason,), position=None, ahead=0)
    reasons = tuple(_waiting(item, queue, agents, ahead=ahead, now=now))
    if short is not None:
        reasons = (_short_server(short), *(one for one in reasons if one.code != "next"))
    return Explanation(
        sentence=" ".join(reason.text for reason in reasons),
        reasons=reasons,
        position=ahead + 1,
        ahead=ahead,
    )


def _tries(item: Item) -> int:
    """Return how many attempts came to something, this one included."""
    return 1 + item.lost_count + item.retry_count


def _give_up(failure_class: FailureClass, reason: str) -> Loss:
    failure = Failure(stage=Stage.AGENT, failure_class=failure_class, reason=reason)
    return Loss(event=Event.GIVE_UP, failure=failure, lost=1)


def _standing(item: Item, now: int) -> Reason:
    if item.deleted_at is not None:
        return Reason(code="deleted", text="It was deleted.")
    if item.state is State.LEASED:
        return Reason(
            code="leased",
            text=f"Agent {item.lease_agent} prepares it: it fetches the source and makes the "
            f"environment, for {_ago(item.leased_at, now)} so far.",
        )
    if item.state is State.RUNNING:
        text = f"It runs on agent {item.lease_agent}, for {_ago(item.started_at, now)} so far."
        if item.stop_requested_at is not None:
            text += f" {item.stop_requested_by} asked for its end."
        return Reason(code="running", text=text)
    if item.state is State.STOPPED:
        return Reason(code="stopped", text=f"It was stopped by {item.stop_requested_by}.")
    if item.failure is not None:
        return Reason(code="failed", text=f"It failed: {item.failure.reason}.")
    return Reason(code="finished", text="It finished with exit code 0.")


def _waiting(
    item: Item, queue: Queue, agents: Sequence[Agent], *, ahead: int, now: int
) -> list[Reason]:
    reasons: list[Reason] = []
    if queue.is_paused:
        text = f"Queue {queue.name!r} is paused; 'shipway queue resume {queue.name}' starts it."
        reasons.append(Reason(code="paused", text=text))
    if item.attempt:
        text = f"It waits again after {item.attempt} attempt{'s' * (item.attempt > 1)}."
        reasons.append(Reason(code="requeued", text=text))
    obstacle = _no_agent(item, queue, agents, now)
    if obstacle is not None:
        reasons.append(obstacle)
        return reasons
    if ahead:
        text = f"{ahead} item{'s' * (ahead > 1)} of the same queue will be taken before it."
        reasons.append(Reason(code="behind", text=text))
    able = [agent for agent in agents if _fits(agent, item, now)]
    if all(agent.slots >= 0 and agent.used_slots >= agent.slots for agent in able):
        names = ", ".join(f"{a.hostname} ({a.used_slots} of {a.slots})" for a in able[:5])
        reasons.append(Reason(code="full", text=f"Every slot is taken: {names}."))
    if not reasons:
        reasons.append(Reason(code="next", text="It is next: an agent is about to take it."))
    return reasons


def _no_agent(item: Item, queue: Queue, agents: Sequence[Agent], now: int) -> Reason | None:
    alive = [agent for agent in agents if agent.is_live(now)]
    if not alive:
        text = f"No agent serves queue {queue.name!r} now; start one: shipway agent -q {queue.name}"
        return Reason(code="no_agent", text=text)
    offering = [agent for agent in alive if item.resource in agent.resources]
    if not offering:
        return _not_offered(item, queue, alive)
    if not any(_may_run(agent, item) for agent in offering):
        return _not_for_them(item, queue, offering)
    if not any(_fits(agent, item, now) for agent in agents):
        short = [agent for agent in offering if _is_short(agent, item)]
        if short:
            return _short_of_disk(short)
        one = next(agent.id for agent in offering if _may_run(agent, item))
        text = (
            "Every agent that could take it is draining or about to end; "
            f"this lets one go on: shipway agents drain --undo {one}"
        )
        return Reason(code="draining", text=text)
    return None


def _not_offered(item: Item, queue: Queue, alive: Sequence[Agent]) -> Reason:
    lacking = [agent for agent in alive if agent.lack(item.resource)]
    if not lacking:
        offered = sorted({resource for agent in alive for resource in agent.resources})
        return Reason(
            code="resource",
            text=f"No agent of queue {queue.name!r} offers the resource {item.resource!r} "
            f"(offered: {', '.join(offered) or 'none'}).",
        )
    what = "an image" if item.resource == LOCAL_CONTAINER else f"the resource {item.resource!r}"
    said = [f"agent {one.id} ({one.hostname}) says: {one.lack(item.resource)}" for one in lacking]
    more = f"; and {len(said) - LACKING_SHOWN} more" if len(said) > LACKING_SHOWN else ""
    return Reason(
        code="lacks",
        text=f"No live agent of queue {queue.name!r} can run {what}: "
        f"{'; '.join(said[:LACKING_SHOWN])}{more}. 'shipway doctor' there says how to mend it; "
        "then start that agent anew.",
    )


def _not_for_them(item: Item, queue: Queue, offering: Sequence[Agent]) -> Reason:
    if not item.suits_clients and all(agent.is_clients for agent in offering):
        return Reason(
            code="client_agents",
            text=f"The agents of queue {queue.name!r} are clients' own, which run jobs and images "
            "alone, and as a local process without resource_args; one of shipway's would take it: "
            f"shipway agent -q {queue.name}",
        )
    return Reason(
        code="run_as",
        text=f"The agents of queue {queue.name!r} run only their own users' items, and none "
        f"of them is {item.submitted_by}'s; an agent with run_as 'shared' would take it.",
    )


def _short_server(short: Room) -> Reason:
    text = f"The server's disk has {short}: nothing new is given out until there is room."
    return Reason(code="server_disk", text=text)


def _short_of_disk(short: Sequence[Agent]) -> Reason:
    names = ", ".join(f"{agent.hostname} ({agent.short_room})" for agent in short[:5])
    text = (
        f"Every agent that could take it has too little free disk for new work: {names}. "
        "It goes on by itself once there is room; 'shipway gc' there says what can go."
    )
    return Reason(code="disk", text=text)


def _is_short(agent: Agent, item: Item) -> bool:
    return (
        agent.state is AgentState.ACTIVE and agent.short_room is not None and _may_run(agent, item)
    )


def _fits(agent: Agent, item: Item, now: int) -> bool:
    return (
        agent.is_live(now)
        and agent.state is AgentState.ACTIVE
        and agent.short_room is None
        and item.resource in agent.resources
        and _may_run(agent, item)
    )


def _may_run(agent: Agent, item: Item) -> bool:
    if agent.is_clients and not item.suits_clients:
        return False
    return agent.run_as is RunAs.SHARED or agent.user == item.submitted_by


def _ago(since: int | None, now: int) -> str:
    seconds = max(0, now - (since or now)) // 1000
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
