"""Launches a real training on an embedded shipway of its own, and follows it to its end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shipway import LaunchError, QueuedRun, launch_add

EXAMPLE = Path(__file__).resolve().parent / "train_elasticnet"
SHIPWAY = [sys.executable, "-m", "shipway"]
LOOK_EVERY_S = 0.5
GONE_WAIT_S = 10.0  # until the last process that was ended has gone


def main() -> int:
    """Run the demo; exit 0 only if the run finished and nothing is left."""
    with tempfile.TemporaryDirectory(prefix="shipway-demo-") as folder:
        home = Path(folder) / "home"
        for name in [name for name in os.environ if name.startswith("SHIPWAY_")]:
            del os.environ[name]
        os.environ["SHIPWAY_HOME"] = str(home)
        is_finished = False
        try:
            subprocess.run([*SHIPWAY, "up", "--detach"], check=True)
            is_finished = launch(commit_example(Path(folder) / "elasticnet"))
        except (LaunchError, subprocess.CalledProcessError) as error:
            print(f"the demo failed: {error}", file=sys.stderr)
        finally:
            subprocess.run([*SHIPWAY, "down", "--purge"], check=False)
        left = leftovers(home)
    if left:
        print(f"these processes are left: {left}", file=sys.stderr)
    return 0 if is_finished and not left else 1


def commit_example(repository: Path) -> Path:
    """Make a git repository with the example program as its only commit."""
    shutil.copytree(EXAMPLE, repository, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-C", str(repository), "-c", "user.name=Demo", "-c", "user.email=demo@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "ElasticNet on diabetes data"], check=True)
    return repository


def launch(repository: Path) -> bool:
    """Launch the program, follow its log, print what came of it."""
    queued = launch_add(uri=str(repository), parameters={"alpha": 0.5, "l1_ratio": 0.01})
    print(f"queued {queued.id} in queue {queued.queue_name}: {queued.url}")
    with progress(queued) as show:
        for line in queued.logs(follow=True):
            show.line(str(line))
    run = queued.wait_until_finished(timeout=60)
    print(f"state:   {run.state}")
    print(f"config:  {dict(run.config)}")
    print(f"summary: {dict(run.summary)}")
    print(f"page:    {run.url}")
    return run.state == "finished"


class Progress:
    """Prints log lines, and below them on a terminal one line that says how the item stands."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._status = ""
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Print a line of the log."""
        with self._lock:
            self._clear()
            print(f"  {text}", flush=True)
            self._draw()

    def status(self, text: str) -> None:
        """Say how the item stands."""
        with self._lock:
            if self._is_terminal:
                self._clear()
            elif text != self._status:
                print(text, flush=True)
            self._status = text
            self._draw()

    def end(self) -> None:
        """Take the status line away."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        if self._is_terminal:
            print("\r\x1b[K", end="", flush=True)

    def _draw(self) -> None:
        if self._is_terminal and self._status:
            width = shutil.get_terminal_size().columns - 1
            print(self._status[:width], end="", flush=True)


@contextmanager
def progress(queued: QueuedRun) -> Iterator[Progress]:
    """Keep a status line up to date while the log is followed."""
    show, is_over, began = Progress(), threading.Event(), time.monotonic()

    def watch() -> None:
        while not is_over.wait(LOOK_EVERY_S):
            with suppress(LaunchError):
                state = queued.state
                elapsed = f" ({time.monotonic() - began:.0f} s)" if sys.stdout.isatty() else ""
                words = {
                    "pending": "waits for an agent",
                    "leased": "the agent fetches the code and builds its environment",
                    "running": "the program runs",
                }
                if state in words:
                    show.status(f"{words[state]}{elapsed}")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield show
    finally:
        is_over.set()
        watcher.join()
        show.end()


def leftovers(home: Path) -> list[str]:
    """Return the processes that still belong to a home; none where there is no /proc."""
    end = time.monotonic() + GONE_WAIT_S
    while (found := list(_processes_of(home))) and time.monotonic() < end:
        time.sleep(LOOK_EVERY_S)
    return found


def _processes_of(home: Path) -> Iterator[str]:
    mark = f"SHIPWAY_HOME={home}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_ours = mark in (folder / "environ").read_bytes().split(b"\0")
            if is_ours and int(folder.name) != os.getpid():
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield f"{folder.name} {command.strip()}"


if __name__ == "__main__":
    sys.exit(main())
