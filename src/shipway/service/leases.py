"""Leases items to agents, renews leases and takes reports: every write carries its token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from shipway.domain.actor import Actor, Role
from shipway.domain.agent import SETTLED_FACT, Agent, AgentState, RunAs
from shipway.domain.errors import Code, LeaseLost, NotFound
from shipway.domain.ids import AgentId, Digest, ItemId, Random, Token, new_tokens
from shipway.domain.item import Event, FailureClass, Item, ItemEvent, Note, State, after
from shipway.domain.launch_spec import encode_canonical
from shipway.domain.lease import LeaseQuery, Move, Moved
from shipway.domain.policy import Loss, after_loss, after_return
from shipway.service.access import AGENTS, missing, require
from shipway.service.keys import job_key
from shipway.service.lease_time import LeaseTime
from shipway.service.ports import Clock, Tx
from shipway.service.reports import (
    PLAIN,
    Report,
    ReportResult,
    alike,
    at_the_gate,
    done,
    lost,
    trace,
)
from shipway.service.space import Space

UNHEARD_MS = 12_000  # after two seconds more than it takes to renew a lease, its agent is asked
UNSTARTED_TERM_MS = 30_000  # a lease's term until the start gate
LEASE_LIMIT = 256  # items in one lease call
REPORT_LIMIT = 1_000  # reports in one call


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """What an agent would start at once, so that the lease itself may pass the start gate."""

    limit: int  # items
    sources: Sequence[Mapping[str, Any]]  # those that it has already


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAsk:
    """An agent's call for work."""

    agent: AgentId
    limit: int  # 0: only stops
    used_slots: int = 0
    starts: Starts | None = None
    held: Mapping[ItemId, Token] | None = None  # the first call after a start: all that it holds
    is_whole: bool = False  # with `held`: whatever this agent ever began is among them, or ended
    process: str = ""  # with `held`: which process of the agent says so
    reports: Sequence[Report] = ()


class Grant(NamedTuple):
    """A lease, as its agent gets it."""

    item: Item
    token: Token
    job_key: str
    term_ms: int
    is_started: bool  # it passed the start gate with this lease


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsk:
    """A stop that somebody asked for."""

    item: ItemId
    token: Token
    grace_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A lease that was started as it was made, of which nothing was heard since."""

    item: ItemId
    attempt: int
    token: Token


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAnswer:
    """What an agent gets back."""

    leases: Sequence[Grant]
    results: Sequence[ReportResult]
    stops: Sequence[StopAsk]
    doubts: Sequence[Doubt]  # give these back where the answer with the lease never came
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

    def __init__(
        self, *, clock: Clock, random: Random, lease_time: LeaseTime, space: Space
    ) -> None:
        self._space = space
        self._clock = clock
        self._random = random
        self._lease_time = lease_time

    def lease(self, tx: Tx, actor: Actor, ask: LeaseAsk) -> LeaseAnswer:
        """Take reports, then lease what fits; on a first call settle what was held before."""
        agent = self._agent(tx, actor, ask.agent)
        lost = self._settle(tx, agent, ask) if ask.held is not None else []
        results = self._take(tx, agent, ask.reports)
        grants: list[Grant] = []
        if ask.limit > 0 and agent.state is AgentState.ACTIVE and self._space.short is None:
            grants = self._grant(tx, agent, min(ask.limit, LEASE_LIMIT), ask.starts)
        now = self._clock.now()
        if grants or results or now - agent.seen_at > 1_000 or ask.used_slots != agent.used_slots:
            tx.agents.seen(agent.id, used_slots=ask.used_slots, now=now)
        asks = tx.agents.asks(agent.id, unheard_before=now - UNHEARD_MS)
        return LeaseAnswer(
            leases=grants,
            results=results,
            stops=[
                StopAsk(item=one.item, token=one.token, grace_s=one.grace_s)
                for one in asks
                if one.is_stop
            ],
            doubts=[
                Doubt(item=one.item, attempt=one.attempt, token=one.token)
                for one in asks
                if not one.is_stop
            ],
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
        return self.take(tx, row, reports[:REPORT_LIMIT])

    def grant_one(self, tx: Tx, agent: Agent, *, term_ms: int) -> Grant | None:
        """Lease what comes first to an agent that the caller knows; it has to start by then."""
        if agent.state is not AgentState.ACTIVE or self._space.short is not None:
            return None
        return next(iter(self._grant(tx, agent, 1, None, term_ms=term_ms)), None)

    def take(self, tx: Tx, agent: Agent, reports: Sequence[Report]) -> list[ReportResult]:
        """Take reports of an agent that the caller knows."""
        return self._take(tx, agent, reports)

    def pin(self, tx: Tx, actor: Actor, item_id: ItemId, token: Token, lock: Digest) -> Item:
        """Pin the lock that was resolved for an item, for all its attempts."""
        require(actor, AGENTS, "pin locks")
        if tx.blobs.size(actor.entity, lock) is None:
            raise NotFound(missing(f"blob {lock}"))
        item = tx.leases.pin(item_id, token, lock)
        if item is None:
            raise LeaseLost(f"the lease of item {item_id} is not this agent's any more")
        self._append(tx, item, Note.PIN, actor.label, {"lock": lock})
        return item

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

    def _settle(self, tx: Tx, agent: Agent, ask: LeaseAsk) -> list[ItemId]:
        """Requeue what the agent does not know of, and name what is not its own any more.

        An agent whose journal is whole wrote down each lease before it did anything about it: what
        it does not know of never began, also where the item was started with its lease.
        """
        held, kept = ask.held or {}, set()
        is_again = bool(ask.process) and agent.facts.get(SETTLED_FACT) == ask.process
        for item in tx.leases.held_by(agent.id):
            if held.get(item.id) == item.lease_token:
                kept.add(item.id)
                self._append(tx, item, Note.RESUME, agent.id, {})
            elif is_again:
                continue
            elif ask.is_whole and item.state is State.RUNNING:
                assert item.lease_token is not None
                report = Report(item=item.id, token=item.lease_token, event=Event.REQUEUE)
                self._end(tx, item, self._ending(tx, item, report), actor=agent.id, report=report)
            else:
                self.lose(tx, item, why="it came back without this lease", actor=agent.id)
        if ask.process and not is_again:
            tx.agents.set_facts(agent.id, {**agent.facts, SETTLED_FACT: ask.process})
        return [item for item in held if item not in kept]

    def _grant(
        self, tx: Tx, agent: Agent, limit: int, starts: Starts | None, *,
        term_ms: int = UNSTARTED_TERM_MS,
    ) -> list[Grant]:  # fmt: skip
        now = self._clock.now()
        query = LeaseQuery(
            agent=agent.id,
            queue_ids=agent.queue_ids,
            resources=agent.resources,
            submitted_by=agent.user if agent.run_as is RunAs.SELF else None,
            for_clients=agent.is_clients,
            limit=limit,
            starts=0 if starts is None else starts.limit,
            sources=() if starts is None else tuple(map(encode_canonical, starts.sources)),
            tokens=new_tokens(limit, self._random),
            deadline=self._lease_time.now() + term_ms,
            term=term_ms,
            now=now,
        )
        return [self._granted(tx, agent, item) for item in tx.leases.lease(query)]

    def _granted(self, tx: Tx, agent: Agent, item: Item) -> Grant:
        token = item.lease_token
        assert token is not None
        is_started = item.state is State.RUNNING
        leased = Moved(item.id, item.queue_id, item.attempt, State.LEASED, UNSTARTED_TERM_MS)
        self._append(tx, leased, Event.LEASE, agent.id, {"host": agent.hostname})
        if is_started:
            self._append(tx, item, Event.START, agent.id, {"lease": trace(token)})
        return Grant(
            item=item,
            token=token,
            job_key=job_key(item.id, item.attempt, token),
            term_ms=item.lease_term,
            is_started=is_started,
        )

    def _take(self, tx: Tx, agent: Agent, reports: Sequence[Report]) -> list[ReportResult]:
        """Settle reports: those that say the same in one statement; whom it leaves, one by one."""
        results: dict[int, ReportResult] = {}
        for by_item in alike(reports):
            said = next(iter(by_item.values()))
            loss = Loss(event=said.event, failure=said.failure)
            tokens = {item: report.token for item, report in by_item.items()}
            before, same = PLAIN[said.event], list(by_item.values())
            moved = tx.leases.move(self._move(tokens, before, loss, same, unless_stopped=True))
            for report in same:
                one = moved.get(report.item)
                if one is not None:
                    self._moved(tx, one, loss, report.token, actor=agent.id, report=report)
                    results[id(report)] = done(report, one)
        return [results.get(id(report)) or self._examine(tx, agent, report) for report in reports]

    def _examine(self, tx: Tx, agent: Agent, report: Report) -> ReportResult:
        item = tx.leases.held(report.item, report.token)
        if item is None:
            return self._answer_repeat(tx, report)
        if report.event is Event.START:
            return at_the_gate(item, report)
        ending = self._ending(tx, item, report)
        if after(item.state, ending.event) is None:
            return ReportResult(
                item=item.id, event=report.event, ok=False, code=Code.CONFLICT, state=item.state
            )
        moved = self._end(tx, item, ending, actor=agent.id, report=report)
        return lost(report) if moved is None else done(report, moved)

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
        tokens, said = {item.id: item.lease_token}, [] if report is None else [report]
        moved = tx.leases.move(self._move(tokens, item.state, loss, said)).get(item.id)
        if moved is not None:
            self._moved(tx, moved, loss, item.lease_token, actor=actor, report=report)
        return moved

    def _move(
        self, items: Mapping[ItemId, Token | None], before: State, loss: Loss,
        said: Sequence[Report], *, unless_stopped: bool = False,
    ) -> Move:  # fmt: skip
        to = after(before, loss.event)
        assert to is not None
        return Move(
            items=items,
            event=loss.event,
            before=before,
            after=to,
            now=self._clock.now(),
            lease_now=self._lease_time.now(),
            handles={one.item: one.handle for one in said if one.handle is not None},
            exit_code=said[0].exit_code if said else None,
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
            data["lease"] = trace(token)
        if loss.failure is not None:
            data["reason"] = loss.failure.reason
        if report is not None and report.event is not Event.START:
            data["report"] = report.event.value
            if report.exit_code is not None:
                data["exit_code"] = report.exit_code
            if report.log_sizes:
                data["log_sizes"] = dict(report.log_sizes)
        self._append(tx, moved, loss.event, actor, data)

    def _answer_repeat(self, tx: Tx, report: Report) -> ReportResult:
        """Say ok to a report that took effect before; its first answer was lost."""
        item = tx.items.get(report.item)
        if item is None:
            return lost(report)
        mark = trace(report.token)
        for event in reversed(tx.events.of_item(report.item)):
            if event.data.get("lease") == mark and (
                event.data.get("report") == report.event or event.event == report.event
            ):
                return ReportResult(
                    item=report.item, event=report.event, ok=report.event is not Event.START,
                    code=Code.LEASE_LOST if report.event is Event.START else None,
                    state=item.state,
                )  # fmt: skip
        return lost(report)

    def _append(
        self, tx: Tx, item: Item | Moved, what: Event | Note, actor: str,
        data: Mapping[str, object],
    ) -> None:  # fmt: skip
        tx.events.append(
            ItemEvent(
                seq=0,
                item_id=item.id,
                queue_id=item.queue_id,
                event=what.value,
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
