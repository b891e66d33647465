"""A stage for the local-process runner that proves that nothing is left when it is closed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from shipway.domain.attempt import Ending, LogStream, decode_frames
from shipway.plugins.runner import RunnerContext, RunRequest, RunStatus
from shipway.runners.local_machine import boot_ms, environment_of, process_start, processes
from shipway.runners.local_process import LocalProcessRunner

PYTHON = (sys.executable, "-S", "-E")
PROGRAMS = Path(__file__).parents[1] / "acceptance" / "programs"
ITEM = f"item{os.getpid():07d}"  # one attempt of a machine has a mark, and tests run side by side
LONELY = f"lonely{os.getpid():07d}.1"  # what `lonely_agent.py` starts
LIMIT_S = 30.0
LOOK_S = 0.01


class Stage:
    """A runner with its folders, what it said, and whatever lives below it."""

    def __init__(self, root: Path, *, slots: int = 4, base_url: str = "http://127.0.0.1:1") -> None:
        self.root = root
        self.token = f"stage-{os.getpid()}-{root.name}-{time.monotonic_ns()}"
        self.slots = slots
        self.base_url = base_url
        self.notices: list[RunStatus] = []
        self.news = threading.Condition()
        self.runner = LocalProcessRunner()
        self.count = 0
        (root / "key").write_text("sw_test")

    def open(self, *given: str) -> list[RunStatus]:
        """Open the runner, or a new one after a close; its agent knows of these handles."""
        self.runner = LocalProcessRunner()
        return self.runner.open(
            RunnerContext(
                home=self.root / "supervisor",
                attempts=self.root / "attempts",
                agent="agent-test",
                slots=self.slots,
                base_url=self.base_url,
                key_file=self.root / "key",
                notify=self.see,
                given=frozenset(given),
            )
        )

    def see(self, status: RunStatus) -> None:
        """Take a notice."""
        with self.news:
            self.notices.append(status)
            self.news.notify_all()

    def start(self, *argv: str, **changes: Any) -> str:
        """Start a program."""
        return self.runner.start(self.request(*argv, **changes))

    def request(self, *argv: str, lease_s: float = 60.0, **changes: Any) -> RunRequest:
        """Make a request; its folder is made, too."""
        self.count += 1
        item = f"{ITEM}{self.count:04d}"
        folder = self.root / "attempts" / f"{item}.1"
        folder.mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {
            "item": item,
            "attempt": 1,
            "token": f"token-{self.count}",
            "argv": argv,
            "env": {"PATH": "/usr/bin:/bin"},
            "cwd": folder,
            "folder": folder,
            "deadline": boot_ms() + int(lease_s * 1000),
            "grace_s": 0.5,
            "run_limit_s": None,
            "log_cap": 1 << 30,
            "args": {},
        }
        return RunRequest(**(values | changes))

    def creature(self, name: str, **changes: Any) -> str:
        """Start a program of the zoo; return once it said that it is there."""
        handle = self.start(*PYTHON, str(PROGRAMS / "zoo.py"), name, self.token, **changes)
        self.until(lambda: self.output(handle).startswith(b"here\n"))
        return handle

    def ended(self, handle: str, limit_s: float = LIMIT_S) -> Ending:
        """Return how a program ended, once a notice said so."""

        def ending() -> Ending | None:
            return next(
                (seen.ending for seen in self.notices if seen.handle == handle and seen.ending),
                None,
            )

        with self.news:
            assert self.news.wait_for(ending, limit_s), f"{handle} did not end"
            found = ending()
        assert found is not None
        return found

    def output(self, handle: str, stream: LogStream | None = LogStream.STDOUT) -> bytes:
        """Return what a program printed so far."""
        frames = decode_frames(self.log(handle))
        return b"".join(frame.data for frame in frames if stream in (None, frame.stream))

    def log(self, handle: str, step: int = 1 << 20) -> bytes:
        """Return the framed log, read in steps."""
        pieces, at = [], 0
        while piece := self.runner.log(handle, at, step):
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)

    def until(self, is_so: Callable[[], object], limit_s: float = LIMIT_S) -> None:
        """Look until something is so."""
        limit = time.monotonic() + limit_s
        while not is_so():
            assert time.monotonic() < limit, "it did not come to pass"
            time.sleep(LOOK_S)

    def guardian(self) -> int:
        """Return the guardian's process."""
        assert self.runner._seats.current is not None
        return self.runner._seats.current.header.words[0]

    def slot_of(self, handle: str) -> int:
        """Return the process of the slot that has an attempt."""
        pid = self.runner._held[handle].pid
        assert pid > 1, "it has ended"
        return pid

    def survivors(self) -> list[int]:
        """Return the processes of the zoo that live."""
        return [pid for pid in processes() if self.token in command_of(pid) and is_alive(pid)]

    def supervisors(self) -> list[int]:
        """Return the processes of the supervisors of this stage."""
        home = str(self.root / "supervisor")
        return [pid for pid in processes() if home in command_of(pid) and is_alive(pid)]

    def marked(self) -> list[int]:
        """Return the processes that carry the mark of an attempt of this stage's programs."""
        marks = [f"MARK={path.name}\0".encode() for path in (self.root / "attempts").glob("*")]
        root = str(self.root).encode()
        return [
            pid
            for pid in processes()
            if any(mark in (text := environment_of(pid)) for mark in marks)
            and root in text
            and is_alive(pid)
        ]

    def close(self) -> None:
        """Close the runner; kill and report whatever is left of programs and supervisors."""
        for handle, held in list(self.runner._held.items()):
            if held.ending is None:
                self.runner.stop(handle, grace_s=0, cause="stop")
        try:
            self.until(
                lambda: all(held.ending for held in list(self.runner._held.values())), limit_s=15
            )
            self.runner.close()
            self.until(lambda: not self.supervisors(), limit_s=10)
        finally:
            left = self.survivors() + self.supervisors() + self.marked()
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert not left, f"left behind: {left}"


def command_of(pid: int) -> str:
    """Return a process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    return process_start(pid) is not None
