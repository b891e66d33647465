"""A server killed at any of its system calls leaves a home on which the next one goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipway.testing.faults.scenarios import SCENARIOS

SAMPLE = 6  # calls of each scenario in `make test`

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")


@pytest.fixture
def folder() -> Iterator[Path]:
    shm = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - memory, not a shared name
    with tempfile.TemporaryDirectory(prefix="sw-kill-", dir=shm) as made:
        yield Path(made)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_server_killed_at_some_calls_leaves_what_it_acknowledged(folder: Path) -> None:
    """Earns: I1, I3, I15 and I17 through every scenario, migration and first start."""
    tallies = killed(folder, SAMPLE)
    assert [tally["scenario"] for tally in tallies] == [one.name for one in SCENARIOS]
    assert sum(tally["kills"] for tally in tallies) > SAMPLE * len(SCENARIOS) * 0.8


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("scenario", [one.name for one in SCENARIOS])
def test_a_server_killed_at_every_call_leaves_what_it_acknowledged(
    scenario: str, folder: Path
) -> None:
    (tally,) = killed(folder, 0, scenario)
    assert tally["kills"] > tally["moments"] * 0.8


def killed(folder: Path, sample: int, *scenarios: str) -> list[dict[str, Any]]:
    """Kill servers, and return what came of it; fail with the first faults, if there are any."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "shipway.testing.faults.kills"),
            *(str(sample), "1", str(folder), *scenarios),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    tallies = [json.loads(line) for line in done.stdout.splitlines()]
    faults = [f"{tally['scenario']}: {fault}" for tally in tallies for fault in tally["faults"][:3]]
    assert not faults, "\n".join(faults)
    assert done.returncode == 0, done.stderr
    return tallies
