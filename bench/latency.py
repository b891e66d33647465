"""P4 and P14: how soon an idle queue starts a program, and how soon a wait returns."""

from __future__ import annotations

import tempfile
import time
import uuid
from pathlib import Path

from bench.measure import Result, at_most, within
from bench.stack import SLOTS, Stack
from shipway import QueuedRun
from shipway.domain.attempt import decode_frames

CLOCK = ("/bin/date", "+%s%N")  # says when it ran, in ns
WARM_UP = 2  # rounds that are not counted
IDLE_S = 0.2  # between rounds


def p4(stack: Stack, *, times: int) -> Result:
    """Idle latency, from the add to the program's own reading of the clock, beside HyperQueue."""
    from hyperqueue import Job, LocalCluster  # noqa: PLC0415 - the peer, only here
    from hyperqueue.cluster import WorkerConfig  # noqa: PLC0415 - the peer, only here

    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as scratch, LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=SLOTS))
        client = cluster.client()
        for number in range(times + WARM_UP):
            begin = time.time_ns()
            added = stack.client.items.add(stack.draft(*CLOCK), idempotency_key=f"{time.time_ns()}")
            stack.client.items.wait(added["id"], until="ended", timeout_s=25)
            mine = _read_clock(stack, added["id"]) - begin
            time.sleep(IDLE_S)
            said = Path(scratch) / str(number)
            job = Job()
            job.program(list(CLOCK), stdout=str(said), stderr=None)
            begin = time.time_ns()
            client.wait_for_jobs([client.submit(job)])
            if number >= WARM_UP:
                ours.append(mine / 1e6)
                theirs.append((int(said.read_text()) - begin) / 1e6)
            time.sleep(IDLE_S)
    what = "idle latency, add to the program's first instruction, beside HyperQueue"
    return at_most("P4", what, 0.6, ours=ours, theirs=theirs)


def _read_clock(stack: Stack, item_id: str) -> int:
    log = stack.client.items.log(item_id)
    return int(b"".join(frame.data for frame in decode_frames(log.data)))


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
