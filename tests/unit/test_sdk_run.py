"""What a run shows, and what `Api` finds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from shipway.domain.errors import Code, LaunchError
from shipway.sdk.api import Api
from shipway.sdk.connection import Connection
from shipway.sdk.line import Line
from shipway.sdk.run import Run
from shipway.sdk.settings import Settings

ROWS = [{"_step": i, "_timestamp": i, "loss": 1 / (i + 1)} for i in range(10)]


def a_value(state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "r1", "entity": "ada", "project": "demo", "state": state, "exit_code": None,
        "config": {}, "summary": {}, "name": "title", "item_id": None, "url": "http://x/r1",
    } | more  # fmt: skip


class FakeRuns:
    """Runs as a script has them; the last one stays."""

    def __init__(self, *values: dict[str, Any], rows: list[dict[str, Any]] | None = None) -> None:
        self.values = list(values)
        self.rows = ROWS if rows is None else rows
        self.asked = 0
        self.paths = ["a/b.txt"]

    def get(self, *_: str) -> dict[str, Any]:
        self.asked += 1
        return self.values.pop(0) if len(self.values) > 1 else self.values[0]

    def history(self, *_: str, after: int, limit: int) -> dict[str, Any]:
        page = self.rows[after : after + 4]
        return {"items": page, "next": str(after + 4) if len(page) == 4 else None}

    def console(self, *_: str, after: int) -> dict[str, Any]:
        if after > 5:
            return {"items": [], "next": None}
        row = {"number": after, "stream": 2 if after else 1, "at": 7, "text": f"line {after}"}
        return {"items": [row | {"number": 5 if after else 4}], "next": "5" if not after else None}

    def files(self, *_: str) -> list[dict[str, Any]]:
        return [{"path": path, "size": 5, "digest": "0" * 64, "at": 1} for path in self.paths]

    def file(self, *_: str) -> bytes:
        return b"bytes"

    def find(self, *, cursor: str | None, **_: Any) -> dict[str, Any]:
        page = {"items": [a_value("finished", id=f"r{cursor}")], "next": None}
        return page if cursor else {"items": [a_value("running", id="r0")], "next": "1"}


def a_connection(**nouns: Any) -> Connection:
    client: Any = type("FakeClient", (), nouns)()
    return Connection(client=client, settings=Settings(), home=None)


def a_run(runs: FakeRuns, state: str = "running") -> Run:
    line = Line(a_connection(runs=runs), clock=lambda: 0.0, sleep=lambda _: None)
    return Run(line, a_value(state))


def test_a_live_run_is_asked_for_each_time_and_an_ended_one_is_kept() -> None:
    runs = FakeRuns(a_value("running"), a_value("finished", exit_code=0, summary={"r2": math.nan}))
    run = a_run(runs)
    assert run.state == "running"
    assert run.state == "finished"
    assert run.exit_code == 0
    assert math.isnan(run.summary["r2"])
    assert runs.asked == 2
    assert run.refresh() is run
    assert runs.asked == 3


def test_a_history_is_read_page_by_page() -> None:
    assert a_run(FakeRuns(a_value("finished"))).history() == ROWS


def test_a_history_may_be_of_some_keys() -> None:
    rows = [{"_step": 0, "_timestamp": 0, "a": 1}, {"_step": 1, "_timestamp": 1, "a": 2, "b": 3}]
    run = a_run(FakeRuns(a_value("finished"), rows=rows))
    assert run.history(keys=["b"]) == [{"_step": 1, "_timestamp": 1, "b": 3}]


@pytest.mark.parametrize(("samples", "steps"), [(1, [9]), (2, [0, 9]), (4, [0, 3, 6, 9])])
def test_samples_of_a_history_are_spread_evenly(samples: int, steps: list[int]) -> None:
    found = a_run(FakeRuns(a_value("finished"))).history(samples=samples)
    assert [row["_step"] for row in found] == steps


def test_files_are_read_and_written_below_a_folder(tmp_path: Path) -> None:
    (file,) = a_run(FakeRuns(a_value("finished"))).files()
    assert (file.path, file.size, file.read()) == ("a/b.txt", 5, b"bytes")
    assert file.download(tmp_path).read_bytes() == b"bytes"
    assert (tmp_path / "a" / "b.txt").exists()


def test_a_file_is_never_written_outside_of_the_folder(tmp_path: Path) -> None:
    runs = FakeRuns(a_value("finished"))
    runs.paths = ["../escaped"]
    (file,) = a_run(runs).files()
    with pytest.raises(ValueError, match="outside"):
        file.download(tmp_path / "inner")


def test_the_log_of_a_run_without_an_item_is_its_client_s_console() -> None:
    lines = list(a_run(FakeRuns(a_value("finished"))).logs())
    assert [(line.stream, line.text) for line in lines] == [
        ("stdout", "line 0"),
        ("stderr", "line 5"),
    ]


def test_a_console_is_followed_until_the_run_has_ended() -> None:
    runs = FakeRuns(a_value("running"), a_value("running"), a_value("finished"))
    assert len(list(a_run(runs).logs(follow=True))) == 2
    assert runs.asked == 3


def test_the_api_pages_through_runs() -> None:
    api = Api()
    api._connection = a_connection(runs=FakeRuns())
    assert [run.id for run in api.runs("demo")] == ["r0", "r1"]


@pytest.mark.parametrize("path", ["r1", "demo/r1", "a/b/c/d", "a//b", ""])
def test_a_runs_path_has_three_parts(path: str) -> None:
    with pytest.raises(LaunchError) as caught:
        Api().run(path)
    assert caught.value.code is Code.INVALID


def test_a_queue_is_created_with_the_settings_given() -> None:
    made: list[dict[str, Any]] = []

    class FakeQueues:
        def create(self, queue: dict[str, Any]) -> dict[str, Any]:
            made.append(queue)
            known = {"entity": "ada", "project": "model-registry", "something_new": 1}
            return {**known, **queue}

    api = Api()
    api._connection = a_connection(queues=FakeQueues())
    queue = api.create_queue("gpu", "local-process", priorities=True, on_lost="retry:2")
    assert made == [
        {
            "name": "gpu", "resource": "local-process", "priorities": True, "on_lost": "retry:2",
            "lost_after_s": 900, "max_attempts": 6,
        }
    ]  # fmt: skip
    assert (queue.name, queue.priorities, queue.on_lost) == ("gpu", True, "retry:2")


def test_a_job_is_found_by_its_address() -> None:
    class FakeJobs:
        def get(self, *parts: str) -> dict[str, Any]:
            assert parts == ("ada", "demo", "train", "latest")
            return {
                "entity": "ada", "project": "demo", "name": "train", "version": "v3",
                "kind": "image", "source": {"kind": "image", "image": "x"}, "aliases": ["latest"],
            }  # fmt: skip

    api = Api()
    api._connection = a_connection(jobs=FakeJobs())
    assert api.job("ada/demo/train:latest").address == "ada/demo/train:v3"
