"""Reads the server's answers to an agent into events."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from shipway.agent.events import Answered, Doubted, Event, Leased, Lost, Renewed, StopAsked
from shipway.agent.lease import Report, read_lease
from shipway.domain.errors import Code
from shipway.domain.ids import ItemId, Token

SPECS = 8  # launch specs that are remembered
_PER_ITEM = ("run_id", "name")  # of a spec; the item's own facts have them too


class Specs:
    """Gives equal launch specs as one object, so that what is made of one can be kept by it."""

    def __init__(self) -> None:
        self._seen: deque[Mapping[str, Any]] = deque(maxlen=SPECS)

    def share(self, leases: Sequence[dict[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Return leases as the wire has them, with equal specs shared."""
        for lease in leases:
            facts = lease["item_json"]
            own = facts["spec"]
            for name in _PER_ITEM:
                own.pop(name, None)
            for spec in self._seen:
                if spec == own:
                    facts["spec"] = spec
                    break
            else:
                self._seen.appendleft(own)
        return leases


def leased(
    answer: Mapping[str, Any], specs: Specs, *, grace_s: float, sent_at: int, at: int
) -> list[Event]:
    """Return the leases of an answer as one event, or none."""
    values = specs.share(answer.get("leases") or ())
    leases = tuple(read_lease(value, grace_s=grace_s) for value in values)
    return [Leased(at=at, sent_at=sent_at, leases=leases)] if leases else []


def read_answers(
    answer: Mapping[str, Any], reports: Sequence[Report], *, sent_at: int, at: int
) -> list[Event]:
    """Return what became of each report; results come in the reports' order."""
    results = answer.get("results") or ()
    assert len(results) == len(reports), "a result for each report"
    return [
        Answered(
            at=at,
            sent_at=sent_at,
            key=report.key,
            token=report.token,
            event=report.event,
            is_ok=bool(result["ok"]),
            code=Code(result["code"]) if result.get("code") else None,
            stop_requested=bool(result.get("stop_requested")),
            grace_s=result.get("grace_s"),
            term_ms=int(result.get("term_ms") or 0),
        )
        for report, result in zip(reports, results, strict=True)
    ]


def read_stops(answer: Mapping[str, Any], *, at: int) -> list[Event]:
    """Return the stops that somebody asked for."""
    return [
        StopAsked(
            at=at,
            item=ItemId(stop["item"]),
            token=Token(stop["token"]),
            grace_s=stop.get("grace_s"),
        )
        for stop in answer.get("stops") or ()
    ]


def read_doubts(answer: Mapping[str, Any], *, at: int) -> list[Event]:
    """Return the leases that the server heard nothing of since it made them."""
    return [
        Doubted(
            at=at,
            key=f"{doubt['item']}.{doubt['attempt']}",
            item=ItemId(doubt["item"]),
            token=Token(doubt["token"]),
        )
        for doubt in answer.get("doubts") or ()
    ]


def read_renewal(
    answer: Mapping[str, Any], held: Mapping[ItemId, Token], *, sent_at: int, at: int
) -> list[Event]:
    """Return what is renewed, what is lost and what should end."""
    terms = {ItemId(one["item"]): int(one["term_ms"]) for one in answer.get("renewed") or ()}
    events: list[Event] = [Renewed(at=at, sent_at=sent_at, terms=terms)]
    events += [
        Lost(at=at, item=ItemId(item), token=held[item])
        for item in answer.get("lost") or ()
        if item in held
    ]
    return events + read_stops(answer, at=at)
