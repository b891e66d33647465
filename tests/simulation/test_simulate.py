"""Histories of servers, agents, supervisors and clients through faults, each judged as a whole."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from shipway.testing.simulate import (
    SCENARIOS,
    Plan,
    Result,
    Verdict,
    Wrong,
    plan_of,
    shrink,
    simulate,
    trace,
)

HISTORIES = 2_000  # in `make test`
MANY = int(os.environ.get("SHIPWAY_HISTORIES", "50000"))  # in `make test-long`
SHRINKING = 100  # histories made to tell a failure in few words


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.disable()  # a history is small, and looking for garbage is a tenth of its cost
    try:
        yield
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


def histories(scenario: str, first: int, count: int) -> None:
    """Make histories, and tell of the first in which a promise is broken."""
    for seed in range(first, first + count):
        if seed % 100 == 0:
            gc.collect()
        result = simulate(seed, scenario=scenario)
        assert result.is_ok, "\n" + trace(shrink(result, tries=SHRINKING))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_histories_keep_every_promise(scenario: str) -> None:
    histories(scenario, 0, HISTORIES // len(SCENARIOS))


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_many_histories_keep_every_promise(scenario: str) -> None:
    """Reaches what needs several faults at unlucky moments: half an hour."""
    histories(scenario, HISTORIES, MANY // len(SCENARIOS))


def test_a_seed_makes_the_same_history_in_every_process() -> None:
    program = (
        "import hashlib; from shipway.testing.simulate import simulate\n"
        "for seed in range(10):\n"
        "    said = ''.join(map(str, simulate(seed).happenings))\n"
        "    print(hashlib.sha256(said.encode()).hexdigest())\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_what_fails_is_cut_down_to_what_still_fails() -> None:
    plan = plan_of(3, "short")
    plan = replace(plan, tasks=plan.tasks[:3], faults=plan_of(0, "crashes").faults)

    def broken(plan: Plan) -> Result:
        is_broken = any(task.number == 1 for task in plan.tasks)
        verdict = Verdict(wrong=Wrong.LOST, at=0.0, text="made up")
        return Result(plan=plan, happenings=(), verdicts=[verdict] if is_broken else [])

    small = shrink(broken(plan), simulate=broken).plan
    assert [task.number for task in small.tasks] == [1]
    assert not small.faults
    assert not small.acts
    assert small.sites == (1,)


def test_a_trace_tells_the_plan_and_at_most_forty_events() -> None:
    result = simulate(0, scenario="crashes")
    verdict = Verdict(wrong=Wrong.STUCK, at=result.happenings[-1].at, text="made up")
    told = trace(replace(result, verdicts=[verdict])).splitlines()
    assert told[0] == "seed 0, scenario crashes"
    assert told[-1].startswith("WRONG: stuck: made up")
    assert sum(" ms  " in line for line in told) <= 40
