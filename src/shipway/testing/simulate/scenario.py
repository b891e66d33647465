"""The kinds of histories that are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Span = tuple[int, int]

_CRASHES = ("crash server", "crash agent", "crash supervisor", "crash slot", "crash machine")
_PAUSES = (
    "pause server",
    "pause agent",
    "pause supervisor",
    "pause agent and supervisor",
    "suspend machine",
)
_NETWORK = ("cut to servers", "cut from servers", "cut both ways", "storm", "hints lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What a plan is drawn from; spans are smallest and largest."""

    tasks: Span = (1, 3)
    acts: Span = (0, 2)
    sites: Span = (1, 2)
    slots: Span = (1, 2)
    servers: Span = (1, 1)
    faults: Span = (1, 3)
    ills: tuple[str, ...] = ()  # of these kinds
    span_ms: float = 2_500.0  # in which items come, faults begin
    calm_ms: float = 0.0  # before the first fault
    run_ms_log: tuple[float, float] = (1.0, 3.6)  # 10 to these powers is how long programs run
    fault_ms_log: tuple[float, float] = (1.5, 3.6)
    poison: float = 0.0  # how many programs take their machine down


SCENARIOS: Mapping[str, Scenario] = {
    "crashes": Scenario(ills=_CRASHES),
    "network": Scenario(ills=_NETWORK),
    "stops": Scenario(
        ills=("storm", "hints lost", "pause agent", "crash server"),
        acts=(2, 5),
        faults=(0, 2),
        run_ms_log=(2.0, 4.0),
    ),
    "calm": Scenario(
        faults=(0, 0),
        acts=(1, 3),
        run_ms_log=(3.0, 4.3),
        span_ms=7_000.0,
    ),
    "pauses": Scenario(ills=_PAUSES),
    "short": Scenario(
        tasks=(3, 5),
        sites=(1, 2),
        ills=("storm", "crash agent", "crash server", "pause agent", "hints lost"),
        faults=(0, 2),
        run_ms_log=(0.0, 1.6),
        span_ms=2_000.0,
    ),
    "servers": Scenario(
        servers=(2, 2),
        ills=("crash server", "pause server", "storm", "hints lost", "crash agent"),
    ),
    "lost": Scenario(
        tasks=(1, 2),
        sites=(2, 2),
        slots=(2, 2),
        acts=(0, 1),
        faults=(1, 2),
        ills=(
            *("cut both ways", "cut both ways", "cut to servers", "cut from servers"),
            *("pause agent", "crash agent", "pause agent and supervisor", "hang", "hang", "hang"),
            *("suspend machine", "crash machine"),
        ),
        span_ms=3_000.0,
        calm_ms=800.0,
        run_ms_log=(4.6, 4.85),
        fault_ms_log=(4.65, 4.8),
    ),
    "answers": Scenario(
        tasks=(2, 3),
        acts=(2, 4),
        ills=("storm", "storm", "cut from servers"),
        faults=(2, 3),
        span_ms=1_500.0,
        fault_ms_log=(2.5, 3.6),
    ),
    "poison": Scenario(
        tasks=(1, 2), sites=(1, 2), ills=_CRASHES, faults=(0, 1), poison=0.5
    ),
    "clocks": Scenario(ills=("clock jumps", "crash agent", "pause agent", "storm")),
}  # fmt: skip
