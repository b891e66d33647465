"""Notebooks as programs: their output is the log, their executed copy a file of the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shipway import launch_add
from tests.support.embedded import embedded, until
from tests.support.shell import shell_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

FIRST = """
import sys, time
import shipway
run = shipway.init()
print("args", sys.argv[1:], "scale", run.config["scale"])
print("to stderr", file=sys.stderr)
"""
SECOND = """
from helper import double
run.log({"loss": double(run.config["scale"])})
run.summary["done"] = True
double(21)
"""
LAST = """
mode = run.config["mode"]
if mode == "fail":
    raise ValueError("no such luck")
if mode == "exit":
    sys.exit(3)
print("waits", flush=True)
time.sleep(300 if mode == "wait" else 0)
"""


def notebook(*cells: str) -> str:
    """Return a notebook as its author's editor writes it."""
    made = [
        {"cell_type": "code", "metadata": {}, "source": cell.strip(), "outputs": [],
         "execution_count": None, "id": f"cell-{number}"}
        for number, cell in enumerate(cells)
    ]  # fmt: skip
    kernel = {"name": "authors-own", "language": "python", "display_name": "Author's own"}
    return json.dumps(
        {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    )


def test_a_notebook_runs_in_its_own_environment_and_keeps_its_outputs() -> None:
    """Earns: what was explored in a notebook is launched as it is."""
    with embedded() as shipway, shell_of(shipway.env):
        source = shipway.root / "study"
        (source / "deep").mkdir(parents=True)
        (source / "deep" / "train.ipynb").write_text(notebook(FIRST, SECOND, LAST))
        (source / "deep" / "helper.py").write_text("def double(x): return 2 * x\n")
        (source / "requirements.txt").write_text("nbconvert\nipykernel\n")
        shipway.up()
        items = {
            mode: launch_add(
                uri=source, project="demo", entry_point=["deep/train.ipynb"],
                parameters={"scale": 4, "mode": mode},
                config={"overrides": {"args": ["--a", "b c"]}},
            )
            for mode in ("run", "fail", "exit", "wait")
        }  # fmt: skip
        waiting = items.pop("wait")
        ends = {mode: item.wait_until_finished(timeout=300) for mode, item in items.items()}
        logs = {mode: [str(line) for line in item.logs()] for mode, item in items.items()}
        assert {mode: (run.state, run.exit_code) for mode, run in ends.items()} == {
            "run": ("finished", 0), "fail": ("failed", 1), "exit": ("failed", 3),
        }, logs  # fmt: skip
        assert logs["run"][0] == ("args ['--a', 'b c', '--scale', '4', '--mode', 'run'] scale 4")
        assert {"to stderr", "42", "waits"} <= set(logs["run"])
        assert any("no such luck" in line for line in logs["fail"])
        assert [row["loss"] for row in ends["run"].history()] == [8]
        for mode, run in ends.items():
            kept = next(file for file in run.files() if file.path == "deep/train.ipynb")
            executed = json.loads((kept.download(shipway.root / mode)).read_bytes())
            outputs = [cell["outputs"] for cell in executed["cells"]]
            assert outputs[1][0]["data"]["text/plain"] == ["42"], mode
        until(
            lambda: any("waits" in str(line) for line in waiting.logs()),
            within_s=60, what="the last cell waits, and the log says so while it does",
        )  # fmt: skip
        waiting.cancel()
        run = waiting.wait_until_finished(timeout=60)
        assert run.state == "stopped"
        assert "deep/train.ipynb" in {file.path for file in run.files()}


def test_an_environment_without_a_kernel_is_told(tmp_path: Path) -> None:
    """Earns: the person learns which two packages are missing."""
    with embedded() as shipway, shell_of(shipway.env):
        source = tmp_path / "bare"
        source.mkdir()
        (source / "study.ipynb").write_text(notebook("1"))
        shipway.up()
        item = launch_add(uri=source, project="demo", entry_point=["study.ipynb"])
        run = item.wait_until_finished(timeout=120)
        assert (run.state, run.exit_code) == ("failed", 2)
        assert any("add nbconvert and ipykernel" in str(line) for line in item.logs())
