"""Makes one history from a seed, and judges it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shipway.testing.simulate.checker import Record, judge
from shipway.testing.simulate.history import Happening
from shipway.testing.simulate.plan import Plan, plan_of
from shipway.testing.simulate.program import print_line
from shipway.testing.simulate.verdict import Verdict, Wrong
from shipway.testing.simulate.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One history and what is wrong with it: nothing, it is hoped."""

    plan: Plan
    happenings: Sequence[Happening]
    verdicts: Sequence[Verdict]

    @property
    def is_ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.verdicts


def simulate(seed: int, *, scenario: str | None = None) -> Result:
    """Make the history of a seed; without a scenario the seed chooses that, too."""
    return simulate_plan(plan_of(seed, scenario))


def simulate_plan(plan: Plan) -> Result:
    """Make the history of a plan."""
    world = World(plan)
    try:
        return _simulate(world, plan)
    finally:
        world.close()


def _simulate(world: World, plan: Plan) -> Result:
    faults: list[Verdict] = []
    try:
        world.run()
    except Exception as error:  # noqa: BLE001 - a history that breaks off is one that failed
        faults.append(_fault(world, error))
    faults += [_fault(world, error) for server in world.servers for error in server.faults]
    happenings = world.history.happenings
    rows = world.table.items()
    attempts = sorted({(item, attempt) for item, attempt, _ in world.table.logs()})
    numbers = {item: int(world.number(row)) for item, row in rows.items()}
    record = Record(
        happenings=happenings,
        rows=rows,
        is_over=bool(faults) or world.is_over(),
        logs={(item, attempt): world.log(item, attempt) for item, attempt in attempts},
        printed={
            (item, attempt): _text(item, attempt, world.scripts[numbers[item]].lines)
            for item, row in rows.items()
            for attempt in range(1, row.attempt + 1)
        },
    )
    verdicts = [*faults] if faults else judge(record)
    return Result(plan=plan, happenings=happenings, verdicts=verdicts)


def _fault(world: World, error: BaseException) -> Verdict:
    text = f"{type(error).__name__}: {error}"
    return Verdict(wrong=Wrong.FAULT, at=world.kernel.now, text=text)


def _text(item: str, attempt: int, lines: int) -> bytes:
    return b"".join(print_line(item, attempt, line) for line in range(lines))
