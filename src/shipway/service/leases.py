"""Leases items to agents, renews leases and takes reports: every write carries its token."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shipway.domain.actor import Actor, Role
from shipway.domain.agent import Agent, AgentState, RunAs
from shipway.domain.errors import Code, LeaseLost, NotFound
from shipway.domain.ids import AgentId, Digest, ItemId, Random, Token, new_token
from shipway.domain.item import Event, Failure, FailureClass, Item, ItemEvent, Note, State, after
from shipway.domain.lease import LeaseQuery, Move, Moved
from shipway.domain.policy import Loss, after_loss, after_return
from shipway.service.access import AGENTS, missing, require
from shipway.service.keys import job_key
from shipway.service.lease_time import LeaseTime
from shipway.service.ports import Clock, Tx

# What a report moves when nobody asked for a stop; a failure before the gate takes the long way.
_PLAIN = {Event.START: State.LEASED, Event.FINISH: State.RUNNING, Event.FAIL: State.RUNNING}

UNSTARTED_TERM_MS = 30_000  # a lease's term until the start gate
LEASE_LIMIT = 256  # items in one lease call
REPORT_LIMIT = 1_000  # reports in one call


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an agent says became of a lease."""

    item: ItemId
    token: Token
    event: Event  # START FINISH FAIL REQUEUE STOP
    handle: str | None = None
    exit_code: int | None = None
    failure: Failure | None = None
    log_sizes: Mapping[str, int] = field(default_factory=dict)
    at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportResult:
    """What the server made of a report; a start that is not ok must not start anything."""

    item: ItemId
    event: Event
    ok: bool
    code: Code | None = None
    state: State | None = None
    stop_requested: bool = False
    grace_s: float | None = None
    term_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAsk:
    """An agent's call for work."""

    agent: AgentId
    limit: int  # 0: only stops
    used_slots: int = 0
    held: Mapping[ItemId, Token] | None = None  # the first call after a start: all that it holds
    reports: Sequence[Report] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A lease, as its agent gets it."""

    item: Item
    token: Token
    job_key: str
    term_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsk:
    """A stop that somebody asked for."""

    item: ItemId
    token: Token
    grace_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAnswer:
    """What an agent gets back."""

    leases: Sequence[Grant]
    results: Sequence[ReportResult]
    stops: Sequence[StopAsk]
    lost: Sequence[ItemId]
    is_draining: bool
    is_stopping: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewAnswer:
    """Which leases are still held, and which of them should end."""

    renewed: Mapping[ItemId, int]  # item to its term in ms
    lost: Sequence[ItemId]
    stops: Sequence[StopAsk]


class Leases:
    """Use cases of agents; each is one transaction's work."""

    def __init__(self, *, clock: Clock, random: Random, lease_time: LeaseTime) -> None:
        self._clock = clock
        self._random = random
        self._lease_time = lease_time

    def lease(self, tx: Tx, actor: Actor, ask: LeaseAsk) -> LeaseAnswer:
        """Take reports, then lease what fits; on a first call settle what was held before."""
        agent = self._agent(tx, actor, ask.agent)
        lost = self._settle(tx, agent, ask.held) if ask.held is not None else []
        results = [self._take(tx, agent, report) for report in ask.reports]
        grants: list[Grant] = []
        if ask.limit > 0 and agent.state is AgentState.ACTIVE:
            grants = self._grant(tx, agent, min(ask.limit, LEASE_LIMIT))
        now = self._clock.now()
        if grants or results or now - agent.seen_at > 1_000 or ask.used_slots != agent.used_slots:
            tx.agents.seen(agent.id, used_slots=ask.used_slots, now=now)
        return LeaseAnswer(
            leases=grants,
            results=results,
            stops=self.stops(tx, agent.id),
            lost=lost,
            is_draining=agent.state is AgentState.DRAINING,
            is_stopping=agent.state is AgentState.STOPPING,
        )

    def renew(
        self, tx: Tx, actor: Actor, agent: AgentId, held: Mapping[ItemId, Token]
    ) -> RenewAnswer:
        """Give every lease that is still held a full new term."""
        row = self._agent(tx, actor, agent)
        items = tx.leases.renew(held, lease_now=self._lease_time.now())
        tx.agents.seen(row.id, used_slots=row.used_slots, now=self._clock.now())
        kept = {item.id: item.lease_term for item in items}
        return RenewAnswer(
            renewed=kept,
            lost=[item for item in held if item not in kept],
            stops=[_stop_ask(item) for item in items if item.stop_requested_at is not None],
        )

    def report(
        self, tx: Tx, actor: Actor, agent: AgentId, reports: Sequence[Report]
    ) -> list[ReportResult]:
        """Take reports; each stands alone, a lost lease is an answer and no error."""
        row = self._agent(tx, actor, agent)
        return [self._take(tx, row, report) for report in reports[:REPORT_LIMIT]]

    def pin(self, tx: Tx, actor: Actor, item_id: ItemId, token: Token, lock: Digest) -> Item:
        """Pin the lock that was resolved for an item, for all its attempts."""
        require(actor, AGENTS, "pin locks")
        if tx.blobs.size(actor.entity, lock) is None:
            raise NotFound(missing(f"blob {lock}"))
        item = tx.leases.pin(item_id, token, lock)
        if item is None:
            raise LeaseLost(f"the lease of item {item_id} is not this agent's any more")
        self._note(tx, item, Note.PIN, actor.label, {"lock": lock})
        return item

    def stops(self, tx: Tx, agent: AgentId) -> list[StopAsk]:
        """Return every stop asked of what this agent holds; the same until it is reported."""
        return [
            StopAsk(item=item, token=token, grace_s=grace_s)
            for item, token, grace_s in tx.agents.stops(agent)
        ]

    def lose(self, tx: Tx, item: Item, *, why: str, actor: str) -> Moved | None:
        """End a lease that nobody reports on any more, by the queue's rule."""
        queue = tx.queues.get(item.queue_id)
        assert queue is not None
        return self._end(tx, item, after_loss(item, queue, why=why), actor=actor)

    def _agent(self, tx: Tx, actor: Actor, agent_id: AgentId) -> Agent:
        require(actor, AGENTS, "act as an agent")
        agent = tx.agents.get(agent_id)
        if agent is None or (agent.user != actor.user and actor.role is not Role.ADMIN):
            raise NotFound(f"{missing(f'agent {agent_id}')}: register it first")
        return agent

    def _settle(self, tx: Tx, agent: Agent, held: Mapping[ItemId, Token]) -> list[ItemId]:
        """Requeue what the agent does not know of, and name what is not its own any more."""
        kept = set()
        for item in tx.leases.held_by(agent.id):
            if held.get(item.id) == item.lease_token:
                kept.add(item.id)
                self._note(tx, item, Note.RESUME, agent.id, {})
            else:
                self.lose(tx, item, why="it came back without this lease", actor=agent.id)
        return [item for item in held if item not in kept]

    def _grant(self, tx: Tx, agent: Agent, limit: int) -> list[Grant]:
        now = self._clock.now()
        query = LeaseQuery(
            agent=agent.id,
            queue_ids=agent.queue_ids,
            resources=agent.resources,
            submitted_by=agent.user if agent.run_as is RunAs.SELF else None,
            limit=limit,
            tokens=tuple(new_token(self._random) for _ in range(limit)),
            deadline=self._lease_time.now() + UNSTARTED_TERM_MS,
            term=UNSTARTED_TERM_MS,
            now=now,
        )
        grants = []
        for item in tx.leases.lease(query):
            assert item.lease_token is not None
            self._event(tx, item, Event.LEASE, agent.id, {"host": agent.hostname})
            key = job_key(item.id, item.attempt, item.lease_token)
            grants.append(
                Grant(item=item, token=item.lease_token, job_key=key, term_ms=item.lease_term)
            )
        return grants

    def _take(self, tx: Tx, agent: Agent, report: Report) -> ReportResult:
        """Settle a report: nearly always one guarded statement; if it finds nothing, ask why."""
        plain = _PLAIN.get(report.event)
        if plain is not None and not _is_lost(report):
            loss = Loss(event=report.event, failure=report.failure)
            moved = tx.leases.move(
                self._move(report.item, plain, report.token, loss, report, unless_stopped=True)
            )
            if moved is not None:
                self._moved(tx, moved, loss, report.token, actor=agent.id, report=report)
                return _done(report, moved)
        return self._examine(tx, agent, report)

    def _examine(self, tx: Tx, agent: Agent, report: Report) -> ReportResult:
        item = tx.leases.held(report.item, report.token)
        if item is None:
            return self._answer_repeat(tx, report)
        if report.event is Event.START:
            return _at_the_gate(item, report)
        ending = self._ending(tx, item, report)
        if after(item.state, ending.event) is None:
            return ReportResult(
                item=item.id, event=report.event, ok=False, code=Code.CONFLICT, state=item.state
            )
        moved = self._end(tx, item, ending, actor=agent.id, report=report)
        return _lost(report) if moved is None else _done(report, moved)

    def _ending(self, tx: Tx, item: Item, report: Report) -> Loss:
        """Turn a report into a move: a stop that came first decides what the end is called."""
        if item.stop_requested_at is not None or report.event is Event.STOP:
            return Loss(event=Event.STOP, failure=None)
        if report.event is Event.REQUEUE:
            queue = tx.queues.get(item.queue_id)
            assert queue is not None
            return after_return(item, queue, report.failure)
        is_lost = report.failure is not None and report.failure.failure_class is FailureClass.LOST
        if report.event is Event.FAIL and is_lost and item.state is State.RUNNING:
            assert report.failure is not None
            queue = tx.queues.get(item.queue_id)
            assert queue is not None
            return after_loss(item, queue, why=report.failure.reason)
        return Loss(event=report.event, failure=report.failure)

    def _end(
        self, tx: Tx, item: Item, loss: Loss, *, actor: str, report: Report | None = None
    ) -> Moved | None:
        moved = tx.leases.move(self._move(item.id, item.state, item.lease_token, loss, report))
        if moved is not None:
            self._moved(tx, moved, loss, item.lease_token, actor=actor, report=report)
        return moved

    def _move(
        self, item_id: ItemId, before: State, token: Token | None, loss: Loss,
        report: Report | None, *, unless_stopped: bool = False,
    ) -> Move:  # fmt: skip
        to = after(before, loss.event)
        assert to is not None
        return Move(
            item_id=item_id,
            event=loss.event,
            before=before,
            after=to,
            token=token,
            now=self._clock.now(),
            lease_now=self._lease_time.now(),
            handle=report.handle if report else None,
            exit_code=report.exit_code if report else None,
            failure=loss.failure,
            lost=loss.lost,
            retries=loss.retries,
            unless_stopped=unless_stopped,
        )

    def _moved(
        self, tx: Tx, moved: Moved, loss: Loss, token: Token | None, *, actor: str,
        report: Report | None,
    ) -> None:  # fmt: skip
        """Write a move's event; it says of the token just enough to know a repeated report by."""
        data: dict[str, object] = {}
        if token is not None:
            data["lease"] = _trace(token)
        if loss.failure is not None:
            data["reason"] = loss.failure.reason
        if report is not None and report.event is not Event.START:
            data["report"] = report.event.value
            if report.exit_code is not None:
                data["exit_code"] = report.exit_code
            if report.log_sizes:
                data["log_sizes"] = dict(report.log_sizes)
        self._event(tx, moved, loss.event, actor, data)

    def _answer_repeat(self, tx: Tx, report: Report) -> ReportResult:
        """Say ok to a report that took effect before; its first answer was lost."""
        item = tx.items.get(report.item)
        if item is None:
            return _lost(report)
        trace = _trace(report.token)
        for event in reversed(tx.events.of_item(report.item)):
            if event.data.get("lease") == trace and (
                event.data.get("report") == report.event or event.event == report.event
            ):
                return ReportResult(
                    item=report.item, event=report.event, ok=report.event is not Event.START,
                    code=Code.LEASE_LOST if report.event is Event.START else None,
                    state=item.state,
                )  # fmt: skip
        return _lost(report)

    def _event(
        self, tx: Tx, item: Item | Moved, event: Event, actor: str, data: Mapping[str, object]
    ) -> None:
        self._append(tx, item, event.value, actor, data)

    def _note(self, tx: Tx, item: Item, note: Note, actor: str, data: Mapping[str, object]) -> None:
        self._append(tx, item, note.value, actor, data)

    def _append(
        self, tx: Tx, item: Item | Moved, name: str, actor: str, data: Mapping[str, object]
    ) -> None:
        tx.events.append(
            ItemEvent(
                seq=0,
                item_id=item.id,
                queue_id=item.queue_id,
                event=name,
                state=item.state,
                attempt=item.attempt,
                actor=actor,
                at=self._clock.now(),
                data=data,
            )
        )


def _stop_ask(item: Item) -> StopAsk:
    assert item.lease_token is not None
    return StopAsk(item=item.id, token=item.lease_token, grace_s=item.stop_grace_s)


def _at_the_gate(item: Item, report: Report) -> ReportResult:
    """Answer a start that moved nothing, though the lease is held: stopped, or begun before."""
    is_stopped = item.stop_requested_at is not None
    if item.state is State.RUNNING and not is_stopped:  # the answer to an earlier report was lost
        return _done(report, item)
    return ReportResult(
        item=item.id,
        event=Event.START,
        ok=False,
        state=item.state,
        stop_requested=is_stopped,
        grace_s=item.stop_grace_s,
    )


def _done(report: Report, item: Item | Moved) -> ReportResult:
    return ReportResult(
        item=item.id, event=report.event, ok=True, state=item.state, term_ms=item.lease_term
    )


def _is_lost(report: Report) -> bool:
    return (
        report.event is Event.FAIL
        and report.failure is not None
        and report.failure.failure_class is FailureClass.LOST
    )


def _lost(report: Report) -> ReportResult:
    return ReportResult(item=report.item, event=report.event, ok=False, code=Code.LEASE_LOST)


def _trace(token: Token) -> str:
    """Return what an event may show of a token: enough to know a repeated report by."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]
