"""Makes sweeps in a world of unit tests, and plays their workers and programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shipway.domain.actor import Actor
from shipway.domain.run import StreamLine
from shipway.domain.sweep import Sweep, SweepState
from shipway.service.runs import RunView
from shipway.service.sweep_agents import (
    Command,
    Order,
)
from shipway.service.sweeps import SweepAsk
from shipway.service.tracked_runs import RunAsk, StreamReport

if TYPE_CHECKING:
    from tests.unit.conftest import World

GRID = {"method": "grid", "parameters": {"x": {"values": [1, 2]}, "y": {"values": ["a", "b"]}}}
CHANCE = {"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}}


def a_sweep(world: World, given: Any = None, **ask: Any) -> Sweep:
    """Make a sweep of ann's."""
    asked = SweepAsk(**{"project": "demo", "given": given or GRID, "source": "{}", **ask})
    return world.do(lambda tx: world.service.sweeps.upsert(tx, world.ann, asked))[0]


def a_worker(world: World, sweep: Sweep, actor: Actor | None = None) -> str:
    """Take a worker on."""
    agents = world.service.sweep_agents
    return world.do(lambda tx: agents.register(tx, actor or world.ann, sweep, host="box")).id


def beat(
    world: World, worker: str, *running: str, actor: Actor | None = None
) -> Sequence[Command]:  # fmt: skip
    """Let a worker say what it runs; return what it is to do."""
    agents, who = world.service.sweep_agents, actor or world.ann
    said = world.do(lambda tx: agents.beat(tx, who, worker, running))
    if said.needs_search:
        found = agents.search(world.do(lambda tx: agents.ask(tx, who, worker)))
        said = world.do(lambda tx: agents.beat(tx, who, worker, running, found))
    return said.commands


def given(commands: Sequence[Command]) -> Command:
    """Return the one run that a worker was given."""
    (command,) = commands
    assert command.order is Order.RUN
    return command


def begin(world: World, run_id: str | None) -> None:
    """Let a run's program call `wandb.init`."""
    ask = RunAsk(project="demo", id=run_id, is_begun=True)
    world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, ask))


def report(world: World, run_id: str | None, *values: float, first: int = 0, **said: Any) -> None:
    """Let a run's program log values of the loss, and perhaps end."""
    lines = [
        StreamLine(number=at, step=at, text=f'{{"loss": {value}, "_step": {at}}}')
        for at, value in enumerate(values, first)
    ]

    def work(tx: Any) -> None:
        view = world.service.tracked.get(tx, world.ann, "ann", "demo", run_id or "")
        reported = StreamReport(history=lines, **said)
        world.service.tracked.report(tx, world.ann, view, reported)

    world.do(work)


def done(world: World, run_id: str | None, *, exit_code: int = 0, loss: float = 1.0) -> None:
    """Let a run's program run from its beginning to its end."""
    begin(world, run_id)
    said = {"summary": {"loss": loss}, "is_complete": True, "exit_code": exit_code}
    report(world, run_id, loss, **said)


def now(world: World, sweep: Sweep) -> Sweep:
    """Return a sweep as it stands."""
    sweeps = world.service.sweeps
    return world.do(lambda tx: sweeps.get(tx, world.ann, "ann", "demo", sweep.id))


def runs(world: World, sweep: Sweep) -> list[RunView]:
    """Return a sweep's runs."""
    return world.do(lambda tx: world.service.sweeps.runs(tx, sweep))


def to(world: World, sweep: Sweep, state: SweepState) -> Sweep:
    """Let ann change a sweep's state."""
    return world.do(lambda tx: world.service.sweeps.set_state(tx, world.ann, sweep, state))
