"""What agents say became of their leases, and what they are answered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from shipway.domain.errors import Code
from shipway.domain.ids import ItemId, Token
from shipway.domain.item import Event, Failure, FailureClass, Item, State
from shipway.domain.lease import Moved

# What a report moves when nobody asked for a stop; a failure before the gate takes the long way.
PLAIN = {Event.START: State.LEASED, Event.FINISH: State.RUNNING, Event.FAIL: State.RUNNING}


class Report(NamedTuple):
    """What an agent says became of a lease."""

    item: ItemId
    token: Token
    event: Event  # START FINISH FAIL REQUEUE STOP
    handle: str | None = None
    exit_code: int | None = None
    failure: Failure | None = None
    log_sizes: Mapping[str, int] = MappingProxyType({})
    at: int = 0


class ReportResult(NamedTuple):
    """What the server made of a report; a start that is not ok must not start anything."""

    item: ItemId
    event: Event
    ok: bool
    code: Code | None = None
    state: State | None = None
    stop_requested: bool = False
    grace_s: float | None = None
    term_ms: int = 0


def alike(reports: Sequence[Report]) -> list[dict[ItemId, Report]]:
    """Return plain reports by what they say: what one statement settles; an item's first one."""
    found: dict[tuple[Event, int | None, Failure | None], dict[ItemId, Report]] = {}
    for report in reports:
        if report.event in PLAIN and not _is_lost(report):
            said = (report.event, report.exit_code, report.failure)
            found.setdefault(said, {}).setdefault(report.item, report)
    return list(found.values())


def at_the_gate(item: Item, report: Report) -> ReportResult:
    """Answer a start that moved nothing, though the lease is held: stopped, or begun before."""
    is_stopped = item.stop_requested_at is not None
    if item.state is State.RUNNING and not is_stopped:  # the answer to an earlier report was lost
        return done(report, item)
    return ReportResult(
        item=item.id,
        event=Event.START,
        ok=False,
        state=item.state,
        stop_requested=is_stopped,
        grace_s=item.stop_grace_s,
    )


def done(report: Report, item: Item | Moved) -> ReportResult:
    """Answer a report that took effect."""
    return ReportResult(
        item=item.id, event=report.event, ok=True, state=item.state, term_ms=item.lease_term
    )


def lost(report: Report) -> ReportResult:
    """Answer a report on a lease that is not its agent's any more."""
    return ReportResult(item=report.item, event=report.event, ok=False, code=Code.LEASE_LOST)


def trace(token: Token) -> str:
    """Return what an event may show of a token: enough to know a repeated report by."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


def _is_lost(report: Report) -> bool:
    return (
        report.event is Event.FAIL
        and report.failure is not None
        and report.failure.failure_class is FailureClass.LOST
    )
