"""Lets agents lease, renew and report."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from shipway.domain.agent import Agent, AgentState
from shipway.domain.errors import Invalid
from shipway.domain.ids import AgentId, ItemId, Token
from shipway.domain.item import Event, Failure, FailureClass, Stage
from shipway.domain.json_value import plain_mapping
from shipway.server.call import Call, call_in
from shipway.server.polls import Poll
from shipway.server.protocol import LINE, LimitedProtocol
from shipway.server.rest.answers import answer, decode
from shipway.server.rest.views import item_view
from shipway.server.settings import POLL_LIMIT_S
from shipway.service.leases import UNSTARTED_TERM_MS, LeaseAnswer, LeaseAsk, Starts, StopAsk
from shipway.service.ports import Tx
from shipway.service.reports import Report, ReportResult
from shipway.service.stored_blobs import check_digest

TRUST_S = 0.5  # with KEY_CACHE_S still below the five seconds in which a revoked key works
SOURCES_LIMIT = 8  # that an agent may name as ready


class HeldBody(msgspec.Struct, forbid_unknown_fields=True):
    """A lease that an agent holds."""

    item: str
    token: str


class FailureBody(msgspec.Struct):
    """Why an item failed."""

    stage: str
    failure_class: str
    reason: str
    exit_code: int | None = None
    signal: int | None = None
    log_tail: list[str] = []


class ReportBody(msgspec.Struct, forbid_unknown_fields=True):
    """What became of a lease."""

    item: str
    token: str
    event: Literal["start", "finish", "fail", "requeue", "stop"]
    handle: str | None = None
    exit_code: int | None = None
    failure: FailureBody | None = None
    log_sizes: dict[str, int] | None = None
    at: int = 0


class StartsBody(msgspec.Struct, forbid_unknown_fields=True):
    """What the agent would start at once: its leases pass the start gate as they are made."""

    limit: Annotated[int, msgspec.Meta(ge=0)]
    sources: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=SOURCES_LIMIT)]


class LeasesBody(msgspec.Struct, forbid_unknown_fields=True):
    """An agent's call for work, with its reports."""

    agent: str
    limit: int = 1
    wait_s: float = 0.0
    used_slots: int = 0
    starts: StartsBody | None = None
    held: list[HeldBody] | None = None
    whole: bool = False
    process: str = ""
    reports: list[ReportBody] = []


class RenewBody(msgspec.Struct, forbid_unknown_fields=True):
    """The leases that an agent still holds."""

    agent: str
    leases: list[HeldBody]


class ReportsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Reports without a call for work."""

    agent: str
    reports: list[ReportBody]


class PinBody(msgspec.Struct, forbid_unknown_fields=True):
    """The lock that was resolved for an item."""

    token: str
    lock: str


_LEASES = msgspec.json.Decoder(LeasesBody)
_RENEW = msgspec.json.Decoder(RenewBody)
_REPORTS = msgspec.json.Decoder(ReportsBody)
_PIN = msgspec.json.Decoder(PinBody)


async def lease(request: Request) -> Response:
    """Lease items; waits for work or stops unless it carried reports."""
    call = call_in(request.scope)
    ask, wait_s = read_ask(call.body)
    mark = call.edge.polls.mark()
    got, agent = await call.edge.write(_work(call, ask))
    is_final = bool(ask.reports) or wait_s == 0 or ask.held is not None
    if not is_final and not _has_news(call, ask.agent, got) and not call.edge.polls.is_closed:
        again = replace(ask, held=None)
        line = request.scope[LINE]
        got = await hold(call, line, again, got, agent=agent, wait_s=wait_s, mark=mark)
    return answer(_answer(call, got))


def read_ask(text: bytes) -> tuple[LeaseAsk, float]:
    """Read a call for work, and for how many seconds it waits."""
    body = decode(text, _LEASES)
    if body.limit < 0 or not 0 <= body.wait_s <= POLL_LIMIT_S:
        raise Invalid(
            f"limit must be 0 or more and wait_s from 0 to {POLL_LIMIT_S:g}", field="wait_s"
        )
    ask = LeaseAsk(
        agent=AgentId(body.agent),
        limit=body.limit,
        used_slots=body.used_slots,
        starts=None if body.starts is None else _starts(body.starts),
        held=None if body.held is None else _held(body.held),
        is_whole=body.whole,
        process=body.process,
        reports=[_report(report) for report in body.reports],
    )
    return ask, body.wait_s


async def renew(request: Request) -> Response:
    """Renew leases."""
    call = call_in(request.scope)
    body = decode(call.body, _RENEW)
    actor, held, agent = call.actor, _held(body.leases), AgentId(body.agent)
    leases = call.edge.service.leases
    got = await call.edge.write(lambda tx: leases.renew(tx, actor, agent, held))
    renewed = [{"item": item, "term_ms": term} for item, term in got.renewed.items()]
    stops = [_stop(stop) for stop in got.stops]
    return answer({"renewed": renewed, "lost": list(got.lost), "stops": stops})


async def report(request: Request) -> Response:
    """Take reports; each is answered for itself."""
    call = call_in(request.scope)
    body = decode(call.body, _REPORTS)
    actor, agent = call.actor, AgentId(body.agent)
    reports = [_report(one) for one in body.reports]
    leases = call.edge.service.leases
    results = await call.edge.write(lambda tx: leases.report(tx, actor, agent, reports))
    return answer({"results": [_result(result) for result in results]})


async def pin(request: Request) -> Response:
    """Pin the resolved lock of an item, for all its attempts."""
    call = call_in(request.scope)
    body = decode(call.body, _PIN)
    item_id, actor = ItemId(request.path_params["item_id"]), call.actor
    token, lock = Token(body.token), check_digest(body.lock)
    leases = call.edge.service.leases
    item = await call.edge.write(lambda tx: leases.pin(tx, actor, item_id, token, lock))
    return answer(item_view(item, call.edge.base_url))


def _work(
    call: Call, ask: LeaseAsk, *, trusted_until: float = math.inf
) -> Callable[[Tx], tuple[LeaseAnswer, Agent]]:
    """Return a call for work as one transaction; later than so its key is looked up again."""
    actor, service = call.actor, call.edge.service

    def work(tx: Tx) -> tuple[LeaseAnswer, Agent]:
        if time.monotonic() >= trusted_until:
            service.keys.check(tx, actor)
        return service.leases.lease(tx, actor, ask), service.agents.get(tx, actor, ask.agent)

    return work


async def hold(
    call: Call, line: LimitedProtocol, ask: LeaseAsk, got: LeaseAnswer, *, agent: Agent,
    wait_s: float, mark: int,
) -> LeaseAnswer:  # fmt: skip
    """Hold a poll open: no thread, no transaction, only an entry in the line of its group."""
    polls = call.edge.polls
    seconds = asyncio.get_running_loop().time
    until = seconds() + wait_s
    wants_work = ask.limit > 0 and agent.state is AgentState.ACTIVE
    work = _work(call, ask, trusted_until=time.monotonic() + TRUST_S)
    poll = polls.add(agent, work, wants_work=wants_work, since=mark)
    del agent  # four thousand of these wait at once
    line.when_gone(poll.leave)
    try:
        while True:
            is_hinted = await poll.watch.wait(until - seconds())
            claim = polls.leave(poll)
            if claim is not None:
                got, _ = await call.edge.claimed(claim)
            elif poll.is_gone or not is_hinted:  # nothing may be leased to somebody who left
                return got
            else:
                got, _ = await call.edge.write(work)
            if poll.is_gone:
                await _give_back(call, ask.agent, got)
                return got
            is_over = poll.is_urgent or polls.is_closed or seconds() >= until
            if _has_news(call, ask.agent, got) or is_over:
                _pass_on(call, poll, got)
                return got
            polls.rejoin(poll)
    finally:
        line.when_gone(None)
        polls.remove(poll)


async def _give_back(call: Call, agent: AgentId, got: LeaseAnswer) -> None:
    """Give leases back whose agent left while they were made."""
    reports = [
        Report(item=grant.item.id, token=grant.token, event=Event.REQUEUE) for grant in got.leases
    ]
    if reports:
        leases, actor = call.edge.service.leases, call.actor
        await call.edge.write(lambda tx: leases.report(tx, actor, agent, reports))


def _pass_on(call: Call, poll: Poll, got: LeaseAnswer) -> None:
    """After work that was found by looking: let the next in line look too."""
    if got.leases and poll.is_woken_by_look and poll.group is not None:
        for queue_id in poll.group.queue_ids:
            call.edge.polls.hint_queue(queue_id, is_look=True)


def _has_news(call: Call, agent: AgentId, got: LeaseAnswer) -> bool:
    """Tell whether an answer is worth giving now; what was just asked is no news."""
    stops = {(stop.item, stop.token) for stop in got.stops}
    doubts = {(doubt.item, doubt.token) for doubt in got.doubts}
    has_asks = call.edge.polls.is_news(agent, frozenset(stops | doubts))
    return bool(has_asks or got.leases or got.results or got.lost)


def _answer(call: Call, got: LeaseAnswer) -> dict[str, Any]:
    now = call.edge.clock.now()
    base_url = call.edge.base_url
    return {
        "leases": [
            {
                "item": grant.item.id,
                "token": grant.token,
                "attempt": grant.item.attempt,
                "term_ms": grant.term_ms,
                "started": grant.is_started,
                "item_json": item_view(grant.item, base_url),
                "job_key": grant.job_key,
                "server_time": now,
            }
            for grant in got.leases
        ],
        "results": [_result(result) for result in got.results],
        "stops": [_stop(stop) for stop in got.stops],
        "doubts": [
            {"item": one.item, "attempt": one.attempt, "token": one.token} for one in got.doubts
        ],
        "lost": list(got.lost),
        "drain": got.is_draining,
        "stop": got.is_stopping,
        "term_ms": UNSTARTED_TERM_MS,
    }


def _result(result: ReportResult) -> dict[str, Any]:
    return {
        "item": result.item,
        "event": result.event.value,
        "ok": result.ok,
        "code": result.code.value if result.code else None,
        "state": result.state.value if result.state else None,
        "stop_requested": result.stop_requested,
        "grace_s": result.grace_s,
        "term_ms": result.term_ms,
    }


def _stop(stop: StopAsk) -> dict[str, Any]:
    return {"item": stop.item, "token": stop.token, "grace_s": stop.grace_s}


def _starts(body: StartsBody) -> Starts:
    sources = [
        plain_mapping(source, f"starts.sources[{place}]")
        for place, source in enumerate(body.sources)
    ]
    return Starts(limit=body.limit, sources=sources)


def _held(leases: Sequence[HeldBody]) -> dict[ItemId, Token]:
    return {ItemId(lease.item): Token(lease.token) for lease in leases}


def _report(body: ReportBody) -> Report:
    return Report(
        item=ItemId(body.item),
        token=Token(body.token),
        event=Event(body.event),
        handle=body.handle,
        exit_code=body.exit_code,
        failure=None if body.failure is None else _failure(body.failure),
        log_sizes=body.log_sizes or {},
        at=body.at,
    )


def _failure(body: FailureBody) -> Failure:
    try:
        return Failure(
            stage=Stage(body.stage),
            failure_class=FailureClass(body.failure_class),
            reason=body.reason,
            exit_code=body.exit_code,
            signal=body.signal,
            log_tail=tuple(body.log_tail),
        )
    except ValueError as error:
        raise Invalid(f"failure: {error}", field="reports.failure") from None
