"""An agent to be killed: opens the runner, starts one program, beats until its end."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from shipway.plugins.runner import RunnerContext, RunRequest
from shipway.runners.local_machine import boot_ms
from shipway.runners.local_process import LocalProcessRunner

folder, mark, lease_ms, grace_s, base_url, *argv = sys.argv[1:]
root = Path(folder)
item, _, attempt = mark.rpartition(".")
runner = LocalProcessRunner()
runner.open(
    RunnerContext(
        home=root / "supervisor",
        attempts=root / "attempts",
        agent="agent-lonely",
        slots=4,
        base_url=base_url,
        key_file=root / "key",
        notify=lambda status: print(status.phase, flush=True),
    )
)
place = root / "attempts" / mark
place.mkdir()
runner.start(
    RunRequest(
        item=item,
        attempt=int(attempt),
        token="token-of-the-lonely",
        argv=tuple(argv),
        env={"PATH": "/usr/bin:/bin"},
        cwd=place,
        folder=place,
        deadline=boot_ms() + int(lease_ms),
        grace_s=float(grace_s),
        run_limit_s=None,
        log_cap=1 << 30,
        args={},
    )
)
threading.Event().wait()
