"""Prints one table and writes one JSON file: `make bench`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

from bench.drain import p2, p3
from bench.imports import p11
from bench.latency import p4, p14
from bench.measure import Result, table
from bench.stack import stack

GOALS = ("P2", "P3", "P4", "P11", "P14")


def main() -> int:
    """Measure the goals asked for; exit 1 if one is not met."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("goals", nargs="*", choices=[*GOALS, []], help="all, unless named")
    parser.add_argument("--count", type=int, default=10_000, help="programs in P2 and P3")
    parser.add_argument("--times", type=int, default=5, help="repetitions")
    parser.add_argument("--out", type=Path, default=Path("bench/results/latest.json"))
    asked = parser.parse_args()
    goals = asked.goals or GOALS
    results: list[Result] = []
    with stack() as running:
        os.environ["SHIPWAY_HOME"] = str(running.home)  # where QueuedRun finds the server
        if "P4" in goals:
            results.append(p4(running, times=asked.times * 6))
        if "P14" in goals:
            results.append(p14(running, times=asked.times * 4))
        if "P11" in goals:
            results += p11(running, times=asked.times * 3)
        if "P2" in goals:
            results.append(p2(running, count=asked.count, times=asked.times))
        if "P3" in goals:
            results.append(p3(running, count=asked.count, times=asked.times))
    print(table(results))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "at": int(time.time()),
        "machine": platform.machine(),
        "system": platform.system(),
        "release": platform.release(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "argv": sys.argv[1:],
    }
    asked.out.write_text(
        json.dumps({"facts": facts, "results": [r.to_json() for r in results]}, indent=1)
    )
    return 0 if all(result.is_met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
