"""The engine's death while a container runs: found again, or lost, and never an orphan."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipway.domain.attempt import Cause
from shipway.runners.local_machine import processes
from tests.support.contained import Stage, staged
from tests.support.engines import an_engine

COUNTING = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; sleep 0.1; done; exit 5"
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"


@contextmanager
def a_stage(folder: Path, *, with_live_restore: bool) -> Iterator[Stage]:
    with (
        an_engine("docker", with_live_restore=with_live_restore) as lent,
        staged(folder, lent) as stage,
    ):
        yield stage


def test_with_live_restore_it_goes_on_and_no_line_is_lost(tmp_path: Path) -> None:
    with a_stage(tmp_path, with_live_restore=True) as stage:
        handle = stage.start("sh", "-c", COUNTING)
        stage.until(lambda: b"line 5\n" in stage.out(handle))
        stage.lent.kill_daemon()
        time.sleep(1)
        stage.lent.start()
        ending = stage.ended(handle)
        assert (ending.cause, ending.exit_code) == (Cause.EXIT, 5)
        wanted = b"".join(b"line %d\n" % number for number in range(1, 61))
        assert stage.out(handle) == wanted


def test_without_live_restore_it_is_lost(tmp_path: Path) -> None:
    with a_stage(tmp_path, with_live_restore=False) as stage:
        handle = stage.start("sh", "-c", STUBBORN)
        stage.until(lambda: b"up" in stage.out(handle))
        stage.lent.kill_daemon()
        time.sleep(0.5)
        stage.lent.start()
        ending = stage.ended(handle)
        assert ending.cause is Cause.SUPERVISOR
        assert "engine" in ending.reason
        assert stage.running() == []


def test_a_stop_while_the_engine_is_away_ends_it_all_the_same(tmp_path: Path) -> None:
    with a_stage(tmp_path, with_live_restore=True) as stage:
        handle = stage.start("sh", "-c", STUBBORN)
        stage.until(lambda: b"up" in stage.out(handle))
        stage.lent.kill_daemon()
        stage.runner.stop(handle, grace_s=0.5, cause="stop")
        assert stage.ended(handle).cause is Cause.STOP
        stage.lent.start()
        assert stage.running() == []


def test_an_engine_that_hangs_keeps_no_container_alive(tmp_path: Path) -> None:
    with a_stage(tmp_path, with_live_restore=True) as stage:
        handles = [stage.start("sh", "-c", STUBBORN, lease_s=lease) for lease in (60.0, 6.0)]
        stage.until(lambda: all(b"up" in stage.out(handle) for handle in handles))
        assert stage.lent.daemon is not None
        stage.lent.daemon.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            stage.until(lambda: "T" in _states(stage, handles[1]), limit_s=15)  # past its deadline
            stage.until(lambda: _states(stage, handles[1]) == "", limit_s=20)
            assert time.monotonic() - began < 6 + 13, "the server leases it again after that"
            os.kill(_slot_of(handles[0]), signal.SIGKILL)
            stage.until(lambda: _states(stage, handles[0]) == "", limit_s=5)
            assert [stage.ended(handle).cause for handle in handles] == [
                Cause.SUPERVISOR,
                Cause.LEASE,
            ]
        finally:
            stage.lent.daemon.send_signal(signal.SIGCONT)


def _slot_of(handle: str) -> int:
    """Return the process that runs a container's keeper."""
    for pid in processes():
        words = _text(f"/proc/{pid}/cmdline").split("\0")
        if any(word.endswith("container_keeper.py") for word in words) and any(
            word.endswith(handle) for word in words
        ):
            return int(_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    raise AssertionError(f"no keeper of {handle}")


def _states(stage: Stage, handle: str) -> str:
    """Return the kernel's letter for each process of a container."""
    cid = (stage.root / "local-container/attempts" / handle / "cid").read_text()
    pids = [pid for pid in processes() if cid in _text(f"/proc/{pid}/cgroup")]
    stats = [_text(f"/proc/{pid}/stat") for pid in pids]
    return "".join(stat.rpartition(")")[2].split()[0] for stat in stats if stat)


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
