"""P2 and P3: ten thousand programs, beside a bare spawn loop and beside HyperQueue."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from bench.measure import Result, at_least, interleave
from bench.stack import DRAIN_S, SLOTS, Stack

BATCH = 1_000
STAMP = ("/bin/sh", "-c", ': > "$0/$$"')  # leaves a file whose time is when it ran


def p2(stack: Stack, *, count: int, times: int) -> Result:
    """Drain `true` through everything, beside `posix_spawn` with a window of eight."""
    ours, theirs = interleave(
        lambda: count / drain(stack, stack.draft("true"), count),
        lambda: count / spawn_loop(count),
        times=times,
    )
    what = f"{count:,} programs through queue, agent and supervisor, beside bare posix_spawn"
    return at_least("P2", what, 0.50, ours=ours, theirs=theirs)


def p3(stack: Stack, *, count: int, times: int) -> Result:
    """Drain stamping programs, timed by their own stamps, beside HyperQueue."""
    ours, theirs = interleave(
        lambda: count / _stamped(stack, count), lambda: count / hyperqueue(count), times=times
    )
    what = f"{count:,} programs beside HyperQueue's LocalCluster, by their own time stamps"
    return at_least("P3", what, 1.2, ours=ours, theirs=theirs)


def drain(stack: Stack, draft: dict[str, object], count: int) -> float:
    """Return the seconds from the first add to the last item's end."""
    begin = time.monotonic()
    last = ""
    for start in range(0, count, BATCH):
        batch = [draft] * min(BATCH, count - start)
        answers = stack.client.items.add_many(batch)
        assert all("id" in answer for answer in answers), answers
        last = answers[-1]["id"]
    end = begin + DRAIN_S
    while stack.client.items.wait(last, until="ended", timeout_s=25)["state"] != "finished":
        assert time.monotonic() < end, "the queue did not drain"
    while True:
        counts = stack.client.queues.get("default")["counts"]
        assert not counts.get("failed"), "an item failed"
        if not any(counts.get(state) for state in ("pending", "leased", "running")):
            return time.monotonic() - begin
        assert time.monotonic() < end, "the queue did not drain"
        time.sleep(0.01)


def spawn_loop(count: int) -> float:
    """Return the seconds that bare `posix_spawn` takes with a window of eight."""
    begin = time.monotonic()
    live = 0
    for _ in range(count):
        if live == SLOTS:
            os.wait()
            live -= 1
        os.posix_spawn("/bin/true", ["true"], {})
        live += 1
    while live:
        os.wait()
        live -= 1
    return time.monotonic() - begin


def hyperqueue(count: int) -> float:
    """Return the seconds from HyperQueue's submit to its last program's stamp."""
    from hyperqueue import Job, LocalCluster  # noqa: PLC0415 - the peer, only here
    from hyperqueue.cluster import WorkerConfig  # noqa: PLC0415 - the peer, only here

    with tempfile.TemporaryDirectory() as folder, LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=SLOTS))
        client = cluster.client()
        job = Job()
        for _ in range(count):
            job.program([*STAMP, folder], stdout=None, stderr=None)
        begin = time.time()
        client.wait_for_jobs([client.submit(job)])
        return last_stamp(Path(folder)) - begin


def last_stamp(folder: Path) -> float:
    """Return when the last program of a folder ran, in seconds."""
    return max(entry.stat().st_mtime for entry in os.scandir(folder))


def _stamped(stack: Stack, count: int) -> float:
    with tempfile.TemporaryDirectory(dir=stack.scratch) as folder:
        begin = time.time()
        drain(stack, stack.draft(*STAMP, folder), count)
        return last_stamp(Path(folder)) - begin
