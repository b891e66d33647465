"""Reports reach the server, whatever one of them holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, cast

import pytest

from shipway.agent.courier import LONGEST_PAUSE_MS, Reply
from shipway.agent.events import Answered, Event, Failed, Lost
from shipway.agent.faults import fault
from shipway.agent.lease import Report
from shipway.agent.link import FAULTS, REPORTS_BYTES, Link
from shipway.agent.need import Need
from shipway.agent.reasons import REASON_LIMIT, TAIL_LINES, TAIL_WIDTH, a_tail
from shipway.agent.transport import Transport
from shipway.client.wire import _encode
from shipway.domain.errors import Code, Invalid, ShipwayError, TooLarge
from shipway.domain.ids import ItemId, Token
from shipway.domain.item import Event as ItemEvent
from shipway.domain.item import Failure, FailureClass, Stage
from shipway.plugins.errors import PermanentError

NEED = Need(room=0, used=0, is_holding=False, held={})


class Server:
    """Takes reports, save those that a test refuses."""

    def __init__(self, refuse: Callable[[Mapping[str, Any]], ShipwayError | None]) -> None:
        self.refuse = refuse
        self.got: list[dict[str, Any]] = []
        self.sizes: list[int] = []

    leases = agents = property(lambda self: self)

    def register(self, agent: Mapping[str, Any]) -> Mapping[str, Any]:
        return agent

    def lease(self, ask: Mapping[str, Any], *, wait_s: float) -> Mapping[str, Any]:
        assert not wait_s
        self.sizes.append(len(_encode(ask)))
        for report in ask["reports"]:
            if error := self.refuse(report):
                raise error
        self.got += ask["reports"]
        return {"leases": [], "results": [{"ok": True} for _ in ask["reports"]], "stops": []}


def delivered(
    reports: Sequence[Report], refuse: Callable[[Mapping[str, Any]], ShipwayError | None]
) -> tuple[Server, list[Event]]:
    server = Server(refuse)
    replies: SimpleQueue[Reply] = SimpleQueue()
    now = [0]
    link = Link(
        transport=cast("Transport", server),
        registration={"id": "a"},
        emit=replies.put,
        boot_ms=lambda: now[0],
        now=lambda: 1,
    )
    link._couriers["stops"].is_busy = True  # type: ignore[index]  # a StrEnum's text is its key
    link._couriers["work"].is_busy = True  # type: ignore[index]  # the same
    for report in reports:
        link.send(report)
    events: list[Event] = []
    for _ in range(100):
        link.pump(NEED)
        events += link.take(replies.get(timeout=5))
        now[0] += LONGEST_PAUSE_MS
        if not link._outbox:
            break
    return server, events


def a_report(number: int, reason: str = "exit 1", tail: Sequence[str] = ()) -> Report:
    failure = Failure(
        stage=Stage.RUN, failure_class=FailureClass.EXIT, reason=reason, log_tail=tuple(tail)
    )
    return Report(
        key=f"i{number}.1",
        item=ItemId(f"i{number}"),
        token=Token("t"),
        event=ItemEvent.FAIL,
        exit_code=1,
        failure=failure,
    )


def nothing(_: Mapping[str, Any]) -> None:
    return None


def answered(events: Sequence[Event]) -> list[str]:
    return [event.key for event in events if isinstance(event, Answered)]


@pytest.mark.parametrize("char", ["█", "\t", "😀", "x"])
def test_calls_with_long_tails_stay_far_below_the_servers_limit(char: str) -> None:
    reports = [a_report(number, tail=[char * TAIL_WIDTH] * TAIL_LINES) for number in range(100)]
    server, events = delivered(reports, nothing)
    assert answered(events) == [report.key for report in reports]
    assert max(server.sizes) <= REPORTS_BYTES


def test_a_reason_that_is_no_text_holds_nobody_up() -> None:
    server, events = delivered([a_report(0, "caf\udce9"), a_report(1)], nothing)
    assert answered(events) == ["i0.1", "i1.1"]
    assert server.got[0]["failure"]["reason"] == "caf\\udce9"


@pytest.mark.parametrize("error", [TooLarge("x"), Invalid("x"), ShipwayError("x")])
def test_a_report_that_is_refused_goes_again_bare(error: ShipwayError) -> None:
    reports = [a_report(number) for number in range(9)]
    reports[4] = a_report(4, "é" * 900, ["tail"])
    server, events = delivered(
        reports, lambda report: error if report["failure"]["log_tail"] else None
    )
    assert answered(events) == [report.key for report in reports]
    assert server.got[4]["failure"]["reason"].isascii()


@pytest.mark.parametrize("error", [TooLarge("x"), Invalid("x"), ShipwayError("x")])
def test_a_report_that_no_server_takes_is_dropped_and_its_lease_let_go(
    error: ShipwayError,
) -> None:
    reports = [a_report(number) for number in range(9)]
    server, events = delivered(reports, lambda report: error if report["item"] == "i4" else None)
    assert answered(events) == [report.key for report in reports if report.item != "i4"]
    assert [event.item for event in events if isinstance(event, Lost)] == ["i4"]
    assert len(server.sizes) < 20 + FAULTS


@pytest.mark.parametrize(
    "error",
    [
        ShipwayError("away", code=Code.UNREACHABLE),
        ShipwayError("a proxy's page", code=Code.INTERNAL, details={"status": 502}),
    ],
)
def test_a_server_that_is_away_costs_no_report(error: ShipwayError) -> None:
    left = [50]

    def refuse(_: Mapping[str, Any]) -> ShipwayError | None:
        left[0] -= 1
        return error if left[0] > 0 else None

    reports = [a_report(number, tail=["tail"]) for number in range(3)]
    server, events = delivered(reports, refuse)
    assert answered(events) == [report.key for report in reports]
    assert all(report["failure"]["log_tail"] for report in server.got)


def test_a_reason_is_bounded_text_from_the_start() -> None:
    failed = fault(PermanentError("\udce9\0" + "x" * 9_000), Stage.SOURCE, "i.1", at=1)
    assert isinstance(failed, Failed)
    reason = failed.failure.reason
    assert reason.startswith("\\udce9 x")
    assert len(reason) <= REASON_LIMIT


def test_a_tail_is_bounded_text() -> None:
    tail = a_tail(["\udce9\0" + "x" * 9_000] * 50)
    assert len(tail) == TAIL_LINES
    assert max(len(line) for line in tail) == TAIL_WIDTH
    assert "".join(tail).isprintable()
