"""What is to happen in one history: drawn from a seed, and small enough to be cut smaller."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shipway.testing.simulate.memory import AGAIN, ONCE
from shipway.testing.simulate.program import Script
from shipway.testing.simulate.scenario import SCENARIOS, Scenario

SOON_MS = 1_200.0  # after it was added an item is often about to start


class Deed(StrEnum):
    """What a client does to an item beside adding it."""

    STOP = "stop"
    DELETE = "delete"
    RETRY = "retry"
    PRIORITY = "priority"
    WAIT = "wait"


class Ill(StrEnum):
    """A kind of fault."""

    CRASH_SERVER = "crash server"  # and start it again at the end of the fault
    PAUSE_SERVER = "pause server"
    CRASH_AGENT = "crash agent"
    PAUSE_AGENT = "pause agent"
    CRASH_SUPERVISOR = "crash supervisor"
    PAUSE_SUPERVISOR = "pause supervisor"
    PAUSE_BOTH = "pause agent and supervisor"
    HANG = "hang"  # agent and supervisor are stopped; in the end the agent is killed
    CRASH_SLOT = "crash slot"
    SUSPEND = "suspend machine"
    CRASH_MACHINE = "crash machine"
    CUT_TO = "cut to servers"  # from a machine; nothing of it arrives
    CUT_FROM = "cut from servers"  # to a machine
    CUT = "cut both ways"
    STORM = "storm"  # messages are lost, doubled, late
    DEAF = "hints lost"  # a server's subscribers hear of no commit
    JUMP = "clock jumps"  # of a machine, by minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """An item that a client adds."""

    number: int
    at: float
    queue: str
    script: Script
    grace_s: float
    is_repeated: bool  # the client sends it again though it was answered
    source: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that a client does to one of the items."""

    deed: Deed
    task: int
    at: float
    grace_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong for a while."""

    ill: Ill
    target: int
    at: float
    for_ms: float

    def __str__(self) -> str:
        return f"{self.ill} #{self.target} at {self.at:.0f} ms for {self.for_ms:.0f} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of one history that is not left to chance while it runs."""

    seed: int
    scenario: str
    servers: int
    sites: tuple[int, ...]  # slots of each
    tasks: tuple[Task, ...]
    acts: tuple[Act, ...]
    faults: tuple[Fault, ...]


def plan_of(seed: int, scenario: str | None = None) -> Plan:
    """Draw a plan; without a scenario the seed chooses that, too."""
    name = scenario or list(SCENARIOS)[seed % len(SCENARIOS)]
    chosen = SCENARIOS[name]
    chance = random.Random(seed)
    tasks = tuple(_task(chance, chosen, number) for number in range(_count(chance, chosen.tasks)))
    acts = tuple(_act(chance, chosen, tasks) for _ in range(_count(chance, chosen.acts)))
    sites = tuple(chance.randint(*chosen.slots) for _ in range(_count(chance, chosen.sites)))
    servers = _count(chance, chosen.servers)
    faults = tuple(
        _fault(chance, chosen, servers, len(sites)) for _ in range(_count(chance, chosen.faults))
    )
    return Plan(
        seed=seed, scenario=name, servers=servers, sites=sites, tasks=tasks,
        acts=tuple(sorted(acts, key=_when)), faults=tuple(sorted(faults, key=_when)),
    )  # fmt: skip


def _when(one: Act | Fault) -> float:
    return one.at


def _count(chance: random.Random, span: tuple[int, int]) -> int:
    return chance.randint(*span)


def _task(chance: random.Random, scenario: Scenario, number: int) -> Task:
    run_ms = 10 ** chance.uniform(*scenario.run_ms_log)
    script = Script(
        run_ms=run_ms,
        exit_code=0 if chance.random() < 0.85 else 3,
        lines=chance.choice((0, 0, 3, 20, 60)),
        is_deaf=chance.random() < 0.15,
        kills_machine=chance.random() < scenario.poison,
        kills_builder=chance.random() < scenario.poison,
    )
    return Task(
        number=number,
        at=chance.uniform(0, scenario.span_ms) if chance.random() < 0.7 else 0.0,
        queue=AGAIN if chance.random() < 0.5 else ONCE,
        script=script,
        grace_s=chance.choice((0.5, 2.0, 10.0)),
        is_repeated=chance.random() < 0.2,
        source=chance.randint(0, 1),
    )


def _act(chance: random.Random, scenario: Scenario, tasks: Sequence[Task]) -> Act:
    task = chance.choice(tasks)
    return Act(
        deed=chance.choices(list(Deed), weights=(6, 1, 1, 1, 2))[0],
        task=task.number,
        at=task.at + chance.uniform(0, scenario.span_ms if chance.random() < 0.5 else SOON_MS),
        grace_s=chance.choice((None, 0.2, 3.0)),
    )


def _fault(chance: random.Random, scenario: Scenario, servers: int, sites: int) -> Fault:
    ill = chance.choice([Ill(name) for name in scenario.ills])
    is_server = ill in (Ill.CRASH_SERVER, Ill.PAUSE_SERVER, Ill.DEAF)
    return Fault(
        ill=ill,
        target=chance.randrange(servers if is_server else sites),
        at=chance.uniform(scenario.calm_ms, scenario.span_ms),
        for_ms=10 ** chance.uniform(*scenario.fault_ms_log),
    )
