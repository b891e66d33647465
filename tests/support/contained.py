"""A stage for the local-container runner on an engine of the tests' own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shipway.domain.attempt import Ending, LogStream, decode_frames
from shipway.plugins.runner import Container, RunnerContext, RunRequest, RunStatus
from shipway.runners.local_container import LocalContainerRunner
from shipway.runners.local_machine import boot_ms
from tests.support.engines import BASE, TestEngine

LIMIT_S = 60.0
LOOK_S = 0.02


class Stage:
    """A runner with its folders, and the engine below it."""

    def __init__(self, root: Path, lent: TestEngine, *, slots: int = 8) -> None:
        self.root = root
        self.lent = lent
        self.slots = slots
        self.runner = LocalContainerRunner()
        self.count = 0
        self.agent = f"agent-{root.name}-{time.monotonic_ns()}"
        (root / "key").write_text("sw_test")

    def open(self, *given: str) -> list[RunStatus]:
        """Open the runner, or a new one as the next agent does."""
        self.runner = LocalContainerRunner()
        return self.runner.open(
            RunnerContext(
                home=self.root / "local-container",
                attempts=self.root / "attempts",
                agent=self.agent,
                slots=self.slots,
                base_url="http://127.0.0.1:1",
                key_file=self.root / "key",
                notify=lambda _: None,
                given=frozenset(given),
                env=self.lent.env,
            )
        )

    def start(self, *args: str, image: str = BASE, lease_s: float = 60.0, **changes: Any) -> str:
        """Start a container; it has no network."""
        self.count += 1
        item = f"{self.root.name}{self.count}"
        folder = self.root / "attempts" / f"{item}.1"
        folder.mkdir(parents=True)
        container = Container(image=image, args=args, **changes.pop("container", {}))
        values: dict[str, Any] = {
            "item": item,
            "attempt": 1,
            "token": f"token-{self.count}",
            "argv": (),
            "env": {},
            "cwd": folder,
            "folder": folder,
            "deadline": boot_ms() + int(lease_s * 1000),
            "grace_s": 5.0,
            "run_limit_s": None,
            "log_cap": 1 << 30,
            "container": container,
        }
        asked = {"network": "none", **changes.pop("args", {})}
        return self.runner.start(RunRequest(**{**values, **changes}, args=asked))

    def ended(self, handle: str, *, limit_s: float = LIMIT_S) -> Ending:
        """Wait for its end."""
        self.until(lambda: self._ending(handle) is not None, limit_s=limit_s)
        found = self._ending(handle)
        assert found is not None
        return found

    def _ending(self, handle: str) -> Ending | None:
        status = self.runner.status(handle)
        return None if status is None else status.ending

    def out(self, handle: str, stream: LogStream = LogStream.STDOUT) -> bytes:
        """Return what it has printed so far on one stream."""
        data = b""
        while piece := self.runner.log(handle, len(data), 1 << 20):
            data += piece
        return b"".join(frame.data for frame in decode_frames(data) if frame.stream == stream)

    def until(self, is_so: Callable[[], bool], *, limit_s: float = LIMIT_S) -> None:
        """Wait until something is so."""
        end = time.monotonic() + limit_s
        while not is_so():
            assert time.monotonic() < end
            time.sleep(LOOK_S)

    def running(self) -> list[str]:
        """Return the names of the containers that are not ended."""
        return self.lent.engine.run("ps", "--format", "{{.Names}}").decode().split()

    def close(self) -> None:
        """Stop all that runs, and let go."""
        for status in self.runner._inner.known if self.runner._inner is not None else []:
            with suppress(Exception):
                self.runner.stop(status.handle, grace_s=0, cause="stop")
                self.ended(status.handle, limit_s=40)
                self.runner.forget(status.handle)
        self.runner.close()


@contextmanager
def staged(root: Path, lent: TestEngine) -> Iterator[Stage]:
    """Lend a stage that is open, and prove that no container is left of it."""
    stage = Stage(root, lent)
    stage.open()
    try:
        yield stage
    finally:
        stage.close()
        stage.until(lambda: lent.containers() == [])
