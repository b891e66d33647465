"""Cuts a failing plan down to what still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from shipway.testing.simulate.plan import Plan
from shipway.testing.simulate.simulation import Result, simulate_plan
from shipway.testing.simulate.verdict import Wrong

TRIES = 300  # histories made on the way

Try = Callable[[Plan], Result]


def shrink(result: Result, *, simulate: Try = simulate_plan, tries: int = TRIES) -> Result:
    """Return the smallest history found in which the same promise is broken."""
    wrong = result.verdicts[0].wrong
    while True:
        for plan in _smaller(result.plan):
            tries -= 1
            if tries < 0:
                return result
            found = simulate(plan)
            if _breaks(found, wrong):
                result = found
                break
        else:
            return result


def _breaks(result: Result, wrong: Wrong) -> bool:
    return any(verdict.wrong is wrong for verdict in result.verdicts)


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Yield plans with a little less in them, those with much less first."""
    for name in ("faults", "acts", "tasks"):
        values: tuple[Any, ...] = getattr(plan, name)
        size = len(values)
        while size:
            for start in range(0, len(values), size):
                cut: dict[str, Any] = {name: values[:start] + values[start + size :]}
                yield _whole(replace(plan, **cut))
            size //= 2
    if len(plan.sites) > 1:
        yield replace(plan, sites=plan.sites[:-1])
    if plan.servers > 1:
        yield replace(plan, servers=plan.servers - 1)
    if any(slots > 1 for slots in plan.sites):
        yield replace(plan, sites=(1,) * len(plan.sites))
    for number, fault in enumerate(plan.faults):
        if fault.for_ms > 1:
            short = replace(fault, for_ms=fault.for_ms / 2)
            yield replace(plan, faults=(*plan.faults[:number], short, *plan.faults[number + 1 :]))


def _whole(plan: Plan) -> Plan:
    """Drop what is done to items that are not there any more."""
    numbers = {task.number for task in plan.tasks}
    return replace(plan, acts=tuple(act for act in plan.acts if act.task in numbers))
