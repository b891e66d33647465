"""The real agent with the real server, supervisor and programs, on a home of its own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from shipway.client import Client
from tests.support.embedded import Embedded, embedded, until

SLOW = """
echo start >> "$MARKS/$N"
for i in 1 2 3 4 5 6 7 8 9; do echo line $i; sleep 0.1; done
until [ -e "$GO" ]; do sleep 0.05; done
"""


@pytest.fixture
def shipway() -> Iterator[Embedded]:
    with embedded() as made:
        made.configure_agent(queues=["default"], max_jobs=2)
        made.up()
        yield made


@pytest.fixture
def client(shipway: Embedded) -> Client:
    server = shipway.server()
    return Client(server["base_url"], server["api_key"])


def launch(shipway: Embedded, *argv: str, **env: str) -> dict[str, Any]:
    """Launch a command in a capsule of a small folder."""
    folder = shipway.root / "source"
    folder.mkdir(exist_ok=True)
    (folder / "data.txt").write_text("data\n")
    args = json.dumps({"local-process": {"env": env, "grace_s": 1}})
    done = shipway.run("launch", "-u", str(folder), "-E", shlex.join(argv), "-R", args, "--json")
    found: dict[str, Any] = json.loads(done)
    return found


def test_a_killed_agent_finds_its_programs_again(shipway: Embedded, client: Client) -> None:
    marks, go = shipway.root / "marks", shipway.root / "go"
    marks.mkdir()
    ids = [
        launch(shipway, "/bin/sh", "-c", SLOW, MARKS=str(marks), N=str(number), GO=str(go))["id"]
        for number in range(3)
    ]
    until(lambda: len(list(marks.iterdir())) == 2, within_s=20, what="two programs run")
    assert shipway.kill("agent")
    go.touch()
    for item in ids:
        ended = client.items.wait(item, until="ended", timeout_s=25)
        assert ended["state"] == "finished"
        assert ended["attempt"] == 1
    assert [(marks / str(number)).read_text() for number in range(3)] == ["start\n"] * 3
    for item in ids:
        text = shipway.run("item", "logs", item)
        assert text.split() == " ".join(f"line {i}" for i in range(1, 10)).split()


def test_a_stop_ends_a_running_program_and_a_waiting_item(
    shipway: Embedded, client: Client
) -> None:
    running = launch(shipway, "sleep", "100")["id"]
    client.items.wait(running, until="started", timeout_s=25)
    client.items.stop(running)
    assert client.items.wait(running, until="ended", timeout_s=25)["state"] == "stopped"


def test_a_failure_brings_its_code_and_its_last_lines(shipway: Embedded, client: Client) -> None:
    item = launch(shipway, "/bin/sh", "-c", "cat data.txt; echo oh no >&2; exit 7")["id"]
    ended = client.items.wait(item, until="ended", timeout_s=25)
    assert (ended["state"], ended["exit_code"]) == ("failed", 7)
    assert ended["error"]["failure_class"] == "exit"
    assert sorted(ended["error"]["log_tail"]) == ["data", "oh no"]


def test_a_missing_entry_point_fails_before_the_start_gate(
    shipway: Embedded, client: Client
) -> None:
    item = launch(shipway, "no-such-program")["id"]
    ended = client.items.wait(item, until="ended", timeout_s=25)
    assert ended["error"]["stage"] == "source"
    assert ended["started_at"] is None


def test_a_draining_agent_takes_nothing_and_goes_on_when_asked(
    shipway: Embedded, client: Client
) -> None:
    agents = until(client.agents.find, within_s=10, what="the agent has registered")
    agent = agents[0]["id"]
    client.agents.drain(agent)
    item = launch(shipway, "true")["id"]
    assert client.items.wait(item, until="ended", timeout_s=1)["state"] == "pending"
    client.agents.resume(agent)
    assert client.items.wait(item, until="ended", timeout_s=25)["state"] == "finished"
