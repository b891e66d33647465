"""Measures `true` through the local-process runner beside a bare posix_spawn loop, interleaved."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

from bench.drain import spawn_loop
from bench.stack import SLOTS
from shipway.plugins.runner import RunnerContext, RunRequest, RunStatus
from shipway.runners.local_machine import boot_ms
from shipway.runners.local_process import LocalProcessRunner

LEASE_MS = 600_000
WAIT_LIMIT_S = 120.0
TRUE = shutil.which("true") or "/bin/true"
ENVIRONMENT = {f"SHIPWAY_BENCH_{number}": "x" * 24 for number in range(30)} | {"PATH": os.defpath}


class Supervised:
    """The same through the runner: durable results, forgotten once seen."""

    def __init__(self, folder: Path) -> None:
        self.free = threading.Semaphore(SLOTS)
        self.attempts = folder / "attempts"
        self.runner = LocalProcessRunner()
        self.count = 0
        self.began_at = 0
        key_file = folder / "key"
        key_file.write_text("none")
        context = RunnerContext(
            home=folder / "supervisor",
            attempts=self.attempts,
            agent="bench",
            slots=SLOTS,
            base_url="http://127.0.0.1:1",
            key_file=key_file,
            notify=self.see,
        )
        self.runner.open(context)

    def see(self, status: RunStatus) -> None:
        """Take an ending: forget it, let the next one start."""
        if status.ending is not None:
            assert status.ending.exit_code == 0, status
            self.runner.forget(status.handle)
            self.free.release()

    def run(self, jobs: int) -> float:
        """Return seconds for so many programs."""
        requests = [self.request() for _ in range(jobs)]
        began = time.perf_counter()
        for request in requests:
            assert self.free.acquire(timeout=WAIT_LIMIT_S)
            self.runner.start(request)
        for _ in range(SLOTS):
            assert self.free.acquire(timeout=WAIT_LIMIT_S)
        took = time.perf_counter() - began
        self.free.release(SLOTS)
        return took

    def request(self) -> RunRequest:
        """Make one request, its folder made before the clock runs."""
        self.count += 1
        item = f"bench{self.count:021d}"
        folder = self.attempts / f"{item}.1"
        folder.mkdir()
        return RunRequest(
            item=item,
            attempt=1,
            token="t" * 24,
            argv=(TRUE,),
            env=ENVIRONMENT,
            cwd=folder,
            folder=folder,
            deadline=boot_ms() + LEASE_MS,
            grace_s=10.0,
            run_limit_s=None,
            log_cap=1 << 30,
            args={},
        )


def main() -> None:
    """Print one line a repetition, then the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        ours = Supervised(Path(name))
        try:
            spawn_loop(SLOTS * 4)
            ours.run(SLOTS * 4)
            ratios = []
            for _ in range(options.repeat):
                limit = options.jobs / spawn_loop(options.jobs)
                found = options.jobs / ours.run(options.jobs)
                ratios.append(found / limit)
                print(f"bare {limit:7.0f}/s  supervised {found:7.0f}/s  ratio {ratios[-1]:.3f}")
        finally:
            ours.runner.close()
        low, high = min(ratios), max(ratios)
        print(f"ratio {statistics.median(ratios):.3f} [{low:.3f}..{high:.3f}] of bare posix_spawn")


if __name__ == "__main__":
    main()
