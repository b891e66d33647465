"""Agents and supervisors that freeze or die: programs end in time, or go on, but never twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from shipway.domain.attempt import Cause
from tests.support.supervised import LONELY, PROGRAMS, PYTHON, Stage

ZOO = (*PYTHON, str(PROGRAMS / "zoo.py"))
LEASE_S = 0.5
END_S = LEASE_S + 9 + 3.5  # the supervisor asks for 9 s; the server leases again 13 s after


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    try:
        yield found
    finally:
        for pid in found.survivors():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        found.close()


@contextmanager
def agent_process(stage: Stage, *argv: str, lease_s: float) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent of its own with one program that runs; it is gone after the block."""
    (stage.root / "attempts").mkdir(exist_ok=True)
    fields = [str(stage.root), LONELY, str(int(lease_s * 1000)), "0.5", stage.base_url]
    agent = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "lonely_agent.py"), *fields, *argv],
        stdout=subprocess.PIPE,
    )
    assert agent.stdout is not None
    try:
        assert agent.stdout.readline() == b"running\n"
        yield agent
    finally:
        agent.kill()
        agent.wait()
        agent.stdout.close()


def test_a_program_ends_at_its_deadline_though_its_agent_is_frozen(stage: Stage) -> None:
    """Earns its time: the agent can do nothing, and its item may be another's in 13 s."""
    with agent_process(stage, *ZOO, "tree", stage.token, lease_s=LEASE_S) as agent:
        agent.send_signal(signal.SIGSTOP)
        assert programs(stage, agent)
        stage.until(lambda: not programs(stage, agent), limit_s=END_S)
    (status,) = stage.open()
    assert status.ending is not None
    assert status.ending.cause is Cause.LEASE


def test_a_program_ends_at_its_deadline_though_agent_and_slot_are_frozen(stage: Stage) -> None:
    with agent_process(stage, *ZOO, "double_fork", stage.token, lease_s=LEASE_S) as agent:
        agent.send_signal(signal.SIGSTOP)
        (slot,) = parents(programs(stage, agent)) & set(stage.supervisors())
        os.kill(slot, signal.SIGSTOP)
        stage.until(lambda: not programs(stage, agent), limit_s=END_S)
    (status,) = stage.open()
    ending = status.ending or stage.ended(LONELY)  # its burial may still be on its way
    assert ending.cause is Cause.SUPERVISOR


@pytest.mark.parametrize("creature", ["double_fork", "ignore_term", "empty_env"])
def test_nothing_is_left_five_seconds_after_the_grace_of_a_stop(
    stage: Stage, creature: str
) -> None:
    stage.open()
    handle = stage.creature(creature)
    stage.until(lambda: len(stage.survivors()) > (creature != "ignore_term"))
    began = time.monotonic()
    stage.runner.stop(handle, grace_s=0.3, cause="stop")
    stage.until(lambda: not stage.survivors(), limit_s=0.3 + 5)
    stage.ended(handle)
    assert time.monotonic() - began < 0.3 + 5


def programs(stage: Stage, agent: subprocess.Popen[bytes]) -> list[int]:
    """Return the processes of the program; the agent has its words on its own command line."""
    return [pid for pid in stage.survivors() if pid != agent.pid]


def parents(pids: list[int]) -> set[int]:
    """Return the processes that have one of these as their child."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return {int(words[1]) for words in fields}
