"""Makes histories from seeds: `python -m shipway.testing.simulate --seeds 0:2000`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence

from shipway.testing.simulate.scenario import SCENARIOS
from shipway.testing.simulate.shrink import shrink
from shipway.testing.simulate.simulation import simulate
from shipway.testing.simulate.trace import trace

LINES = 100_000  # of a trace that was asked for


def main(arguments: Sequence[str] | None = None) -> int:
    """Make histories; 1 if a promise was broken in one of them."""
    asked = _parser().parse_args(arguments)
    logging.disable(logging.CRITICAL)  # what goes wrong here is meant to
    if asked.seed is not None:
        return _one(asked.seed, asked.scenario, is_traced=asked.trace)
    first, _, last = asked.seeds.partition(":")
    began = time.monotonic()
    bad = count = 0
    for seed in range(int(first), int(last)):
        count += 1
        result = simulate(seed, scenario=asked.scenario)
        if result.is_ok:
            continue
        bad += 1
        _print(trace(shrink(result)))
        if bad >= asked.failures:
            break
    _print(f"{count} histories, {bad} with a broken promise, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


def _one(seed: int, scenario: str | None, *, is_traced: bool) -> int:
    result = simulate(seed, scenario=scenario)
    if is_traced:
        _print(trace(result, limit=LINES))
    elif not result.is_ok:
        _print(trace(shrink(result)))
    _print("ok" if result.is_ok else f"{len(result.verdicts)} broken promises")
    return 0 if result.is_ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m shipway.testing.simulate", description=__doc__)
    parser.add_argument("--seeds", default="0:2000", help="from:to, the last not included")
    parser.add_argument("--seed", type=int, help="one seed alone")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="else the seed chooses one")
    parser.add_argument("--trace", action="store_true", help="with --seed: tell all that happened")
    parser.add_argument("--failures", type=int, default=1, help="end after so many")
    return parser


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
