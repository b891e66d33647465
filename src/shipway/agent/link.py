"""Keeps the calls to the server going: one open poll always, reports in batches, renewals."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from shipway.agent.courier import Courier, Reply
from shipway.agent.events import DrainAsked, Event, Lost, NotRenewed, Settled
from shipway.agent.lease import GRACE_S, Report
from shipway.agent.need import Need
from shipway.agent.reasons import bare
from shipway.agent.transport import Transport
from shipway.agent.wire import Specs, leased, read_answers, read_doubts, read_renewal, read_stops
from shipway.domain.errors import Code, ShipwayError
from shipway.domain.ids import ItemId, Token

log = logging.getLogger(__name__)

POLL_S = 25.0  # how long the server holds a call that has nothing to answer
REPORTS_LIMIT = 500  # reports in one call
HOLD_MS = 3  # reports of short programs wait so long for each other
HOLD_REPORTS = 16  # so many are worth a call of their own
REPORTS_BYTES = 1 << 20  # of one call's reports, half of what the server takes
FAULTS = 10  # answers that name a fault of the server's own, until a report is dropped for them
AGAIN_S = 0.5  # between two looks at an empty queue for those who do not wait for work
BAD = frozenset({Code.TOO_LARGE, Code.INVALID, Code.INTERNAL})  # a report may be why
FATAL = frozenset({Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.INVALID, Code.NOT_FOUND})


class Way(StrEnum):
    """What a call is for; each way has one call under way at most."""

    EXCHANGE = "exchange"  # reports, and leases where no poll asks for them
    WORK = "work"  # waits for leases
    STOPS = "stops"  # waits for stops, whether or not there are free slots
    RENEW = "renew"  # keeps leases


class Phase(StrEnum):
    """How far an agent has come with its server."""

    REGISTER = "register"  # the server does not know it yet
    SETTLE = "settle"  # the server does not know what it holds yet
    OPEN = "open"  # work may be asked for


class Link:
    """Decides which call is made next; the loop's thread alone is in here."""

    def __init__(
        self,
        *,
        transport: Transport,
        registration: Mapping[str, Any],
        emit: Callable[[Reply], None],
        boot_ms: Callable[[], int],
        now: Callable[[], int],
        poll_s: float = POLL_S,
        grace_s: float = GRACE_S,
        is_whole: bool = False,
        courier: Callable[..., Courier] = Courier,
    ) -> None:
        self._transport = transport
        self._registration = registration
        self._agent = str(registration["id"])
        self._boot_ms = boot_ms
        self._now = now
        self._poll_s = poll_s
        self._grace_s = grace_s
        self._is_whole = is_whole  # nothing that was ever held is missing from what is told
        self._couriers = {way: courier(way, emit=emit, boot_ms=boot_ms) for way in Way}
        self._specs = Specs()
        self._outbox: deque[Report] = deque()
        self._batch = REPORTS_LIMIT  # reports in the next call; fewer after one was refused
        self._refusals = 0  # of the first report, sent alone
        self._held_since: int | None = None
        self._phase = Phase.REGISTER
        self._was_known = False  # the server took this agent before
        self._is_draining = False
        self.is_stopping = False  # the server asked for the agent's end
        self.is_dry = False  # the last call that asked for work got none
        self.refusal: ShipwayError | None = None  # the server will not have this agent

    def send(self, report: Report) -> None:
        """Put a report into the next call."""
        self._outbox.append(report)

    def renew(self, held: Mapping[ItemId, Token]) -> None:
        """Renew leases; a renewal that is still under way is enough."""
        courier = self._couriers[Way.RENEW]
        if courier.is_busy:
            return
        leases = [{"item": item, "token": token} for item, token in held.items()]
        calls, agent = self._transport.leases, self._agent
        courier.send(lambda: calls.renew(agent, leases), held)

    def pump(self, need: Need) -> None:
        """Make the calls that are due."""
        exchange = self._couriers[Way.EXCHANGE]
        if self._phase is not Phase.OPEN:
            if exchange.is_free():
                self._introduce(exchange, need)
            return
        work = self._couriers[Way.WORK]
        if self._outbox and exchange.is_free() and not self._is_held(need):
            reports = self._load()
            is_doubted = self._batch < REPORTS_LIMIT  # then the reports alone are judged
            limit = 0 if work.is_busy or is_doubted else need.room
            self._lease(exchange, need, limit=limit, reports=reports, wait_s=0)
        if need.room and work.is_free() and not exchange.asked and not self._outbox:
            self._lease(work, need, limit=need.room, reports=(), wait_s=self._poll_s)
        stops = self._couriers[Way.STOPS]
        if stops.is_free() and (need.is_holding or not work.is_busy):
            self._lease(stops, need, limit=0, reports=(), wait_s=max(self._poll_s, 1.0))

    def _is_held(self, need: Need) -> bool:
        """Hold reports back for a moment where many short programs share a call."""
        if not need.is_more_soon or len(self._outbox) >= HOLD_REPORTS:
            self._held_since = None
            return False
        now = self._boot_ms()
        if self._held_since is None:
            self._held_since = now
        if now - self._held_since < HOLD_MS:
            return True
        self._held_since = None
        return False

    def _load(self) -> list[Report]:
        """Take as many reports from the queue as one call may have, and one at least."""
        reports: list[Report] = []
        weight = 0
        while self._outbox and len(reports) < self._batch:
            weight += self._outbox[0].weight()
            if reports and weight > REPORTS_BYTES:
                break
            reports.append(self._outbox.popleft())
        return reports

    def take(self, reply: Reply) -> list[Event]:
        """Read an answer into events; what did not get through goes again."""
        courier = self._couriers[Way(reply.way)]
        asked, courier.asked = courier.asked, 0
        if reply.error is not None:
            return self._refused(courier, reply, reply.error)
        courier.succeed()
        answer = reply.answer
        assert answer is not None
        if courier.way is Way.RENEW:
            return read_renewal(answer, reply.cargo, sent_at=reply.sent_at, at=reply.at)
        if self._phase is not Phase.OPEN:
            return self._introduced(reply, answer)
        if reply.cargo:
            self._batch = min(self._batch * 2, REPORTS_LIMIT)
            self._refusals = 0
        events: list[Event] = []
        # Answers first: what ended makes room, also in folders, for what is leased.
        events += read_answers(answer, reply.cargo, sent_at=reply.sent_at, at=reply.at)
        events += leased(
            answer, self._specs, grace_s=self._grace_s, sent_at=reply.sent_at, at=reply.at
        )
        events += read_stops(answer, at=reply.at)
        events += read_doubts(answer, at=reply.at)
        if asked:
            self.is_dry = not answer["leases"]
            if self.is_dry and not self._poll_s:
                courier.rest(AGAIN_S)
        self.is_stopping = self.is_stopping or bool(answer.get("stop"))
        is_draining = bool(answer.get("drain"))
        if is_draining != self._is_draining:
            self._is_draining = is_draining
            events.append(DrainAsked(at=reply.at, is_draining=is_draining))
        return events

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is owed to the server and no work is on its way."""
        ways = (Way.EXCHANGE, Way.WORK)
        return not self._outbox and not any(self._couriers[way].is_busy for way in ways)

    def next_try(self) -> float | None:
        """Return in how many seconds a call that failed is due again."""
        waits = [w for c in self._couriers.values() if (w := c.pause()) is not None]
        if self._held_since is not None:
            waits.append(max(0, self._held_since + HOLD_MS - self._boot_ms()) / 1000)
        return min(waits, default=None)

    def _lease(
        self, courier: Courier, need: Need, *, limit: int, reports: Sequence[Report], wait_s: float
    ) -> None:
        at = self._now()
        ask: dict[str, Any] = {
            "agent": self._agent,
            "limit": limit,
            "used_slots": need.used,
            "reports": [report.to_json(at) for report in reports],
        }
        if limit and need.starts and need.sources:
            ask["starts"] = {"limit": min(limit, need.starts), "sources": list(need.sources)}
        courier.asked = limit
        calls = self._transport.leases
        courier.send(lambda: calls.lease(ask, wait_s=wait_s), tuple(reports))

    def _introduce(self, courier: Courier, need: Need) -> None:
        if self._phase is Phase.REGISTER:
            agents, registration = self._transport.agents, self._registration
            courier.send(lambda: agents.register(registration), ())
            return
        held = [{"item": item, "token": token} for item, token in need.held.items()]
        ask = {"agent": self._agent, "limit": 0, "used_slots": need.used, "held": held}
        ask |= {"whole": self._is_whole, "reports": []}
        ask["process"] = str(self._registration.get("facts", {}).get("process", ""))
        calls = self._transport.leases
        courier.send(lambda: calls.lease(ask, wait_s=0), ())

    def _introduced(self, reply: Reply, answer: Mapping[str, Any]) -> list[Event]:
        if self._phase is Phase.REGISTER:
            self._phase = Phase.SETTLE
            self._was_known = True
            log.info("registered", extra={"agent": self._agent})
            return []
        self._phase = Phase.OPEN
        lost = tuple(ItemId(item) for item in answer.get("lost") or ())
        return [
            Settled(at=reply.at, sent_at=reply.sent_at, lost=lost),
            *read_stops(answer, at=reply.at),
        ]

    def _refused(self, courier: Courier, reply: Reply, error: ShipwayError) -> list[Event]:
        courier.fail()
        if courier.failures in (1, 10) or error.code is not Code.UNREACHABLE:
            log.warning("call failed", extra={"way": courier.way, "error": error.message})
        if courier.way is Way.RENEW:
            return [NotRenewed(at=reply.at)]
        is_proxy_s = error.code is Code.INTERNAL and "status" in error.details
        if reply.cargo and error.code in BAD and not is_proxy_s:
            return self._doubted(reply, error)
        self._outbox.extendleft(reversed(reply.cargo))
        if self._phase is Phase.REGISTER and error.code in FATAL and not self._was_known:
            self.refusal = error
        elif error.code is Code.NOT_FOUND:  # a server with another database
            self._phase = Phase.REGISTER
        return []

    def _doubted(self, reply: Reply, error: ShipwayError) -> list[Event]:
        """Find the report that the server cannot take, so that it holds no other up.

        The batch is halved down to one report; that one goes again bare, and then not at all.
        """
        first: Report = reply.cargo[0]
        if len(reply.cargo) > 1:
            self._batch = len(reply.cargo) // 2
            self._outbox.extendleft(reversed(reply.cargo))
            return []
        self._batch = 1
        self._refusals += 1
        if self._refusals <= (FAULTS if error.code is Code.INTERNAL else 1):
            self._outbox.appendleft(bare(first))
            return []
        self._refusals = 0
        log.error(
            "report dropped",
            extra={"attempt": first.key, "event": first.event, "error": error.message},
        )
        return [Lost(at=reply.at, item=first.item, token=first.token)]
