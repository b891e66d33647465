"""Programs from hell through server, agent and supervisor: the item's end, its log, its remains."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from shipway.domain.attempt import LogStream
from shipway.runners.local_machine import processes
from tests.support.embedded import Embedded, embedded, until
from tests.support.launched import Launched, frozen, launch, pass_time, supervisors
from tests.support.supervised import PROGRAMS, command_of, is_alive

HELL = PROGRAMS / "hell.py"
MIB = 1 << 20
EVERY = bytes(range(256)) * 4
GONE_S = 15.0  # after a lease was lost, or a supervisor died
STOP_S = 5.0  # after a stop's grace
AWAY_S = 14.0  # longer than an agent may be silent before its supervisor renews in its place
LOST_S = 30  # the shortest `lost_after`
COUNTING = """\
import os, sys, time
attempt = os.environ["SHIPWAY_ATTEMPT"]
with open(os.environ["RECORD"], "a", buffering=1) as record:
    for n in range(int(os.environ["SECONDS"]) * 20):
        print(attempt, time.clock_gettime(time.CLOCK_BOOTTIME), file=record)
        print(n, flush=True)
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def shipway() -> Iterator[Embedded]:
    with embedded() as made:
        queues = ["default", "again", "short"]
        made.configure_agent(queues=queues, max_jobs=4)
        made.up()
        made.run("queue", "create", "again", "--resource", "local-process", "--on-lost", "retry:3")
        argv = ["--on-lost", "retry:3", "--lost-after", str(LOST_S)]
        made.run("queue", "create", "short", "--resource", "local-process", *argv)
        try:
            yield made
        finally:
            for pid in [*made.pids().values(), *supervisors(made)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("name", "number", "printed", "noted"),
    [
        ("binary", 500, EVERY * 500, EVERY[::-1] * 500),
        ("long_line", 8 * MIB, b"x" * 8 * MIB, b""),
        ("progress", 20_000, b"".join(b"\r%9d of %9d" % (n, 20_000) for n in range(20_000)), b""),
        ("lines", 64 * MIB, None, b""),
    ],
)
def test_the_server_has_every_byte(
    shipway: Embedded, name: str, number: int, printed: bytes | None, noted: bytes
) -> None:
    if printed is None:
        printed = b"".join(b"%015d\n" % n for n in range(number // 16))
    item = launch(shipway, HELL, name, "token", str(number))
    assert item.ended()["state"] == "finished"
    heard = {stream: hashlib.sha256() for stream in LogStream}
    for frame in item.frames():
        heard[frame.stream].update(frame.data)
    said = printed + (b"\n" if name == "progress" else b"")
    assert heard[LogStream.STDOUT].digest() == hashlib.sha256(said).digest()
    assert heard[LogStream.STDERR].digest() == hashlib.sha256(noted).digest()
    assert item.is_whole()


def test_a_stop_ends_a_storm_of_200(shipway: Embedded) -> None:
    token = f"storm-{os.getpid()}-{time.monotonic_ns()}"
    item = launch(shipway, HELL, "storm", token, "200")
    until(lambda: len(carrying(token)) > 200, within_s=60, what="200 processes")
    item.stop(grace_s=1)
    until(lambda: not carrying(token), within_s=5 + 1 + STOP_S, what="none is left")
    assert item.ended()["state"] == "stopped"
    assert item.alive(1) == []


def test_a_frozen_agent_ends_nothing(shipway: Embedded, tmp_path: Path) -> None:
    """Earns its time: the supervisor renews in its place, and keeps what is printed for it."""
    record = tmp_path / "record"
    item = launch(shipway, COUNTING, RECORD=str(record), SECONDS="4")
    item.running()
    with frozen(shipway.pids()["agent"]):
        pass_time(AWAY_S)
        assert item.alive(1) == []  # it went on to its end
        assert item.state() == "running"  # which nobody could tell yet
    ended = item.ended()
    assert (ended["state"], ended["attempt"]) == ("finished", 1)
    assert printed(item) == b"".join(b"%d\n" % n for n in range(80))
    assert item.is_whole()


def test_a_dead_supervisor_is_a_lost_attempt(shipway: Embedded, tmp_path: Path) -> None:
    """On a queue that fails what is lost the item fails as such; on one that retries it finishes.

    What lay in the pipes died with their readers, so no log of those attempts calls itself whole.
    """
    once = launch(shipway, COUNTING, RECORD=str(tmp_path / "once"), SECONDS="5")
    again = launch(shipway, COUNTING, queue="again", RECORD=str(tmp_path / "again"), SECONDS="5")
    for item in (once, again):
        item.running()
        until(lambda item=item: printed(item), within_s=20, what="something is printed")
    kill(supervisors(shipway))
    until(lambda: not once.alive(1) + again.alive(1), within_s=GONE_S, what="none is left")
    failed = once.ended()
    assert (failed["state"], failed["error"]["failure_class"]) == ("failed", "lost")
    ended = again.ended()
    assert (ended["state"], ended["attempt"]) == ("finished", 2)
    assert not overlap(tmp_path / "again")
    for item in (once, again):
        kept = printed(item)
        assert kept == b"".join(b"%d\n" % n for n in range(100))[: len(kept)]
        assert not item.is_whole()
    assert again.is_whole(2)
    assert printed(again, 2) == b"".join(b"%d\n" % n for n in range(100))


def test_a_dead_guardian_and_a_dead_agent_end_nothing(shipway: Embedded, tmp_path: Path) -> None:
    item = launch(shipway, COUNTING, RECORD=str(tmp_path / "record"), SECONDS="4")
    item.running()
    kill(supervisors(shipway)[:1])
    assert shipway.kill("agent")
    ended = item.ended()
    assert (ended["state"], ended["attempt"]) == ("finished", 1)
    assert printed(item) == b"".join(b"%d\n" % n for n in range(80))
    assert item.is_whole()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_what_was_frozen_past_its_lease_ends_before_its_successor_starts(
    shipway: Embedded, tmp_path: Path
) -> None:
    """Agent and supervisor frozen, the program not: on waking it ends, and only then it retries."""
    record = tmp_path / "record"
    item = launch(shipway, COUNTING, queue="short", RECORD=str(record), SECONDS="90")
    item.running()
    with frozen(shipway.pids()["agent"], *supervisors(shipway)):
        pass_time(LOST_S + 10 + 5)
    until(lambda: not item.alive(1), within_s=GONE_S, what="the first attempt is gone")
    until(lambda: item.alive(2), within_s=60, what="the second attempt runs")
    item.stop(grace_s=1)
    ended = item.ended()
    assert (ended["state"], ended["attempt"]) == ("stopped", 2)
    assert not overlap(record)
    assert not item.is_whole(1)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_closed_lid_ends_nothing(shipway: Embedded, tmp_path: Path) -> None:
    """All of it frozen past the lease, as by a suspend: the lease clock runs on, nobody looks."""
    record = tmp_path / "record"
    item = launch(shipway, COUNTING, queue="short", RECORD=str(record), SECONDS="10")
    everybody = [*item.running(), *shipway.pids().values(), *supervisors(shipway)]
    with frozen(*dict.fromkeys(everybody)):
        pass_time(LOST_S + 10 + 5)
    ended = item.ended(within_s=60)
    assert (ended["state"], ended["attempt"]) == ("finished", 1)
    assert printed(item) == b"".join(b"%d\n" % n for n in range(200))
    assert item.is_whole()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_of_1_gib_the_server_has_the_head_and_the_tail(shipway: Embedded) -> None:
    """Over the default cap: what is kept is told byte by byte, and what is gone is named."""
    item = launch(shipway, HELL, "lines", "token", str(1100 * MIB))
    assert item.ended(within_s=600)["state"] == "finished"
    gaps, kept = 0, 0
    for frame in item.frames():
        gaps += frame.stream is LogStream.GAP
        kept += len(frame.data)
        last = frame.data
    assert gaps == 1
    assert 960 * MIB < kept <= 1024 * MIB
    assert last.endswith(b"%015d\n" % (1100 * MIB // 16 - 1))
    assert item.is_whole()


def printed(item: Launched, attempt: int = 1) -> bytes:
    return b"".join(f.data for f in item.frames(attempt) if f.stream is LogStream.STDOUT)


def carrying(token: str) -> list[int]:
    return [pid for pid in processes() if token in command_of(pid) and is_alive(pid)]


def kill(pids: list[int]) -> None:
    """Freeze all first, so that none sees another die, then kill all."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def overlap(record: Path) -> bool:
    """Tell whether a later attempt had begun when an earlier one was still alive."""
    times: dict[int, list[float]] = {}
    for line in record.read_text().splitlines():
        attempt, _, at = line.partition(" ")
        with suppress(ValueError):  # cut by a kill
            times.setdefault(int(attempt), []).append(float(at))
    spans = [(min(times[attempt]), max(times[attempt])) for attempt in sorted(times)]
    return any(end > begin for (_, end), (begin, _) in pairwise(spans))
