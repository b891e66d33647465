"""What a server acknowledged is on the disk, wherever the power is cut and whatever is torn."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipway.testing.faults.power_cut import record, violations

STATES = 2_000  # in `make test`
LONG_STATES = 10_000  # of each recording in `make test-long`
LONG_RECORDINGS = 20
SHOWN = 3

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory, kept when the test fails: a state is of one recording."""
    shm = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - memory, not a shared name
    made = Path(tempfile.mkdtemp(prefix="sw-cut-", dir=shm))
    yield made
    shutil.rmtree(made)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_power_cut_takes_nothing_back(tmp_path: Path, folder: Path) -> None:
    """Earns: I1, I2, I15 and I17 on disks that no test by hand would think of."""
    recording = record(folder / "recording", seed=1)
    found = []
    for violation in violations(recording, first=0, count=STATES, folder=folder):
        found.append(str(violation))
        if len(found) == SHOWN:
            break
    if found:
        kept = shutil.copytree(recording.folder, tmp_path / "recording")
        pytest.fail(f"recording {kept}:\n" + "\n".join(found))


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(2, LONG_RECORDINGS + 2))
def test_no_power_cut_of_many_takes_anything_back(seed: int, tmp_path: Path, folder: Path) -> None:
    recording = record(folder / "recording", seed=seed)
    share = LONG_STATES // (parts := os.cpu_count() or 1) + 1
    argv = [sys.executable, "-m", "shipway.testing.faults.power_cut", str(recording.folder)]
    started = [
        subprocess.Popen(
            [*argv, str(seed * LONG_STATES + part * share), str(share)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for part in range(parts)
    ]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        kept = shutil.copytree(recording.folder, tmp_path / "recording")
        pytest.fail(f"recording {kept}:\n" + "".join(said))
