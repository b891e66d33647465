"""The run side in real programs: other Pythons, forks, kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "src/shipway/runside"


class Place:
    """A folder like an attempt's, and programs that run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(
            SOURCE, folder / "runside/shipway", ignore=shutil.ignore_patterns("__pycache__")
        )
        (folder / "config.json").write_text('{"lr": 0.1}')
        self.started: list[subprocess.Popen[str]] = []

    def start(self, program: str, python: str = sys.executable) -> subprocess.Popen[str]:
        (self.folder / "main.py").write_text(
            "import os, sys\nsys.path.append(os.environ['SHIPWAY_RUNSIDE'])\n" + program
        )
        process = subprocess.Popen(
            [python, "-S", "main.py"],
            cwd=self.folder,
            env={
                "PATH": os.defpath,
                "SHIPWAY_RUNSIDE": str(self.folder / "runside"),
                "SHIPWAY_RECORDS": str(self.folder / "records.jsonl"),
                "SHIPWAY_FILES": str(self.folder / "files"),
                "SHIPWAY_CONFIG": str(self.folder / "config.json"),
                "SHIPWAY_RUN_ID": "abc",
            },
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, program: str, python: str = sys.executable) -> str:
        process = self.start(program, python)
        out, words = process.communicate(timeout=60)
        assert process.returncode == 0, words
        assert words == ""
        return out

    def records(self) -> list[dict[str, Any]]:
        whole, _, torn = (self.folder / "records.jsonl").read_text().rpartition("\n")
        assert not torn or any(
            one.returncode == -signal.SIGKILL or one.poll() is not None for one in self.started
        )
        return [json.loads(line) for line in whole.splitlines()]

    def rows(self) -> list[dict[str, Any]]:
        return [one["values"] for one in self.records() if one["kind"] == "history"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    try:
        yield made
    finally:
        for process in made.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def pythons() -> list[str]:
    """Return this Python, the oldest that is supported and PyPy, where they are."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [str(one) for one in sorted(versions.glob("3.8.*/bin/python"))][:1]
    found += [path for name in ("python3.8", "pypy3") if (path := shutil.which(name))]
    # a shim is there for versions that it cannot start
    return [sys.executable, *(one for one in found if "/shims/" not in one)]


@pytest.mark.parametrize("python", pythons(), ids=lambda path: Path(path).parent.parent.name)
def test_a_program_of_any_python_is_part_of_its_run(place: Place, python: str) -> None:
    out = place.run(
        """
import shipway
run = shipway.init()
run.config["seed"] = 7
for step in range(3):
    run.log({"loss": 1 / (step + 1), "nan": float("nan")})
run.summary["best"] = 0.5
run.save("main.py")
print(run.id, dict(run.config), run.summary["loss"] == run.summary["loss"])
""",
        python,
    )
    assert out == "abc {'lr': 0.1, 'seed': 7} True\n"
    kinds = [one["kind"] for one in place.records()]
    assert kinds.count("history") == 3
    assert kinds.count("file") == 1
    assert place.records()[-1]["values"]["loss"] == pytest.approx(1 / 3)


def test_worker_processes_write_whole_lines(place: Place) -> None:
    place.run(
        """
import multiprocessing, shipway
run = shipway.init()
def work(number):
    for step in range(200):
        shipway.init().log({"worker": number, "n": step, "text": "x" * 20000})
if __name__ == "__main__":
    processes = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in range(4)]
    [p.start() for p in processes]
    [p.join() for p in processes]
    run.log({"worker": -1})
"""  # noqa: E501 - a program
    )
    rows = place.rows()
    for worker in range(4):
        assert [row["n"] for row in rows if row["worker"] == worker] == list(range(200))
    assert rows[-1] == {"worker": -1}


def test_a_fork_while_another_thread_logs_does_not_hang(place: Place) -> None:
    place.run(
        """
import threading, shipway
run = shipway.init()
stop = threading.Event()
def busy():
    while not stop.is_set():
        run.log({"thread": 1, "text": "x" * 5000})
threads = [threading.Thread(target=busy) for _ in range(3)]
[t.start() for t in threads]
for number in range(30):
    child = os.fork()
    if child == 0:
        shipway.init().log({"child": number})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
[t.join() for t in threads]
"""
    )
    assert [row["child"] for row in place.rows() if "child" in row] == list(range(30))


def test_a_kill_loses_nothing_that_was_logged(place: Place) -> None:
    process = place.start(
        """
import shipway
run = shipway.init()
for n in range(10**9):
    run.log({"n": n, "text": "x" * 3000})
    sys.stdout.write("%d\\n" % n)
    sys.stdout.flush()
"""
    )
    assert process.stdout is not None
    deadline = time.monotonic() + 30
    last = -1
    while last < 500:
        assert time.monotonic() < deadline
        last = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().splitlines()
    last = int(rest[-1]) if rest else last
    numbers = [row["n"] for row in place.rows()]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > last


def test_an_uncaught_error_still_leaves_the_summary(place: Place) -> None:
    process = place.start(
        """
import shipway
run = shipway.init()
run.log({"loss": 3})
run.log({"loss": 2})
raise SystemExit(3)
"""
    )
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert place.records()[-1] == {"kind": "summary", "values": {"loss": 2}}
