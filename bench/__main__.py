"""Prints one table and writes one JSON file: `make bench`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.adds import p5, p6, p7
from bench.agents import p1
from bench.containers import containers
from bench.drain import p2, p3
from bench.environments import p13
from bench.imports import p11
from bench.latency import p4, p14
from bench.logs import p15
from bench.measure import Result, table
from bench.purge import purge
from bench.scale import p8_p9, p10
from bench.stack import Stack, stack
from bench.tracking import p12

Asked = argparse.Namespace
Goals = tuple[str, ...]

# Goals that are measured together, in the order of the table; the first ones share one stack.
STACKED: Sequence[tuple[Goals, Callable[[Stack, Asked], list[Result]]]] = (
    (("P4",), lambda stack, asked: [p4(stack, times=asked.times * 6)]),
    (("P14",), lambda stack, asked: [p14(stack, times=asked.times * 4)]),
    (("P11",), lambda stack, asked: p11(stack, times=asked.times * 3)),
    (("P15",), lambda stack, asked: p15(stack, times=asked.times)),
    (("P2",), lambda stack, asked: [p2(stack, count=asked.count, times=asked.times)]),
    (("P3",), lambda stack, asked: [p3(stack, count=asked.count, times=asked.times)]),
)
ALONE: Sequence[tuple[Goals, Callable[[Asked], list[Result]]]] = (
    (("P1",), lambda asked: p1(times=asked.times)),
    (("P5",), lambda asked: [p5(times=asked.times)]),
    (("P6",), lambda asked: [p6(times=asked.times)]),
    (("P7",), lambda asked: [p7(times=asked.times)]),
    (("P8", "P9"), lambda asked: p8_p9(items=asked.items, times=asked.times)),
    (("P10",), lambda asked: p10(times=asked.times)),
    (("P12",), lambda asked: p12(times=asked.times)),
    (("P13",), lambda asked: p13(times=asked.times)),
    (("containers",), lambda asked: containers(times=asked.times * 2)),
    (("purge",), lambda asked: purge(items=asked.items // 2, times=asked.times)),
)
GOALS = tuple(goal for goals, _ in (*STACKED, *ALONE) for goal in goals)


def main() -> int:
    """Measure the goals asked for; exit 1 if one is not met."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("goals", nargs="*", choices=[*GOALS, []], help="all, unless named")
    parser.add_argument("--count", type=int, default=10_000, help="programs in P2 and P3")
    parser.add_argument("--items", type=int, default=1_000_000, help="items in P8 and P9")
    parser.add_argument("--times", type=int, default=5, help="repetitions")
    parser.add_argument("--out", type=Path, default=Path("bench/results/latest.json"))
    asked = parser.parse_args()
    os.environ.setdefault("TQDM_DISABLE", "1")  # a peer's progress bars; the table is the output
    wanted = frozenset(asked.goals or GOALS)
    results: list[Result] = []
    on_stack = [measure for goals, measure in STACKED if wanted.intersection(goals)]
    if on_stack:
        with stack() as running:
            os.environ["SHIPWAY_HOME"] = str(running.home)  # where QueuedRun finds the server
            for measure in on_stack:
                results += measure(running, asked)
    for goals, measure_alone in ALONE:
        if wanted.intersection(goals):
            results += measure_alone(asked)
    results = [result for result in results if result.goal in wanted]
    print(table(results))
    _write(asked.out, results)
    return 0 if all(result.is_met for result in results) else 1


def _write(path: Path, results: Sequence[Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "at": int(time.time()),
        "machine": platform.machine(),
        "system": platform.system(),
        "release": platform.release(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "argv": sys.argv[1:],
    }
    path.write_text(
        json.dumps({"facts": facts, "results": [r.to_json() for r in results]}, indent=1)
    )


if __name__ == "__main__":
    sys.exit(main())
