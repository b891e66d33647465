"""A real training goes on, and is reported whole, while agent and server are killed."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shipway import QueuedRun, launch_add
from shipway.client import Client
from shipway.domain.attempt import LogStream, decode_frames
from tests.support.embedded import Embedded, embedded, until
from tests.support.locked import lock
from tests.support.shell import shell_of

PROGRAM = Path(__file__).parent / "programs" / "training"
KILLS = (("agent",), ("server",), ("agent", "server"), ("server", "agent"), ("agent", "server"))
BUILD_S = 300.0
END_S = 90.0  # from the program's end until all of it is on the server


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(45, id="45s", marks=pytest.mark.slow),
        pytest.param(600, id="10min", marks=pytest.mark.long),
    ],
)
@pytest.mark.timeout(1_200)
def test_a_training_is_reported_whole_through_five_kills(seconds: int) -> None:
    """Earns: I10, I15, I16 with a real program: no byte, step or file is lost, doubled, moved."""
    with embedded() as shipway, shell_of(shipway.env):
        project = shipway.root / "training"
        shutil.copytree(PROGRAM, project)
        assert lock(project) >= 40
        copies = shipway.root / "copies"
        copies.mkdir()
        shipway.up()
        item = launch_add(
            uri=project,
            parameters={"seconds": seconds, "copies": str(copies)},
            resource_args={"local-process": {"env": {"OMP_NUM_THREADS": "1"}}},
        )
        item.wait_until_started(timeout=BUILD_S)
        with followed(item) as followed_lines:
            kill_five_times(shipway, copies, seconds)
            run = item.wait_until_finished(timeout=seconds + END_S)
        lines = [str(line) for line in item.logs()]
        assert (run.state, run.exit_code) == ("finished", 0), lines[-20:]
        assert item.to_json()["attempt"] == 1, "the program was started once"
        assert read_log(shipway, item.id) == {
            LogStream.STDOUT: (copies / "stdout").read_bytes(),
            LogStream.STDERR: (copies / "stderr").read_bytes(),
        }
        assert followed_lines == lines, "a follower saw the same through all kills"
        steps = metrics(copies)
        assert [row["_step"] for row in run.history()] == list(range(len(steps)))
        assert [(row["loss"], row["accuracy"]) for row in run.history()] == [
            (values["loss"], values["accuracy"]) for _, _, values in steps
        ]
        assert run.summary["steps"] == len(steps)
        assert run.summary["accuracy"] > 0.8, "it learned"
        (file,) = run.files()
        digest = (copies / "digest").read_text()
        assert (file.path, file.digest) == ("checkpoints/last.pkl", digest)
        assert hashlib.sha256(file.read()).hexdigest() == digest


def kill_five_times(shipway: Embedded, copies: Path, seconds: float) -> None:
    """Kill evenly over the program's own time."""
    for number, victims in enumerate(KILLS, 1):
        moment = number * seconds / (len(KILLS) + 1)
        until(
            lambda moment=moment: elapsed(copies) >= moment,
            within_s=seconds + BUILD_S,
            what=f"the program is at {moment:.0f} s",
        )
        for victim in victims:
            until(lambda victim=victim: shipway.kill(victim), within_s=30, what=f"a {victim}")


@contextmanager
def followed(item: QueuedRun) -> Iterator[list[str]]:
    """Yield the lines that somebody sees who follows the log; whole after the block."""
    seen: list[str] = []

    def follow() -> None:
        seen.extend(str(line) for line in item.logs(follow=True))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    yield seen
    thread.join(END_S)
    assert not thread.is_alive(), "the follower ends with the item"


def metrics(copies: Path) -> list[tuple[float, int, dict[str, Any]]]:
    """Return what the program logged: seconds since its begin, step, values."""
    path = copies / "metrics"
    text = path.read_text() if path.exists() else ""
    return [tuple(json.loads(line)) for line in text.splitlines(keepends=True) if line[-1] == "\n"]


def elapsed(copies: Path) -> float:
    """Return how long the program has been at it."""
    steps = metrics(copies)
    return steps[-1][0] if steps else 0.0


def read_log(shipway: Embedded, item_id: str) -> dict[LogStream, bytes]:
    """Return each stream's bytes."""
    server = shipway.server()
    client = Client(server["base_url"], server["api_key"], env={})
    data = b""
    while True:
        page = client.items.log(item_id, offset=len(data))
        data += page.data
        if not page.data:
            break
    assert (page.size, page.is_ended) == (len(data), True)
    found: dict[LogStream, bytes] = {}
    for frame in decode_frames(data):
        found[frame.stream] = found.get(frame.stream, b"") + frame.data
    return found
