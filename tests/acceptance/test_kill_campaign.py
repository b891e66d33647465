"""Random processes of a whole shipway killed by the thousand: every item keeps every promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shipway.testing.postgres import find_binaries

KILLS = int(os.environ.get("SHIPWAY_KILLS", "500"))  # of each kind, in `make test-long`
SEED = int(os.environ.get("SHIPWAY_SEED", "1"))
KINDS = ("embedded", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("kind", KINDS)
def test_every_item_keeps_every_promise_through_many_kills(kind: str, tmp_path: Path) -> None:
    """Earns: I1, I3 to I6, I8 to I10 and I15 where several processes die at unlucky moments."""
    if kind == "postgresql" and find_binaries() is None and os.environ.get("CI") != "true":
        pytest.skip("no PostgreSQL server is installed")
    argv = [sys.executable, "-m", "shipway.testing.campaign", kind, str(SEED), str(KILLS), "250"]
    done = subprocess.run(
        [*argv, str(tmp_path)], capture_output=True, text=True, check=False, timeout=7_000
    )
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    broken = [f"{r['kind']} seed {r['seed']}: {text}" for r in rounds for text in r["violations"]]
    assert not broken, "\n".join(broken)
    assert done.returncode == 0, done.stderr
    assert sum(r["kills"] for r in rounds) >= KILLS
