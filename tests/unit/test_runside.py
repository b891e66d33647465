"""The `shipway` that a program inside a run sees."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipway import runside
from shipway.runside import run as run_module
from shipway.runside.records import LINE_LIMIT
from shipway.runside.run import Run


class Inside:
    """A run whose records lie in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "config.json").write_text('{"lr": 0.1, "epochs": 3}')
        self.environ = {
            "SHIPWAY_RECORDS": str(folder / "records.jsonl"),
            "SHIPWAY_FILES": str(folder / "files"),
            "SHIPWAY_CONFIG": str(folder / "config.json"),
            "SHIPWAY_RUN_ID": "abc",
            "SHIPWAY_RUN_NAME": "first",
            "SHIPWAY_ENTITY": "me",
            "SHIPWAY_PROJECT": "p",
            "SHIPWAY_BASE_URL": "http://server.invalid/",
        }
        self.run = Run(self.environ)

    def records(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.folder / "records.jsonl").read_text().splitlines()
        return [record for line in lines if (record := json.loads(line))["kind"] == kind]

    def rows(self) -> list[tuple[int, dict[str, Any]]]:
        return [(one["step"], one["values"]) for one in self.records("history")]


@pytest.fixture
def inside(tmp_path: Path) -> Inside:
    return Inside(tmp_path)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("SHIPWAY_")]:
        monkeypatch.delenv(name)
    before, run_module._current[:] = list(run_module._current), []
    try:
        yield
    finally:
        run_module._current[:] = before


class Scalar:
    """Looks as a scalar of an array library does."""

    def __init__(self, value: object, size: int = 1) -> None:
        self.value, self.size, self.dtype = value, size, "float32"

    def item(self) -> object:
        return self.value

    def tolist(self) -> list[object]:
        return [self.value]


def test_a_run_knows_who_it_is(inside: Inside) -> None:
    run = inside.run
    assert (run.id, run.name, run.entity, run.project) == ("abc", "first", "me", "p")
    assert run.url == "http://server.invalid/me/p/runs/abc"


def test_config_is_what_it_was_launched_with_and_what_is_set(inside: Inside) -> None:
    config = inside.run.config
    assert dict(config) == {"lr": 0.1, "epochs": 3}
    config["lr"] = 0.2
    config.update({"batch": 8}, seed=1)
    assert dict(config) == {"lr": 0.2, "epochs": 3, "batch": 8, "seed": 1}
    assert [one["values"] for one in inside.records("config")] == [
        {"lr": 0.2},
        {"batch": 8, "seed": 1},
    ]


def test_steps_count_up_or_are_given(inside: Inside) -> None:
    for step in (None, None, 5, 5, None):
        inside.run.log({"a": 1}, step=step)
    assert [step for step, _ in inside.rows()] == [0, 1, 5, 5, 6]


@pytest.mark.parametrize(("step", "error"), [(3, ValueError), (True, TypeError), (1.5, TypeError)])
def test_a_step_that_is_none_is_refused(inside: Inside, step: Any, error: type[Exception]) -> None:
    inside.run.log({"a": 1}, step=4)
    with pytest.raises(error, match=r"step"):
        inside.run.log({"a": 2}, step=step)
    assert inside.rows() == [(4, {"a": 1})]


def test_all_json_values_and_scalars_can_be_logged(inside: Inside) -> None:
    values = {
        "i": 1,
        "f": 0.5,
        "b": True,
        "s": "ü\ud800\n",
        "n": None,
        "l": [1, (2.5, {"x": "y"})],
        "z": Scalar(1.25),
        "big": 2**70,
    }
    inside.run.log(values)
    expected = {**values, "l": [1, [2.5, {"x": "y"}]], "z": 1.25}
    assert inside.rows() == [(0, expected)]


def test_what_is_no_number_is_kept(inside: Inside) -> None:
    inside.run.log({"nan": math.nan, "up": math.inf, "down": Scalar(-math.inf)})
    (_, row) = inside.rows()[0]
    assert math.isnan(row["nan"])
    assert (row["up"], row["down"]) == (math.inf, -math.inf)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "'k' is object"),
        (b"x", "'k' is bytes"),
        ({"a": [0, {1, 2}]}, r"'k.a\[1\]' is set"),
        (Scalar([1, 2], size=2), r"Scalar.*\.tolist\(\)"),
        (Scalar(1j), "Scalar"),
        ({1: 2}, "names are text"),
    ],
)
def test_anything_else_is_named_with_its_type(inside: Inside, value: object, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        inside.run.log({"fine": 1, "k": value})
    assert not (inside.folder / "records.jsonl").exists()
    assert dict(inside.run.summary) == {}


def test_a_loop_of_lists_is_refused(inside: Inside) -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="deeper"):
        inside.run.log({"k": loop})


def test_a_record_that_cannot_be_sent_is_refused(inside: Inside) -> None:
    with pytest.raises(ValueError, match="save it as a file"):
        inside.run.log({"k": "x" * LINE_LIMIT})
    inside.run.log({"k": 1})
    assert inside.rows() == [(0, {"k": 1})]


def test_the_summary_holds_what_was_logged_last_and_what_was_set(inside: Inside) -> None:
    inside.run.log({"loss": 3.0, "acc": 0.1})
    inside.run.log({"loss": 2.0})
    inside.run.summary["best"] = Scalar(0.9)
    assert dict(inside.run.summary) == {"loss": 2.0, "acc": 0.1, "best": 0.9}
    inside.run.finish()
    inside.run.finish()
    merged: dict[str, Any] = {}
    for one in inside.records("summary"):
        merged |= one["values"]
    assert merged == {"loss": 2.0, "acc": 0.1, "best": 0.9}


def test_what_is_set_after_it_was_logged_stays(inside: Inside) -> None:
    inside.run.log({"loss": 3.0})
    inside.run.log({"loss": 2.0})
    inside.run.summary["loss"] = 1.0
    inside.run.finish()
    assert inside.records("summary")[-1]["values"] == {"loss": 1.0}


def test_a_finished_run_takes_no_more(inside: Inside) -> None:
    with inside.run as run:
        run.log({"a": 1})
    with pytest.raises(RuntimeError, match="finished"):
        run.log({"a": 2})


def test_saved_files_are_copies_under_their_own_names(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = inside.folder / "work"
    (work / "ckpt").mkdir(parents=True)
    (work / "ckpt/a.pt").write_text("one")
    elsewhere = inside.folder / "elsewhere.txt"
    elsewhere.write_text("else")
    monkeypatch.chdir(work)
    assert inside.run.save("ckpt/a.pt") == ["ckpt/a.pt"]
    (work / "ckpt/a.pt").write_text("two")
    assert inside.run.save(Path("./ckpt")) == ["ckpt/a.pt"]
    assert inside.run.save(work / "ckpt/a.pt") == ["ckpt/a.pt"]
    assert inside.run.save(elsewhere) == ["elsewhere.txt"]
    lines = inside.records("file")
    texts = [(inside.folder / "files" / one["stored"]).read_text() for one in lines]
    assert texts == ["one", "two", "two", "else"]
    assert len({one["stored"] for one in lines}) == 4


def test_a_file_that_cannot_be_saved_leaves_nothing(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inside.folder)
    with pytest.raises(ValueError, match=r"'\.\.'"):
        inside.run.save("../secret")
    with pytest.raises(FileNotFoundError):
        inside.run.save("missing.pt")
    assert not (inside.folder / "records.jsonl").exists()
    assert list((inside.folder / "files").iterdir()) == []


def test_threads_write_whole_lines_and_every_step_once(inside: Inside) -> None:
    def work() -> None:
        for number in range(200):
            inside.run.log({"n": number, "text": "x" * 500})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [step for step, _ in inside.rows()] == list(range(800))


def test_a_full_disk_is_said_and_leaves_no_half_line(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.run.log({"a": 1})
    write = os.write
    calls: list[int] = []

    def full(file: int, data: bytes) -> int:
        calls.append(1)
        if len(calls) == 1:
            return write(file, data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            inside.run.log({"a": 2})
    inside.run.log({"a": 3})
    assert inside.rows() == [(0, {"a": 1}), (1, {"a": 3})]


@pytest.mark.usefixtures("fresh")
def test_outside_of_a_launch_everything_works_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = runside.init()
    assert runside.init() is run
    run.config["lr"] = 1
    run.log({"loss": 1.0})
    (tmp_path / "a.txt").write_text("")
    assert run.save("a.txt") == ["a.txt"]
    assert (dict(run.config), dict(run.summary)) == ({"lr": 1}, {"loss": 1.0})
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("not started by a launch") == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


@pytest.mark.usefixtures("fresh")
def test_init_after_finish_goes_on_with_the_same_run(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in inside.environ.items():
        monkeypatch.setenv(name, value)
    run = runside.init()
    run.log({"a": 1})
    run.finish()
    assert runside.init() is run
    run.log({"a": 2})
    assert inside.rows() == [(0, {"a": 1}), (1, {"a": 2})]
