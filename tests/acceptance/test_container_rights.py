"""Who decides what a container gets of a machine: launch, queue and agent's owner, all real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.embedded import Embedded, embedded, until
from tests.support.engines import BASE, ENGINES, an_engine

LOOK = ["-E", "sh -c 'cat /in/a.txt; touch /in/b.txt || echo refused'"]


@pytest.mark.parametrize("name", ENGINES)
def test_a_queue_gives_what_the_owner_allows_and_a_launch_no_more(name: str) -> None:
    """Earns its engine: the whole way from a queue's config to what a program sees."""
    with an_engine(name) as lent, embedded(**lent.env) as shipway:
        shelf = lent.folder / "shelf"
        for folder in ("sets", "more"):
            (shelf / folder).mkdir(parents=True)
            (shelf / folder / "a.txt").write_text("seen\n")
        configure(shipway, engine=lent.program, mounts=[f"{shelf}/sets"])
        shipway.up()

        assert "which queue 'default' does not give" in refused(shipway, volume=f"{shelf}/sets:/in")
        give(shipway, volume=f"{shelf}/sets:/in:ro")
        item = launch(shipway)
        assert ended(shipway, item)["state"] == "finished"
        assert shipway.run("item", "logs", item).splitlines()[-2:] == ["seen", "refused"]
        assert "to be written to" in refused(shipway, volume=f"{shelf}/sets:/in")
        assert "privileged is not allowed" in refused(shipway, privileged=True)

        give(shipway, volume=f"{shelf}/more:/in:ro")
        gone = ended(shipway, launch(shipway))
        assert f"the mount of {shelf}/more is not allowed on this agent" in gone["error"]["reason"]
        assert lent.containers() == []
        shipway.run("down", "--stop")

        configure(shipway, engine="/nowhere/docker")
        shipway.up()
        item = launch(shipway)
        until(lambda: "can run an image" in explained(shipway, item), within_s=30, what="explain")
        said = explained(shipway, item)
        assert said.startswith("No live agent of queue 'default' can run an image: agent ")
        assert "engine '/nowhere/docker' is none" in said
        shipway.run("item", "cancel", item)


def configure(shipway: Embedded, **container: Any) -> None:
    shipway.configure_agent(max_jobs=2)
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in container.items()]
    with (shipway.home / "agent.toml").open("a") as file:
        file.writelines(["[container]\n", *lines])


def give(shipway: Embedded, **args: Any) -> None:
    """Let the queue `default` give its containers this."""
    file = shipway.root / "config.json"
    file.write_text(json.dumps({"resource_args": {"local-container": args}}))
    shipway.run("queue", "update", "default", "--config", str(file))


def launch(shipway: Embedded) -> str:
    found: str = json.loads(shipway.run("launch", "-d", BASE, *LOOK, "--json"))["id"]
    return found


def refused(shipway: Embedded, **args: Any) -> str:
    """Return what is said of a launch that asks for arguments of its own."""
    file = Path(shipway.root / "args.json")
    file.write_text(json.dumps({"local-container": args}))
    done = subprocess.run(
        [sys.executable, "-m", "shipway", "launch", "-d", BASE, "-R", str(file)],
        env=shipway.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (1, 2), done.stdout
    return done.stderr


def ended(shipway: Embedded, item: str) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(shipway.run("item", "show", item, "--json"))
        return found

    until(lambda: look()["state"] in ("finished", "failed"), within_s=60, what="the item's end")
    return look()


def explained(shipway: Embedded, item: str) -> str:
    found: str = json.loads(shipway.run("item", "explain", item, "--json"))["sentence"]
    return found
