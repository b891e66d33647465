"""Guardian, slots and agent killed and frozen, apart and together: programs end, or go on, once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from shipway.cli.supervisor import end_supervisors, is_supervised
from shipway.domain.attempt import Cause, Phase
from shipway.runners.local_guardian import is_locked
from shipway.runners.local_machine import boot_ms, is_process
from tests.support.supervised import PROGRAMS, PYTHON, Stage

HELL = (*PYTHON, str(PROGRAMS / "hell.py"))
SHELL = ("/bin/sh", "-c")
GONE_S = 15.0  # after it ended nothing of an attempt lives
GRACE_S = 0.3


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    found.open()
    try:
        yield found
    finally:
        for pid in found.supervisors():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        found.close()


@contextmanager
def frozen(pids: Collection[int]) -> Iterator[None]:
    """Freeze processes for a block; they go on afterwards, where they are still there."""
    starts = [(pid, Path(f"/proc/{pid}/stat").read_text().split()[21]) for pid in pids]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid, start in starts:
            if is_process(pid, int(start)):
                os.kill(pid, signal.SIGCONT)


def test_a_frozen_guardian_stops_nothing(stage: Stage) -> None:
    stage.until(lambda: len(stage.supervisors()) == 1 + stage.slots + 1)  # and the renewer
    with frozen([stage.guardian()]):
        handle = stage.start(*SHELL, "echo one; exit 3")
        assert stage.ended(handle).exit_code == 3
        assert stage.output(handle) == b"one\n"
        other = stage.creature("double_fork")
        stage.runner.stop(other, grace_s=GRACE_S, cause="stop")
        assert stage.ended(other).cause is Cause.STOP
        assert stage.survivors() == []


@pytest.mark.long
def test_a_guardian_frozen_before_its_slots_were_made_is_replaced(stage: Stage) -> None:
    for pid in stage.supervisors():
        os.kill(pid, signal.SIGSTOP)
    old = stage.guardian()
    stage.until(lambda: stage.guardian() != old, limit_s=GONE_S)
    assert stage.ended(stage.start("/bin/true")).exit_code == 0


def test_a_slot_that_dies_below_a_frozen_guardian_is_still_buried(stage: Stage) -> None:
    """Nobody asks for its end, and its lease is renewed: it must not hang for ever."""
    handle = stage.creature("double_fork")
    with frozen([stage.guardian()]):
        os.kill(stage.slot_of(handle), signal.SIGKILL)
        assert stage.ended(handle, limit_s=GONE_S).cause is Cause.SUPERVISOR
        assert stage.survivors() == []
    assert stage.ended(stage.start("/bin/true")).exit_code == 0


@pytest.mark.parametrize(
    "creature",
    [
        "tree",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("double_fork", "ignore_term")),
    ],
)
def test_a_stop_comes_through_a_dead_guardian_and_a_frozen_slot(
    stage: Stage, creature: str
) -> None:
    handle = stage.creature(creature)
    slot = stage.slot_of(handle)
    with frozen([slot]):
        os.kill(stage.guardian(), signal.SIGKILL)
        stage.runner.stop(handle, grace_s=GRACE_S, cause="stop")
        assert stage.ended(handle, limit_s=GONE_S).cause is Cause.SUPERVISOR
        assert stage.survivors() == []


def test_a_lease_ends_below_a_dead_guardian_and_a_frozen_slot(stage: Stage) -> None:
    handle = stage.creature("empty_env")
    slot = stage.slot_of(handle)
    with frozen([slot]):
        os.kill(stage.guardian(), signal.SIGKILL)
        stage.runner.renew({handle: boot_ms()})
        assert stage.ended(handle, limit_s=GONE_S).cause is Cause.SUPERVISOR
        assert stage.survivors() == []


def test_a_program_goes_on_when_its_frozen_slot_does(stage: Stage) -> None:
    """The guardian died meanwhile; the pipe holds what nobody read."""
    handle = stage.start(*SHELL, "echo one; sleep 0.3; echo two; exit 4")
    stage.until(lambda: stage.output(handle) == b"one\n")
    slot, old = stage.slot_of(handle), stage.guardian()
    with frozen([slot]):
        os.kill(old, signal.SIGKILL)
        stage.until(lambda: stage.guardian() != old)
        assert stage.ended(stage.start("/bin/true")).exit_code == 0
    ending = stage.ended(handle)
    assert (ending.cause, ending.exit_code) == (Cause.EXIT, 4)
    assert stage.output(handle) == b"one\ntwo\n"


def test_a_killed_slot_leaves_whole_frames_of_what_its_program_printed(stage: Stage) -> None:
    """What lay in its pipe is gone with it: the log is a beginning, and not called whole."""
    handle = stage.start(*HELL, "pipe_full", stage.token, str(64 << 20))
    stage.until(lambda: len(stage.log(handle)) > 1 << 20)
    os.kill(stage.slot_of(handle), signal.SIGKILL)
    ending = stage.ended(handle)
    assert ending.cause is Cause.SUPERVISOR
    kept = stage.output(handle)
    assert kept == (b"here\n" + b"y" * (64 << 20))[: len(kept)]
    assert ending.log_size > len(stage.log(handle))


def test_what_a_dead_guardian_left_counts_until_it_has_gone(stage: Stage) -> None:
    """Neither a purge nor a tidying may take the folders of a program that goes on."""
    handle = stage.creature("ignore_term")
    stage.runner.close()
    os.kill(stage.guardian(), signal.SIGKILL)
    stage.until(lambda: not is_locked(stage.root / "supervisor"))
    assert is_supervised(stage.root)
    stage.open()
    stage.runner.stop(handle, grace_s=GRACE_S, cause="stop")
    stage.ended(handle)
    stage.runner.close()
    end_supervisors(stage.root)
    assert stage.supervisors() == []
    assert not is_supervised(stage.root)
    stage.open()


@pytest.mark.long
def test_a_lid_closed_past_the_lease_ends_a_program_that_nobody_renews(stage: Stage) -> None:
    """Everything frozen past the deadline, as by a suspend; on waking the slot asks, then ends."""
    handle = stage.creature("tree", lease_s=1)
    everybody = [*stage.supervisors(), *stage.survivors()]
    with frozen(everybody):
        stage.until(lambda: boot_ms() > deadline_of(stage, handle) + 2_000)
    began = time.monotonic()
    assert stage.ended(handle, limit_s=GONE_S).cause is Cause.LEASE
    assert time.monotonic() - began < 13
    assert stage.survivors() == []


def test_a_lid_closed_past_the_lease_ends_nothing_that_is_renewed_on_waking(stage: Stage) -> None:
    handle = stage.creature("tree", lease_s=1)
    everybody = [*stage.supervisors(), *stage.survivors()]
    with frozen(everybody):
        stage.until(lambda: boot_ms() > deadline_of(stage, handle) + 2_000)
        stage.runner.renew({handle: boot_ms() + 60_000})  # the first thing that wakes
    stage.until(lambda: set(states(stage)) == {"S"})
    status = stage.runner.status(handle)
    assert status is not None
    assert status.phase is Phase.RUNNING
    stage.runner.stop(handle, grace_s=GRACE_S, cause="stop")
    assert stage.ended(handle).cause is Cause.STOP


def test_a_lid_closed_for_a_second_is_no_reason_to_kill_a_slot(stage: Stage) -> None:
    """Guardian and agent wake before the slot: by their ticks it gets its looks all the same."""
    handle = stage.creature("ignore_term")
    slot = stage.slot_of(handle)
    stage.runner.stop(handle, grace_s=1, cause="stop")
    with frozen([*stage.supervisors(), *stage.survivors()]):
        stage.until(lambda: boot_ms() > stage.runner._held[handle].stop_by + 3_000)
    assert stage.ended(handle).cause is Cause.STOP  # by its slot, not by who buries it
    assert slot in stage.supervisors()


def deadline_of(stage: Stage, handle: str) -> int:
    return stage.runner._held[handle].deadline


def states(stage: Stage) -> list[str]:
    found = []
    for pid in stage.survivors():
        with suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            found.append(stat.rpartition(")")[2].split()[0])
    return found
