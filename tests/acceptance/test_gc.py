"""`shipway gc` removes what nobody needs, says so before, and nothing that somebody needs."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.embedded import Embedded, embedded, until

DAY_S = 86_400


@pytest.fixture
def shipway() -> Iterator[Embedded]:
    with embedded() as made:
        made.up()
        yield made


def launch(shipway: Embedded, text: str) -> str:
    source = shipway.root / "source"
    source.mkdir(exist_ok=True)
    (source / "main.sh").write_text(text)
    argv = ("launch", "-u", str(source), "-E", "main.sh", "--json")
    item: str = json.loads(shipway.run(*argv))["id"]
    until(lambda: state(shipway, item) in {"finished", "failed"}, within_s=60, what="its end")
    return item


def state(shipway: Embedded, item: str) -> str:
    found: str = json.loads(shipway.run("item", "show", item, "--json"))["state"]
    return found


def gc(shipway: Embedded, *flags: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shipway.run("gc", "--json", *flags))
    return found


def age(shipway: Embedded) -> None:
    """Let a month pass for all that is stored."""
    month = 30 * DAY_S
    then = time.time() - month
    with closing(sqlite3.connect(shipway.home / "data/shipway.db", timeout=30)) as rows, rows:
        rows.execute("UPDATE items SET deleted_at = deleted_at - ?", (month * 1000,))
        rows.execute("UPDATE blobs SET stored_at = stored_at - ?", (month * 1000,))
    for path in (shipway.home / "data/blobs").rglob("*"):
        if len(path.name) == 64:
            os.utime(path, (then, then))
    for mark in (shipway.home / "agent/attempts").glob("*/failed"):
        os.utime(mark, (then, then))


def files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file() and len(path.name) == 64}


def test_what_nobody_needs_goes_and_the_rest_works(shipway: Embedded) -> None:
    kept = launch(shipway, "echo kept\n")
    gone = launch(shipway, "echo gone\n")
    failed = launch(shipway, "exit 3\n")
    shipway.run("item", "delete", gone)
    assert gc(shipway)["bytes"] == 0  # all of it is young
    age(shipway)
    before = files(shipway.home / "data/blobs")
    told = gc(shipway, "--dry-run")
    assert told["server"]["tombstones"]["count"] == 1
    assert told["agents"][0]["work"]["count"] == 1
    assert files(shipway.home / "data/blobs") == before
    done = gc(shipway)
    assert done["server"]["tombstones"] == told["server"]["tombstones"]
    assert done["agents"] == told["agents"]
    assert done["server"]["blobs"]["count"] >= 3  # a capsule, its file, and the log
    assert len(files(shipway.home / "data/blobs")) == len(before) - done["server"]["blobs"]["count"]
    assert gc(shipway)["bytes"] == 0
    assert shipway.run("item", "logs", kept) == "kept\n"
    assert state(shipway, failed) == "failed"
    again = json.loads(shipway.run("item", "retry", kept, "--json"))["id"]
    until(lambda: state(shipway, again) == "finished", within_s=60, what="the retry")
    anew = launch(shipway, "echo gone\n")
    assert shipway.run("item", "logs", anew) == "gone\n"
    refused = shipway.run("item", "retry", gone, check=False)
    assert refused == ""


def test_nothing_is_said_in_one_line(shipway: Embedded) -> None:
    assert shipway.run("gc", "--dry-run") == "nothing would be removed\n"
    shipway.down()
    assert shipway.run("gc") == "nothing removed\n"


def test_what_a_running_program_uses_stays(shipway: Embedded) -> None:
    shipway.down()
    shipway.configure_agent(queues=["default"], environments_gb=0, sources_gb=0)
    shipway.up()
    source = shipway.root / "source"
    source.mkdir()
    (source / "main.py").write_text("import time\nprint('on', flush=True)\ntime.sleep(300)\n")
    item = json.loads(shipway.run("launch", "-u", str(source), "--json"))["id"]
    until(lambda: state(shipway, item) == "running", within_s=60, what="it runs")
    then = time.time() - DAY_S
    agent = shipway.home / "agent"
    marks = [*agent.glob("envs/envs/*/*/used"), *agent.glob("sources/*/trees/*")]
    assert len(marks) == 2
    for mark in marks:
        os.utime(mark, (then, then))
    gone = gc(shipway)["agents"][0]
    assert gone["environments"]["count"] == 0
    assert gone["sources"]["count"] == 1  # each attempt has a copy of its own
    assert shipway.kill("agent")  # and its successor still knows
    assert gc(shipway)["agents"][0]["environments"]["count"] == 0
    shipway.run("item", "cancel", item)
    until(lambda: state(shipway, item) == "stopped", within_s=60, what="it is stopped")
    until(
        lambda: gc(shipway)["agents"][0]["environments"]["count"] == 1,
        within_s=30,
        what="its environment goes",
    )
