"""The runner local-container on real engines: endings, stops, limits, deaths of keepers."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shipway.domain.attempt import Cause, LogStream
from shipway.plugins.errors import PermanentError
from shipway.plugins.runner import Bind
from shipway.runners.local_container import container_name
from shipway.runners.local_machine import boot_ms, processes
from shipway.supervise.tree import children
from tests.support.contained import Stage, staged
from tests.support.engines import BASE, ENGINES, TestEngine, an_engine

PATIENT = "trap 'echo got; exit 7' TERM; echo up; while :; do sleep 0.05; done"
STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"
NASTY = {
    "PLAIN": "a=b",
    "SPACES": "  two  ",
    "QUOTES": '"it\'s"',
    "HASH": "#no comment",
    "DOLLAR": "$HOME ${X} $(id) `id`",
    "BACKSLASH": "a\\nb\\",
    "UTF8": "größe ✓",
    "EMPTY": "",
    "LONG": "x" * 32_670,
    "STAR": "*",
}


@pytest.fixture(scope="module", params=ENGINES)
def lent(request: pytest.FixtureRequest) -> Iterator[TestEngine]:
    with an_engine(request.param) as engine:
        yield engine
        assert engine.containers() == []


@pytest.fixture
def stage(lent: TestEngine, tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path, lent) as stage:
        yield stage


def test_exit_code_output_and_environment_are_the_program_s(stage: Stage) -> None:
    code = "import json, os, sys; print(json.dumps(dict(os.environ))); print('no', file=sys.stderr)"
    handle = stage.start("python3", "-c", code + "; sys.exit(3)", env=NASTY)
    ending = stage.ended(handle)
    assert (ending.cause, ending.exit_code, ending.signal) == (Cause.EXIT, 3, None)
    seen = stage.out(handle)
    assert {name: json.loads(seen)[name] for name in NASTY} == NASTY
    assert stage.out(handle, LogStream.STDERR) == b"no\n"


def test_no_secret_is_on_a_command_line(stage: Stage) -> None:
    handle = stage.start("sh", "-c", "echo up; sleep 1", env={"KEY": "a-secret-of-the-tests"})
    stage.until(lambda: b"up" in stage.out(handle))
    lines = [Path(f"/proc/{pid}/cmdline") for pid in processes()]
    assert [path for path in lines if b"a-secret-of-the-tests" in _read(path)] == []
    assert stage.ended(handle).exit_code == 0


def test_a_signal_is_told_from_an_exit(stage: Stage) -> None:
    ending = stage.ended(stage.start("sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"))
    assert (ending.cause, ending.signal) == (Cause.SIGNAL, signal.SIGSEGV)


def test_memory_that_ran_out_is_told_from_a_kill(stage: Stage) -> None:
    hog = ("python3", "-c", "x = bytearray(300 << 20); print(len(x))")
    ending = stage.ended(stage.start(*hog, args={"memory": "64m"}))
    assert (ending.cause, ending.exit_code) == (Cause.OOM, 137)
    handle = stage.start("sh", "-c", STUBBORN, args={"memory": "64m"})
    stage.until(lambda: b"up" in stage.out(handle))
    stage.lent.engine.run("kill", "--signal", "KILL", container_name(handle))
    assert stage.ended(handle).cause is Cause.SIGNAL


def test_what_cannot_start_says_why(stage: Stage) -> None:
    ending = stage.ended(stage.start("no-such-program"))
    assert ending.cause is Cause.NOT_STARTED
    assert "no-such-program" in ending.reason
    with pytest.raises(PermanentError, match="has no image localhost/nowhere"):
        stage.start("true", image="localhost/nowhere:1")
    with pytest.raises(PermanentError, match="ZWEI has a line break"):
        stage.start("true", env={"EINS": "1", "ZWEI": "a\nb"})


def test_a_stop_is_the_image_s_signal_then_grace_then_the_end(stage: Stage) -> None:
    handle = stage.start("sh", "-c", PATIENT)
    stage.until(lambda: b"up" in stage.out(handle))
    stage.runner.stop(handle, grace_s=30, cause="stop")
    ending = stage.ended(handle)
    assert (ending.cause, ending.exit_code) == (Cause.STOP, 7)
    assert stage.out(handle) == b"up\ngot\n"  # once
    handle = stage.start("sh", "-c", STUBBORN)
    stage.until(lambda: b"up" in stage.out(handle))
    stage.runner.stop(handle, grace_s=0.3, cause="stop")
    assert stage.ended(handle).cause is Cause.STOP
    assert container_name(handle) not in stage.running()


def test_a_time_limit_and_a_lost_lease_end_it(stage: Stage, tmp_path: Path) -> None:
    handle = stage.start("sh", "-c", STUBBORN, run_limit_s=0.5, grace_s=0.2)
    assert stage.ended(handle).cause is Cause.TIME_LIMIT
    marks = tmp_path / "marks"
    marks.mkdir()
    script = "while :; do echo >> /marks/file; sleep 0.1; done"
    binds = {"binds": (Bind(source=marks, target="/marks", is_writable=True),)}
    leased = stage.start("sh", "-c", script, lease_s=1.0, container=binds)
    stage.until(lambda: _size(marks / "file") > 2)
    time.sleep(2)  # the deadline is over: it is frozen now, not only whoever keeps it
    before = _size(marks / "file")
    time.sleep(1)
    assert _size(marks / "file") == before
    stage.runner.renew({leased: boot_ms() + 60_000})
    stage.until(lambda: _size(marks / "file") > before)
    stage.runner.stop(leased, grace_s=0, cause="stop")
    assert stage.ended(leased).cause is Cause.STOP
    alone = stage.start("sh", "-c", STUBBORN, lease_s=0.5)
    assert stage.ended(alone).cause is Cause.LEASE
    assert stage.running() == []


def test_eight_at_once_keep_their_lines_in_order(stage: Stage) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done"
    handles = [stage.start("sh", "-c", script) for _ in range(8)]
    wanted = b"".join(b"%d\n" % number for number in range(1, 20_001))
    for handle in handles:
        assert stage.ended(handle).exit_code == 0
        assert stage.out(handle) == wanted


def test_another_agent_finds_it_again(stage: Stage) -> None:
    handle = stage.start("sh", "-c", "echo one; sleep 3; echo two; exit 4")
    stage.until(lambda: b"one" in stage.out(handle))
    stage.runner.close()
    found = stage.open(handle)
    assert [status.handle for status in found] == [handle]
    assert stage.ended(handle).exit_code == 4
    assert stage.out(handle) == b"one\ntwo\n"


@pytest.mark.parametrize("victim", ["keeper", "keeper and client", "slot"])
def test_the_death_of_whoever_keeps_it_is_its_end(stage: Stage, victim: str) -> None:
    handle = stage.start("sh", "-c", STUBBORN)
    stage.until(lambda: b"up" in stage.out(handle))
    keeper = next(pid for pid in processes() if _is_keeper_of(pid, handle))
    slot = int(Path(f"/proc/{keeper}/stat").read_text().split()[3])
    clients = children(keeper) if victim == "keeper and client" else []
    for pid in [slot] if victim == "slot" else [*clients, keeper]:
        os.kill(pid, signal.SIGKILL)
    ending = stage.ended(handle)
    assert ending.cause is Cause.SUPERVISOR, ending
    assert container_name(handle) not in stage.running()


def test_what_a_crash_left_is_removed_by_its_label(stage: Stage) -> None:
    stage.runner.close()
    label = f"--label=ai.shipway.agent={stage.agent}"
    words = ("run", "-d", "--network=none", label, "--name", "left", BASE, "sleep", "1000")
    stage.lent.engine.run(*words)
    stage.open("some.1")
    stage.until(lambda: stage.lent.containers() == [])


def test_a_sweep_that_comes_late_spares_what_was_started_meanwhile(
    lent: TestEngine, tmp_path: Path
) -> None:
    slow = tmp_path / "bin" / lent.name
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\n[ "$1" = ps ] && sleep 2\nexec {lent.program} "$@"\n')
    slow.chmod(0o755)
    env = {**lent.env, "PATH": f"{slow.parent}:{lent.env['PATH']}"}
    stage = Stage(tmp_path, replace(lent, env=env))
    stage.open()
    try:
        handle = stage.start("sh", "-c", "echo up; sleep 4; exit 3")
        ending = stage.ended(handle)
        assert (ending.cause, ending.exit_code) == (Cause.EXIT, 3)
    finally:
        stage.close()
        stage.until(lambda: lent.containers() == [])


def test_what_could_not_start_leaves_no_folder(stage: Stage) -> None:
    with pytest.raises(PermanentError):
        stage.start("true", env={"LINES": "a\nb"})
    assert list((stage.root / "local-container" / "attempts").iterdir()) == []


def test_an_order_that_a_crash_tore_does_not_end_the_removing(stage: Stage) -> None:
    first, second = stage.start("true"), stage.start("true")
    for handle in (first, second):
        stage.ended(handle)
    folders = stage.root / "local-container" / "attempts"
    order = folders / first / "container.json"
    whole = order.read_bytes()
    order.write_bytes(b"")
    stage.runner.forget(first)
    stage.runner.forget(second)
    stage.until(lambda: list(folders.iterdir()) == [], limit_s=20)
    name = json.loads(whole)["name"]
    stage.lent.engine.run("rm", "--force", name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_keeper_of(pid: int, handle: str) -> bool:
    words = _read(Path(f"/proc/{pid}/cmdline")).split(b"\0")
    return b"run" in words and any(word.endswith(handle.encode()) for word in words)
