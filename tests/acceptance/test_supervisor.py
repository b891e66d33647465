"""Real programs under a real supervisor: how they end, what they printed, that none is left."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipway.domain.attempt import Cause, LogStream, Phase, decode_frames
from shipway.domain.order import ORDER_FILE, PACKED
from shipway.domain.spool import GuardianWord
from shipway.plugins.errors import PermanentError
from shipway.runners.local_machine import boot_ms
from tests.support.supervised import PYTHON, Stage

CREATURES = (
    "double_fork",
    "setsid",
    "ignore_term",
    "closed_stdio",
    "empty_env",
    "respawner",
    "tree",
    "stopped",
    "fork_tree",
)
SHELL = ("/bin/sh", "-c")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    found.open()
    try:
        yield found
    finally:
        found.close()


def test_exit_code_output_and_environment_are_exact(stage: Stage) -> None:
    handle = stage.start("/usr/bin/env", env={"A": "ä", "B": "1\n2"})
    ending = stage.ended(handle)
    assert (ending.cause, ending.exit_code, ending.signal) == (Cause.EXIT, 0, None)
    assert ending.log_size == len(stage.log(handle))
    assert stage.output(handle) == f"A=ä\nB=1\n2\nSHIPWAY_ATTEMPT_MARK={handle}\n".encode()


def test_exit_code_is_told(stage: Stage) -> None:
    ending = stage.ended(stage.start(*SHELL, "exit 7"))
    assert (ending.cause, ending.exit_code, ending.signal) == (Cause.EXIT, 7, None)


def test_foreign_signal_is_told(stage: Stage) -> None:
    ending = stage.ended(stage.start(*SHELL, "kill -SEGV $$"))
    assert (ending.cause, ending.exit_code, ending.signal) == (Cause.SIGNAL, None, signal.SIGSEGV)


def test_foreign_kill_is_no_oom(stage: Stage) -> None:
    ending = stage.ended(stage.start(*SHELL, "sleep 0.1; kill -KILL $$"))
    assert (ending.cause, ending.signal) == (Cause.SIGNAL, signal.SIGKILL)


@pytest.mark.parametrize(
    ("argv", "changes", "words"),
    [
        (("/no/such/program",), {}, "/no/such/program"),
        (("/bin/true",), {"cwd": Path("/no/such/folder")}, "/no/such/folder"),
        (("/bin/true", "a\0b"), {}, "null"),
        (("/etc/passwd",), {}, "Permission denied"),
    ],
)
def test_what_cannot_start_says_why(
    stage: Stage, argv: tuple[str, ...], changes: dict[str, Path], words: str
) -> None:
    ending = stage.ended(stage.start(*argv, **changes))
    assert ending.cause is Cause.NOT_STARTED
    assert words in ending.reason


def test_stop_ends_a_tree_by_term(stage: Stage) -> None:
    handle = stage.start(*SHELL, "sleep 100 & sleep 100")
    stage.runner.stop(handle, grace_s=20, cause="stop")
    began = time.monotonic()
    ending = stage.ended(handle)
    assert (ending.cause, ending.signal) == (Cause.STOP, signal.SIGTERM)
    assert time.monotonic() - began < 10


def test_second_stop_shortens_the_grace(stage: Stage) -> None:
    handle = stage.creature("ignore_term")
    stage.runner.stop(handle, grace_s=100, cause="stop")
    stage.runner.stop(handle, grace_s=0.1, cause="stop")
    ending = stage.ended(handle)
    assert (ending.cause, ending.signal) == (Cause.STOP, signal.SIGKILL)


def test_time_limit_is_told(stage: Stage) -> None:
    ending = stage.ended(stage.start("/bin/sleep", "100", run_limit_s=0.2))
    assert (ending.cause, ending.signal) == (Cause.TIME_LIMIT, signal.SIGTERM)


def test_time_limit_of_a_program_that_exits_well_is_still_told(stage: Stage) -> None:
    script = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
    ending = stage.ended(stage.start(*SHELL, script, run_limit_s=0.2))
    assert (ending.cause, ending.exit_code) == (Cause.TIME_LIMIT, 0)


@pytest.mark.parametrize("creature", CREATURES)
def test_nothing_of_the_zoo_survives_a_stop(stage: Stage, creature: str) -> None:
    handle = stage.creature(creature)
    stage.runner.stop(handle, grace_s=0.3, cause="stop")
    stage.ended(handle)
    assert stage.survivors() == []


def test_leftovers_end_with_the_main_program(stage: Stage) -> None:
    handle = stage.creature("closed_stdio")
    ending = stage.ended(handle)
    assert (ending.cause, ending.exit_code) == (Cause.EXIT, 0)
    assert stage.survivors() == []


def test_renewed_lease_goes_on_and_a_lost_one_ends(stage: Stage) -> None:
    """At its deadline the tree freezes; nobody answers for it, so it is killed 9 s later."""
    handle = stage.creature("tree", lease_s=0.3)
    words = stage.runner._held[handle].words()
    assert words is not None
    stage.until(lambda: words[0] == 4)  # Seat.FROZEN
    stage.until(lambda: {state_of(pid) for pid in stage.survivors()} == {"T"})
    stage.runner.renew({handle: boot_ms() + 1_500})
    stage.until(lambda: words[0] == 3)  # Seat.RUNNING: said just before the tree is let go on
    stage.until(lambda: "T" not in {state_of(pid) for pid in stage.survivors()})
    ending = stage.ended(handle)
    assert (ending.cause, ending.signal) == (Cause.LEASE, signal.SIGKILL)
    assert stage.survivors() == []


def test_twenty_loud_programs_lose_no_byte(stage: Stage) -> None:
    script = (
        "import sys, hashlib, threading\n"
        "def out(stream, seed):\n"
        "    for n in range(10_000):\n"
        "        stream.write(b'%d %d ' % (seed, n) + b'x' * 488 + b'\\r')\n"
        "    stream.flush()\n"
        "t = threading.Thread(target=out, args=(sys.stderr.buffer, 2)); t.start()\n"
        "out(sys.stdout.buffer, 1); t.join()\n"
    )

    def expected(seed: int) -> str:
        pieces = (b"%d %d " % (seed, n) + b"x" * 488 + b"\r" for n in range(10_000))
        return hashlib.sha1(b"".join(pieces), usedforsecurity=False).hexdigest()

    waiting = [stage.request(*PYTHON, "-c", script) for _ in range(20)]
    handles = []
    for request in waiting:
        handles.append(stage.runner.start(request))
        if len(handles) >= stage.slots:
            stage.ended(handles[len(handles) - stage.slots])
    for handle in handles:
        stage.ended(handle)
        for stream, seed in ((LogStream.STDOUT, 1), (LogStream.STDERR, 2)):
            data = stage.output(handle, stream)
            assert hashlib.sha1(data, usedforsecurity=False).hexdigest() == expected(seed)


def test_reopened_stdout_keeps_what_was_printed(stage: Stage) -> None:
    handle = stage.start(*SHELL, "echo one; echo two > /dev/stdout; echo three >&1")
    stage.ended(handle)
    assert stage.output(handle) == b"one\ntwo\nthree\n"


def test_log_cap_keeps_head_and_tail_and_names_the_gap(stage: Stage) -> None:
    cap, lines = 1 << 20, 200_000
    script = f"for n in range({lines}): print('%09d' % n)"
    handle = stage.start(*PYTHON, "-c", script, log_cap=cap)
    ending = stage.ended(handle)
    framed = stage.log(handle, step=10_007)
    assert len(framed) == ending.log_size <= cap + 100
    frames = list(decode_frames(framed))
    gaps = [frame for frame in frames if frame.stream is LogStream.GAP]
    assert len(gaps) == 1
    assert gaps[0].data.startswith(b'{"from": ')
    at = frames.index(gaps[0])
    head = b"".join(frame.data for frame in frames[:at])
    tail = b"".join(frame.data for frame in frames[at + 1 :])
    whole = b"".join(b"%09d\n" % n for n in range(lines))
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert len(tail) > cap // 3
    kept = sum(path.stat().st_size for path in (stage.root / "attempts" / handle).glob("log.*"))
    assert kept <= cap


def test_second_start_starts_nothing(stage: Stage) -> None:
    request = stage.request(*SHELL, "echo started; sleep 0.2")
    handle = stage.runner.start(request)
    assert stage.runner.start(request) == handle
    stage.ended(handle)
    assert stage.output(handle) == b"started\n"


def test_forgotten_attempt_leaves_no_trace(stage: Stage) -> None:
    handle = stage.start(*SHELL, "echo x")
    stage.ended(handle)
    stage.runner.forget(handle)
    stage.runner.forget(handle)
    assert stage.runner.status(handle) is None
    assert list((stage.root / "attempts" / handle).iterdir()) == []


def test_large_orders_arrive(stage: Stage) -> None:
    handle = stage.start(*SHELL, 'printf %s "$BIG" | wc -c', env={"BIG": "x" * 100_000})
    assert stage.ended(handle).exit_code == 0
    assert stage.output(handle).strip() == b"100000"


def test_supervisor_of_an_older_version_takes_orders(stage: Stage) -> None:
    """One that says nothing of packed orders gets them as JSON."""
    seats = stage.runner._seats
    assert seats.current is not None
    assert seats.order_form() == PACKED
    seats.current.header.words[GuardianWord.ORDERS] = 0
    handle = stage.start(*SHELL, "echo ${#OLD}", env={"OLD": "x" * 100_000})
    assert stage.ended(handle).exit_code == 0
    assert stage.output(handle) == b"100000\n"
    assert (stage.root / "attempts" / handle / ORDER_FILE).read_bytes().startswith(b"[")


def test_program_that_ends_at_once_is_not_told_to_run(stage: Stage) -> None:
    """Not even when its output is closed before; one of ten is enough on a busy machine."""
    handles = [stage.start(*SHELL, "exec >&- 2>&-; sleep 0.002") for _ in range(10)]
    for handle in handles:
        stage.ended(handle)
    told = {status.handle for status in stage.notices if status.phase is Phase.RUNNING}
    assert told < set(handles)


def test_folder_of_another_attempt_is_refused(stage: Stage) -> None:
    with pytest.raises(PermanentError, match="must be"):
        stage.start("/bin/true", folder=stage.root)


def test_pool_grows_when_there_is_no_limit(tmp_path: Path) -> None:
    stage = Stage(tmp_path, slots=0)
    stage.open()
    try:
        handles = [stage.start("/bin/sleep", "100") for _ in range(20)]
        stage.until(
            lambda: all(
                (status := stage.runner.status(handle)) and status.phase is Phase.RUNNING
                for handle in handles
            )
        )
    finally:
        stage.close()


def test_idle_supervisor_uses_no_cpu_worth_naming(stage: Stage) -> None:
    """One second of quiet costs the guardian, its slots and its renewer under 20 ms of CPU."""
    stage.ended(stage.start("/bin/true"))
    before = sum(cpu_ticks(pid) for pid in stage.supervisors())
    time.sleep(1)
    assert sum(cpu_ticks(pid) for pid in stage.supervisors()) - before <= 2


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
