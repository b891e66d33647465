"""The public interface as a type checker sees it; mypy and pyright read this, nothing runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

from shipway import Api, LaunchError, QueuedRun, Run, launch, launch_add
from shipway.domain.errors import Code
from shipway.domain.item import Failure
from shipway.domain.log_lines import LogLine
from shipway.sdk.event import Event
from shipway.sdk.explanation import Explanation
from shipway.sdk.job import Job
from shipway.sdk.queue import Agent, Queue
from shipway.sdk.run import File


def launches() -> None:
    """Launch from a directory, by place and by name."""
    queued = launch_add(
        "https://git.example/ada/train",
        config={"lr": 0.1},
        priority="high",
        parameters={"alpha": 0.5},
        include=["data.csv", Path("notes.md")],
    )
    assert_type(queued, QueuedRun)
    assert_type(launch(Path(), entry_point=["train.py"], priority=0), Run)
    launch_add(5)  # type: ignore[arg-type]  # a uri is text or a path
    launch_add(uri=".", parameter={})  # type: ignore[call-arg]  # it is `parameters`


def waits(queued: QueuedRun) -> None:
    """Wait for a run and look at it."""
    assert_type(queued.wait_until_started(timeout=5), Run)
    assert_type(queued.wait_until_running(), Run)
    run = queued.wait_until_finished(timeout=None)
    assert_type(run, Run)
    assert_type(queued.run, Run | None)
    assert_type(queued.error, Failure | None)
    assert_type(queued.explain(), Explanation)
    assert_type(queued.events(), list[Event])
    assert_type(queued.logs(follow=True), Iterator[LogLine])
    assert_type(queued.retry(), QueuedRun)
    assert_type(run.exit_code, int | None)
    assert_type(run.config, dict[str, Any])
    assert_type(run.history(keys=["loss"], samples=10), list[dict[str, Any]])
    assert_type(run.files(), list[File])
    assert_type(run.logs(), Iterator[LogLine])


def looks() -> None:
    """Look at a server."""
    api = Api(base_url="https://ship.example", api_key="sw_x")
    assert_type(api.item("i"), QueuedRun)
    assert_type(api.items(queue="default", state="pending"), Iterator[QueuedRun])
    assert_type(api.queue("default"), Queue)
    assert_type(api.queues(), list[Queue])
    assert_type(api.create_queue("gpu", "local-process", priorities=True), Queue)
    assert_type(api.run("ada/demo/r1"), Run)
    assert_type(api.runs("demo"), Iterator[Run])
    assert_type(api.job("ada/demo/train:latest"), Job)
    assert_type(api.agents(), list[Agent])


def fails(error: LaunchError) -> None:
    """Read an error."""
    assert_type(error.code, Code)
    assert_type(error.stage, str | None)
    assert_type(error.log_tail, list[str])
