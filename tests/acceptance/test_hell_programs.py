"""Programs from hell under a real supervisor: none of them is left, no byte of them is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from shipway.domain.attempt import Cause, Ending, LogStream, decode_frames
from tests.support.supervised import PROGRAMS, PYTHON, Stage

HELL = (*PYTHON, str(PROGRAMS / "hell.py"))
MIB = 1 << 20
DISK = 4 * MIB  # of a small disk: its spool, and the supervisor's own files
STOP_S = 5.0  # after the grace of a stop nothing is left


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with opened(tmp_path) as found:
        yield found


@contextmanager
def opened(root: Path, *, slots: int = 2) -> Iterator[Stage]:
    found = Stage(root, slots=slots)
    found.open()
    try:
        yield found
    finally:
        found.close()


def hell(stage: Stage, name: str, number: int = 0, **changes: object) -> str:
    return stage.start(*HELL, name, stage.token, str(number), **changes)


def stop(stage: Stage, handle: str, grace_s: float = 0.3) -> Ending:
    """Stop a program; nothing of it may be left 5 s after its grace."""
    stage.runner.stop(handle, grace_s=grace_s, cause="stop")
    stage.until(lambda: not stage.survivors(), limit_s=grace_s + STOP_S)
    assert stage.marked() == []
    return stage.ended(handle)


def test_a_program_that_stopped_itself_ends_when_told_to(stage: Stage) -> None:
    handle = hell(stage, "stop_self")
    stage.until(lambda: "T" in states(stage))
    assert stop(stage, handle, grace_s=20).signal == signal.SIGTERM
    assert stage.output(handle) == b"before\n"


def test_a_program_without_any_standard_file_ends_in_its_own_way(stage: Stage) -> None:
    handle = hell(stage, "no_stdio")
    ending = stage.ended(handle)
    assert (ending.cause, ending.exit_code) == (Cause.EXIT, 7)
    assert stage.output(handle) == b"before\n"


@pytest.mark.parametrize("how", ["stop", "slot", pytest.param("lease", marks=pytest.mark.long)])
def test_nothing_is_left_of_a_storm_of_200(stage: Stage, how: str) -> None:
    """Each a session of its own, deaf, half of them with a dead parent's parent."""
    handle = hell(stage, "storm", 200)
    stage.until(lambda: len(stage.survivors()) > 200)
    if how == "slot":
        os.kill(stage.slot_of(handle), signal.SIGKILL)
    elif how == "lease":
        stage.runner.renew({handle: 1})
    else:
        stop(stage, handle)
    cause = {"stop": Cause.STOP, "lease": Cause.LEASE, "slot": Cause.SUPERVISOR}[how]
    assert stage.ended(handle).cause is cause
    assert stage.survivors() == []


def test_what_a_child_says_after_the_main_program_is_kept(stage: Stage) -> None:
    handle = hell(stage, "last_words", grace_s=10)
    ending = stage.ended(handle)
    assert (ending.cause, ending.exit_code) == (Cause.EXIT, 0)
    assert stage.output(handle) == b"child: here\nmain: gone\nchild: last words\n"


def test_what_an_orphan_says_is_kept(stage: Stage) -> None:
    handle = hell(stage, "orphan_speaks")
    assert stage.ended(handle).exit_code == 0
    assert stage.output(handle) == b"orphan: my parent is dead\nmain: done\n"


def test_a_flood_of_carriage_returns_is_kept_byte_by_byte(stage: Stage) -> None:
    handle = hell(stage, "progress", 100_000)
    assert stage.ended(handle).exit_code == 0
    said = b"".join(b"\r%9d of %9d" % (n, 100_000) for n in range(100_000))
    assert stage.output(handle) == said + b"\n"


def test_bytes_that_are_no_text_are_kept(stage: Stage) -> None:
    handle = hell(stage, "binary", 500)
    assert stage.ended(handle).exit_code == 0
    every = bytes(range(256)) * 4
    assert stage.output(handle) == every * 500
    assert stage.output(handle, LogStream.STDERR) == every[::-1] * 500


def test_a_line_without_an_end_is_kept(stage: Stage) -> None:
    handle = hell(stage, "long_line", 20 * MIB)
    assert stage.ended(handle).exit_code == 0
    assert stage.output(handle) == b"x" * (20 * MIB)


def test_of_64_mib_the_head_and_the_tail_of_the_cap_stay(stage: Stage) -> None:
    check_cap(stage, printed=64 * MIB, cap=8 * MIB)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_of_1_gib_the_head_and_the_last_64_mib_stay(stage: Stage) -> None:
    """What promises.md says of the default cap, with more than it."""
    check_cap(stage, printed=1200 * MIB, cap=1024 * MIB)


def check_cap(stage: Stage, *, printed: int, cap: int) -> None:
    handle = hell(stage, "lines", printed, log_cap=cap)
    ending = stage.ended(handle, limit_s=300)
    assert ending.exit_code == 0
    folder = stage.root / "attempts" / handle
    assert sum(path.stat().st_size for path in folder.glob("log.*")) <= cap
    at, next_line, tail, gaps = 0, 0, 0, 0
    rest = b""
    while piece := stage.runner.log(handle, at, 4 * MIB):
        at += len(piece)
        for frame, size in whole_frames(rest + piece):
            if frame.stream is LogStream.GAP:
                gaps, tail = gaps + 1, 0
                next_line = -1
            else:
                next_line = check_lines(frame.data, next_line)
                tail += len(frame.data)
            last = size
        rest = (rest + piece)[last:]
    assert (at, gaps, rest) == (ending.log_size, 1, b"")
    assert next_line == printed  # to the last byte
    assert tail >= min(64 * MIB, cap // 2)


def whole_frames(data: bytes) -> Iterator[tuple[object, int]]:
    at = 0
    for frame in decode_frames(data):
        at += 13 + len(frame.data)
        yield frame, at


def check_lines(data: bytes, at: int) -> int:
    """Compare with what `lines` prints from a byte on; -1 = wherever the bytes say themselves."""
    if at < 0:
        first = data.index(b"\n") + 1
        at = int(data[first : first + 15]) * 16 - first
    begin = at // 16
    end = (at + len(data)) // 16 + 1
    expected = b"".join(b"%015d\n" % n for n in range(begin, end))
    assert data == expected[at % 16 : at % 16 + len(data)]
    return at + len(data)


def test_a_full_disk_keeps_a_program_waiting_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path) as root, opened(root, slots=1) as stage:
        size = DISK // 2
        filler = fill(root)
        handle = hell(stage, "pipe_full", size)
        stage.until(lambda: stage.runner.status(handle) is not None)
        settle = quiet(lambda: len(stage.log(handle)))
        stage.until(settle)
        assert len(stage.output(handle)) < size
        filler.unlink()
        stage.until(lambda: len(stage.output(handle)) == size + 9)
        assert stop(stage, handle).cause is Cause.STOP
        assert stage.output(handle) == b"here\n" + b"y" * size + b"end\n"
        assert stage.ended(handle).log_size == len(stage.log(handle))


def test_a_full_disk_keeps_nothing_alive(tmp_path: Path) -> None:
    """The tree ends in time; its last bytes wait for room, and are kept once there is some."""
    with small_disk(tmp_path) as root, opened(root, slots=1) as stage:
        filler = fill(root)
        handle = hell(stage, "pipe_full", DISK)
        stage.until(quiet(lambda: len(stage.log(handle))))
        stage.runner.stop(handle, grace_s=0.3, cause="stop")
        stage.until(lambda: not stage.survivors(), limit_s=0.3 + STOP_S)
        filler.unlink()
        assert stage.ended(handle).cause is Cause.STOP
        said = stage.output(handle)
        assert said == (b"here\n" + b"y" * DISK)[: len(said)]
        assert stage.ended(handle).log_size == len(stage.log(handle))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_bytes_that_found_no_room_for_a_minute_are_said_to_be_missing(tmp_path: Path) -> None:
    """The log ends before its size: whoever ships it sees that it is not whole."""
    with small_disk(tmp_path) as root, opened(root, slots=1) as stage:
        filler = fill(root)
        handle = hell(stage, "pipe_full", DISK)
        stage.until(quiet(lambda: len(stage.log(handle))))
        stage.runner.stop(handle, grace_s=0.3, cause="stop")
        ending = stage.ended(handle, limit_s=100)
        assert ending.log_size > len(stage.log(handle))
        filler.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of its own that is nearly full once `fill` was called."""
    place = folder / "disk"
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", f"size={2 * DISK}", "none", str(place)]
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave about 256 KiB of room."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    filler.write_bytes(b"z" * (room.f_bavail * room.f_frsize - 256 * 1024))
    return filler


def quiet(look: Callable[[], int], for_s: float = 0.5) -> Callable[[], bool]:
    """Return what tells that a number is over 0, and has been the same for a while."""
    seen, since = 0, time.monotonic()

    def is_quiet() -> bool:
        nonlocal seen, since
        now = look()
        if now != seen:
            seen, since = now, time.monotonic()
        return bool(now) and time.monotonic() - since > for_s

    return is_quiet


def states(stage: Stage) -> set[str]:
    found = set()
    for pid in stage.survivors():
        with suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            found.add(stat.rpartition(")")[2].split()[0])
    return found
