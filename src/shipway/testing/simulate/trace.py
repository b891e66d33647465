"""Tells a history in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from shipway.testing.simulate.history import CHATTER, Happening, What
from shipway.testing.simulate.rows import Row
from shipway.testing.simulate.simulation import Result

LINES = 40  # of a trace


def trace(result: Result, *, limit: int = LINES) -> str:
    """Return the plan and the happenings that led to the first verdict."""
    plan = result.plan
    lines = [f"seed {plan.seed}, scenario {plan.scenario}"]
    lines.append(f"  {plan.servers} server(s), sites with {list(plan.sites)} slots")
    lines += [
        f"  task {task.number} at {task.at:.0f} ms on {task.queue}: {task.script}"
        for task in plan.tasks
    ]
    lines += [f"  {act.deed} task {act.task} at {act.at:.0f} ms" for act in plan.acts]
    lines += [f"  {fault}" for fault in plan.faults]
    lines += [f"{line}" for line in events(result, limit=limit)]
    lines += [f"WRONG: {verdict}" for verdict in result.verdicts[:5]]
    return "\n".join(lines)


def events(result: Result, *, limit: int = LINES) -> list[str]:
    """Return the last happenings up to the first verdict, with those of its item first."""
    verdict = result.verdicts[0] if result.verdicts else None
    until = verdict.at if verdict is not None else float("inf")
    before = [one for one in result.happenings if one.at <= until]
    chosen = _choose(before, verdict.item if verdict is not None else "", limit)
    names = _names(result.happenings)
    lines = []
    for one in chosen:
        text = _say(one)
        for item, name in names.items():
            text = text.replace(item, name)
        lines.append(text)
    return lines


def _choose(happenings: Sequence[Happening], item: str, limit: int) -> list[Happening]:
    """Keep the most telling ones: of the item and of faults first, of calls last."""

    def weight(one: Happening) -> int:
        if item and one.item == item and one.what not in CHATTER:
            return 0
        if one.what not in CHATTER:
            return 1
        return 2

    for least in (2, 1, 0):
        kept = [one for one in happenings if weight(one) <= least]
        if len(kept) <= limit:
            return kept
    return kept[-limit:]


def _names(happenings: Sequence[Happening]) -> dict[str, str]:
    """Give items short names, in their order."""
    items = dict.fromkeys(one.item for one in happenings if one.item)
    return {item: f"item{number}" for number, item in enumerate(items)}


def _say(one: Happening) -> str:
    if one.what is not What.ROW:
        return str(one)
    row: Row = one.data["row"]
    before: Row | None = one.data["before"]
    change = f"{before.state if before else 'nothing'} -> {row.state}"
    token = f" token {row.token[:4]} of {row.agent}" if row.token else ""
    stop = " stop asked" if row.stop_requested_at else ""
    return f"{one.at:10.1f} ms  {one.who:<12} row {row.id}.{row.attempt} {change}{token}{stop}"
