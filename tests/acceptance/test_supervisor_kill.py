"""Kill -9 and SIGSTOP of agent, guardian, slots, alone and together: what holds on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shipway.domain.attempt import Cause, Phase
from shipway.domain.spool import META, Note, NoteKind
from shipway.plugins.errors import TemporaryError
from shipway.plugins.runner import RunStatus
from shipway.runners import local_supervised
from shipway.runners.local_guardian import ensure_guardian
from shipway.runners.local_home import GuardianFacts, Settings
from shipway.runners.local_machine import boot_ms
from tests.support.supervised import LONELY, PROGRAMS, PYTHON, Stage

SHELL = ("/bin/sh", "-c")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    try:
        yield found
    finally:
        found.close()


def lonely_agent(stage: Stage, *argv: str, lease_s: float = 60) -> subprocess.Popen[bytes]:
    """Start an agent process with one program; return once that runs."""
    (stage.root / "attempts").mkdir(exist_ok=True)
    fields = [str(stage.root), LONELY, str(int(lease_s * 1000)), "0.5", stage.base_url]
    agent = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "lonely_agent.py"), *fields, *argv],
        stdout=subprocess.PIPE,
    )
    assert agent.stdout is not None
    line = agent.stdout.readline()
    while line not in (b"running\n", b"ended\n", b""):
        line = agent.stdout.readline()
    return agent


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_killed_agent_ends_nothing_and_its_result_is_found(stage: Stage) -> None:
    agent = lonely_agent(stage, *SHELL, "echo begin; sleep 0.5; echo end; exit 4")
    kill(agent)
    time.sleep(1)
    (status,) = stage.open()
    assert (status.handle, status.token) == (LONELY, "token-of-the-lonely")
    ending = status.ending or stage.ended(LONELY)
    assert (ending.cause, ending.exit_code) == (Cause.EXIT, 4)
    assert stage.output(LONELY) == b"begin\nend\n"


def test_live_program_is_adopted_again(stage: Stage) -> None:
    agent = lonely_agent(stage, *SHELL, "echo begin; exec sleep 100")
    kill(agent)
    (status,) = stage.open()
    assert (status.phase, status.token) == (Phase.RUNNING, "token-of-the-lonely")
    stage.until(lambda: stage.output(LONELY) == b"begin\n", limit_s=10)
    stage.runner.stop(LONELY, grace_s=5, cause="stop")
    assert stage.ended(LONELY).cause is Cause.STOP


def test_deadline_goes_on_without_an_agent(stage: Stage) -> None:
    """Nobody renews, nobody answers: frozen at the deadline, dead 9 s later, 13 s being allowed."""
    agent = lonely_agent(stage, *PYTHON, str(PROGRAMS / "zoo.py"), "tree", stage.token, lease_s=0.5)
    kill(agent)
    stage.until(lambda: not stage.survivors(), limit_s=13)
    (status,) = stage.open()
    assert (status.ending or stage.ended(LONELY)).cause is Cause.LEASE


def test_adopted_attempt_is_not_started_again(stage: Stage) -> None:
    agent = lonely_agent(stage, *SHELL, "echo begin; exec sleep 100")
    kill(agent)
    stage.open()
    stage.until(lambda: stage.output(LONELY) == b"begin\n", limit_s=10)
    folder = stage.root / "attempts" / LONELY
    stage.start(*SHELL, "echo twice", item=LONELY.removesuffix(".1"), folder=folder, cwd=folder)
    stage.runner.stop(LONELY, grace_s=5, cause="stop")
    stage.ended(LONELY)
    assert stage.output(LONELY) == b"begin\n"


def test_order_never_taken_may_be_given_again(stage: Stage) -> None:
    """The agent dies before its order is read; a new one proves it, then starts the attempt."""
    stage.open()
    stage.until(lambda: len(stage.runner._seats._idle) == stage.slots)
    stage.until(lambda: len(stage.supervisors()) == 1 + stage.slots + 1)  # and the renewer
    for pid in stage.supervisors():
        if pid != stage.guardian():
            os.kill(pid, signal.SIGSTOP)
    try:
        request = stage.request(*SHELL, "echo once")
        handle = stage.runner.start(request)
        abandon(stage)
        assert stage.open() == []
    finally:
        for pid in stage.supervisors():
            os.kill(pid, signal.SIGCONT)
    assert stage.runner.start(request) == handle
    stage.ended(handle)
    assert stage.output(handle) == b"once\n"


def test_an_order_that_its_agent_knew_of_is_withdrawn_before_a_slot_reads_it(stage: Stage) -> None:
    """Slots are frozen with the order unread, the agent dies twice; the slots wake too late."""
    stage.open()
    stage.until(lambda: len(stage.runner._seats._idle) == stage.slots)
    stage.until(lambda: len(stage.supervisors()) == 1 + stage.slots + 1)  # and the renewer
    slots = [pid for pid in stage.supervisors() if pid != stage.guardian()]
    for pid in slots:
        os.kill(pid, signal.SIGSTOP)
    try:
        handle = stage.start(*SHELL, "echo twice")
        for _ in range(2):
            abandon(stage)
            (status,) = stage.open(handle)
            assert status.ending is not None
            assert status.ending.cause is Cause.WITHDRAWN
        stage.runner.forget(handle)
    finally:
        for pid in slots:
            os.kill(pid, signal.SIGCONT)
    stage.until(lambda: len(stage.runner._seats._idle) == stage.slots)  # all orders were read
    left = [path.name for path in (stage.root / "attempts" / handle).iterdir()]
    assert left == [META], "it began"


def abandon(stage: Stage) -> None:
    """Leave a runner as a killed agent would."""
    stage.runner._is_open = False
    stage.runner._thread.join()
    stage.runner._socket.close()


def test_killed_guardian_ends_nothing_and_a_new_one_comes(stage: Stage) -> None:
    stage.open()
    handle = stage.start(*SHELL, "echo begin; sleep 2; echo end")
    stage.until(lambda: stage.output(handle) == b"begin\n")
    old = stage.guardian()
    os.kill(old, signal.SIGKILL)
    stage.until(lambda: stage.guardian() != old)
    other = stage.start(*SHELL, "echo other")
    assert stage.ended(other).exit_code == 0
    assert stage.ended(handle).exit_code == 0
    assert stage.output(handle) == b"begin\nend\n"


@pytest.mark.parametrize("creature", ["double_fork", "empty_env", "fork_tree", "respawner"])
def test_killed_slot_takes_its_tree_along(stage: Stage, creature: str) -> None:
    stage.open()
    handle = stage.creature(creature)
    os.kill(stage.slot_of(handle), signal.SIGKILL)
    ending = stage.ended(handle)
    assert ending.cause is Cause.SUPERVISOR
    assert stage.survivors() == []
    assert set(stage.output(handle).splitlines()) == {b"here"}  # one creature says it twice
    assert stage.ended(stage.start("/bin/true")).exit_code == 0  # the seat was filled again


def test_many_slots_killed_at_once_are_all_told(stage: Stage) -> None:
    stage.open()
    handles = [stage.creature("double_fork") for _ in range(4)]
    for handle in handles:
        os.kill(stage.slot_of(handle), signal.SIGKILL)
    assert {stage.ended(handle).cause for handle in handles} == {Cause.SUPERVISOR}
    assert stage.survivors() == []


def test_guardian_and_slots_killed_together_are_swept(stage: Stage) -> None:
    stage.open()
    handles = [stage.creature(name) for name in ("double_fork", "tree", "stopped")]
    kill_supervisors(stage)
    assert {stage.ended(handle).cause for handle in handles} == {Cause.SUPERVISOR}
    assert stage.survivors() == []
    assert stage.ended(stage.start("/bin/true")).exit_code == 0


def test_an_end_is_told_though_no_new_supervisor_came_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([TemporaryError("no supervisor came up")])

    def ensure(home: Path, settings: Settings) -> GuardianFacts:
        if (failure := next(failures, None)) is not None:
            raise failure
        return ensure_guardian(home, settings)

    stage.open()
    handle = stage.creature("tree")
    monkeypatch.setattr(local_supervised, "ensure_guardian", ensure)
    old = stage.guardian()
    kill_supervisors(stage)
    assert stage.ended(handle).cause is Cause.SUPERVISOR
    assert next(failures, None) is None, "no look failed"
    stage.until(lambda: stage.guardian() != old)
    assert stage.ended(stage.start("/bin/true")).exit_code == 0


def test_a_notice_that_is_not_taken_is_told_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[RunStatus] = []

    def see(status: RunStatus) -> None:
        if len(refused) < 2:
            refused.append(status)
            raise OSError("not now")
        Stage.see(stage, status)

    monkeypatch.setattr(stage, "see", see)
    stage.open()
    assert stage.ended(stage.start("/bin/true")).exit_code == 0
    assert len(refused) == 2


def test_everything_killed_is_swept_by_the_next_agent(stage: Stage) -> None:
    agent = lonely_agent(stage, *PYTHON, str(PROGRAMS / "zoo.py"), "tree", stage.token)
    spool = stage.root / "attempts" / LONELY
    stage.until(lambda: any(b"here\n" in file.read_bytes() for file in spool.glob("log.*")))
    kill(agent)
    kill_supervisors(stage)
    assert stage.survivors() != []
    (status,) = stage.open()
    assert status.ending is not None
    assert status.ending.cause is Cause.SUPERVISOR
    assert stage.survivors() == []
    assert stage.output(LONELY) == b"here\n"


def kill_supervisors(stage: Stage) -> None:
    """Stop all first, so that none sees another die, then kill all."""
    pids = stage.supervisors()
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    stage.until(lambda: not set(pids) & set(stage.supervisors()))


def test_stopped_slot_does_not_outlast_its_lease(stage: Stage) -> None:
    """The watchdog: 1 s of slack, then 2.5 s without a heartbeat."""
    stage.open()
    handle = stage.creature("ignore_term", lease_s=1.5)
    os.kill(stage.slot_of(handle), signal.SIGSTOP)
    ending = stage.ended(handle, limit_s=13)
    assert ending.cause is Cause.SUPERVISOR
    assert stage.survivors() == []


def test_stopped_slot_does_not_outlast_a_stop(stage: Stage) -> None:
    stage.open()
    handle = stage.creature("ignore_term")
    os.kill(stage.slot_of(handle), signal.SIGSTOP)
    began = time.monotonic()
    stage.runner.stop(handle, grace_s=0.2, cause="stop")
    assert stage.ended(handle).cause is Cause.SUPERVISOR
    assert time.monotonic() - began < 0.2 + 5
    assert stage.survivors() == []


def test_stopped_supervisor_does_not_outlast_a_stop(stage: Stage) -> None:
    """Guardian and slots frozen alike: the agent's own watchdog, 1 s of slack and five ticks."""
    stage.open()
    handle = stage.creature("tree")
    for pid in stage.supervisors():
        os.kill(pid, signal.SIGSTOP)
    stage.runner.stop(handle, grace_s=0.2, cause="stop")
    assert stage.ended(handle, limit_s=13).cause is Cause.SUPERVISOR
    assert stage.survivors() == []
    for pid in stage.supervisors():
        os.kill(pid, signal.SIGCONT)


def test_lost_notes_are_found_on_disk(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every note is lost but those of idle slots; the runner's own look finds the endings."""
    stage.open()
    take = stage.runner._follower.take

    def deaf(note: Note) -> object:
        return take(note) if note.kind is NoteKind.IDLE else None

    monkeypatch.setattr(stage.runner._follower, "take", deaf)
    for _ in range(3):
        assert stage.ended(stage.start(*SHELL, "exit 3")).exit_code == 3


def test_two_supervisors_never_share_a_home(stage: Stage) -> None:
    stage.open()
    before = stage.guardian()
    second = subprocess.run(
        [
            *(sys.executable, "-m", "shipway.supervise", "--home", stage.root / "supervisor"),
            *("--attempts", stage.root / "attempts", "--agent", "a"),
            *("--base-url", "http://127.0.0.1:1", "--key-file", stage.root / "key"),
        ],
        stdout=subprocess.PIPE,
        check=True,
        timeout=30,
    )
    assert second.stdout == b"busy\n"
    assert stage.guardian() == before


@pytest.mark.long
def test_supervisor_leaves_when_nobody_needs_it(stage: Stage) -> None:
    """A minute without agent and program: earns that no process stays behind for ever."""
    stage.open()
    abandon(stage)
    assert stage.runner._seats.current is not None
    stage.runner._beat[0] = boot_ms() - 59_000
    began = time.monotonic()
    stage.until(lambda: not stage.supervisors(), limit_s=70)
    assert time.monotonic() - began < 70
    stage.open()
