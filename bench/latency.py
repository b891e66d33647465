"""P4 and P14: how soon an idle queue starts a program, and how soon a wait returns."""

from __future__ import annotations

import tempfile
import time
import uuid
from pathlib import Path

from bench.drain import STAMP, last_stamp
from bench.measure import Result, at_most, within
from bench.stack import SLOTS, Stack
from shipway import QueuedRun


def p4(stack: Stack, *, times: int) -> Result:
    """Idle latency, from the add to the program's own stamp, beside HyperQueue."""
    from hyperqueue import Job, LocalCluster  # noqa: PLC0415 - the peer, only here
    from hyperqueue.cluster import WorkerConfig  # noqa: PLC0415 - the peer, only here

    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as scratch, LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=SLOTS))
        client = cluster.client()
        for number in range(times + 2):
            folder = Path(scratch) / str(number)
            (folder / "hq").mkdir(parents=True)
            (folder / "ours").mkdir()
            begin = time.time()
            added = stack.client.items.add(
                stack.draft(*STAMP, str(folder / "ours")), idempotency_key=uuid.uuid4().hex
            )
            stack.client.items.wait(added["id"], until="ended", timeout_s=25)
            mine = last_stamp(folder / "ours") - begin
            job = Job()
            job.program([*STAMP, str(folder / "hq")], stdout=None, stderr=None)
            begin = time.time()
            client.wait_for_jobs([client.submit(job)])
            if number >= 2:  # the first rounds warm both up
                ours.append(mine * 1000)
                theirs.append((last_stamp(folder / "hq") - begin) * 1000)
    what = "idle latency, add to the program's first instruction, beside HyperQueue"
    return at_most("P4", what, 0.6, ours=ours, theirs=theirs)


def p14(stack: Stack, *, times: int) -> Result:
    """From the server's own time of the end to the return of `wait_until_finished`."""
    waits = []
    for _ in range(times):
        added = stack.client.items.add(
            stack.draft("sleep", "0.1"), idempotency_key=uuid.uuid4().hex
        )
        item = QueuedRun.open(added["id"])
        item.wait_until_finished(timeout=60)
        returned = time.time() * 1000
        ended = stack.client.items.get(added["id"])["ended_at"]
        waits.append(returned - ended)
    return within("P14", "wait_until_finished after the server knows", 20, values=waits)
