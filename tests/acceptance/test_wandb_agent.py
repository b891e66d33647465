"""wandb's own launch agents on our queues, alone and beside ours, killed and stopped."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from shipway import QueuedRun, launch_add
from tests.support.embedded import Embedded, embedded, until
from tests.support.shell import shell_of
from tests.support.wandb_agent import a_client, launch_agent, make_job
from tests.support.wandb_client import VERSION, VERSIONS, WandbClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

TRAIN = """
import os, signal, sys, time
what = sys.argv[1]
if what == "silent":
    print("nothing to track")
    sys.exit(0)
import wandb
run = wandb.init()
print("args", sys.argv[1:])
for step in range(3):
    run.log({"step": step})
if what == "fails":
    sys.exit(3)
if what == "waits" and not run.resumed:
    print("begun", flush=True)
    time.sleep(float(sys.argv[2]))
"""

EITHER = """
import sys, time
from pathlib import Path
with (Path(sys.argv[1]) / sys.argv[2]).open("a") as ran:
    ran.write(sys.argv[0] + "\\n")
try:
    import wandb
except ImportError:
    wandb = None
if wandb is not None:
    wandb.init()
time.sleep(2)
"""

LEASES = """
from wandb.apis.internal import Api
from wandb.errors import CommError
api = Api()
entity, project = api.default_entity, "model-registry"
made = api.create_launch_agent(entity, project, ["fragile"], {}, "wandb@0.20.1", True)
def pop():
    return api.pop_from_run_queue("fragile", entity, project, made["launchAgentId"])
first, second = pop(), pop()
assert api.ack_run_queue_item(second["runQueueItemId"], second["runSpec"]["run_id"])
try:
    api.ack_run_queue_item(second["runQueueItemId"], second["runSpec"]["run_id"])
except CommError as error:
    again = str(error)
warned = api.update_run_queue_item_warning(second["runQueueItemId"], "no node fits", "Kubernetes")
failed = api.fail_run_queue_item(second["runQueueItemId"], "no such job", "agent", ["x/error.log"])
late = api.fail_run_queue_item(second["runQueueItemId"], "once more", "agent")
say(first=first, again=again, warned=warned, failed=failed, late=late)
"""


@pytest.fixture
def shipway() -> Iterator[Embedded]:
    """Give an embedded shipway without an agent, its user's shell, and a queue."""
    with embedded() as made, shell_of(made.env):
        made.run("up", "--detach", "--no-agent")
        made.run("queue", "create", "local", "--resource", "local-process")
        yield made


def launch(what: str, *args: str, queue: str = "local", job: str = "train") -> QueuedRun:
    """Launch the job."""
    overrides = {"overrides": {"args": [what, *args]}}
    return launch_add(job=f"admin/demo/{job}:latest", queue_name=queue, config=overrides)


def began(item: QueuedRun) -> bool:
    """Tell whether an item's program has called `wandb.init`."""
    run = item.run
    return run is not None and run.state == "running"


@pytest.mark.parametrize("version", VERSIONS)
def test_wandb_s_agent_sees_jobs_through(shipway: Embedded, version: str) -> None:
    """Earns: the unmodified agent on our queues: success, failures of each kind, stops."""
    client = a_client(shipway, version)
    make_job(client, TRAIN)
    with launch_agent(client, "-e", "admin", "-q", "local", "-j", "6") as agent:
        good = launch("a b'c", "--x")
        fails, stops = launch("fails"), launch("waits", "300")
        capsule = launch_add(
            uri=str(client.folder / "code-train"), entry_point=["train.py"], queue_name="local"
        )
        until(lambda: began(stops), within_s=180, what="it runs")
        listed = agents(shipway)
        stops.cancel()
        ends = {item.id: item.wait_until_finished(timeout=200) for item in (good, fails, stops)}
        why = str(capsule.explain())
        shipway.run("agents", "stop", listed[0]["id"])
        assert agent.process.wait(timeout=60) == 0, agent.said()

    assert [ends[item.id].state for item in (good, fails, stops)] == [
        "finished", "failed", "stopped",
    ], agent.said()  # fmt: skip
    assert (ends[good.id].exit_code, ends[fails.id].exit_code) == (0, 3)
    assert ends[good.id].summary["step"] == 2
    assert "args [\"a b'c\", '--x']" in [line.text for line in good.logs()]
    assert "run jobs and images alone" in why
    assert (listed[0]["version"], listed[0]["state"]) == (f"wandb@{version}", "active")
    assert listed[0]["used_slots"] >= 1
    gone = json.loads(shipway.run("agents", "show", listed[0]["id"], "--json"))
    assert gone["state"] == "gone"
    runs = shipway.run("run", "ls", "--json")
    assert listed[0]["id"] not in runs
    assert listed[0]["id"] in shipway.run("run", "show", f"admin/model-registry/{listed[0]['id']}")


def test_agents_of_both_kinds_share_a_queue(shipway: Embedded) -> None:
    """Earns: each item runs once, whoever takes it, and both kinds take some."""
    client = a_client(shipway, VERSION)
    make_job(client, EITHER, name="either")
    ran = shipway.root / "ran"
    ran.mkdir()
    shipway.run("down")
    shipway.configure_agent(queues=["local"], max_jobs=1)
    shipway.up()
    client = a_client(shipway, VERSION)
    with launch_agent(client, "-e", "admin", "-q", "local", "-j", "2") as agent:
        items = [launch(str(ran), f"n{n}", job="either") for n in range(6)]
        ends = [item.wait_until_finished(timeout=200) for item in items]
    took = {agent_of(item) for item in items}
    assert [end.state for end in ends] == ["finished"] * 6, agent.said()
    counts = {file.name: len(file.read_text().splitlines()) for file in ran.iterdir()}
    assert counts == {f"n{n}": 1 for n in range(6)}
    assert len(took) == 2, took


def test_an_agent_s_death_costs_no_item(shipway: Embedded) -> None:
    """Earns: killed before the ack, after it, and with its program: each goes on by the rule.

    Meanwhile another one sees to a program that never calls `wandb.init`: both take a minute.
    """
    client = a_client(shipway, VERSION)
    make_job(client, TRAIN)
    with launch_agent(client, "-e", "admin", "-q", "local", name="patient"):
        silent = launch("silent")
        check_deaths(shipway, client)
        silent.wait_until_finished(timeout=100)
        (patient,) = (one for one in agents(shipway) if one["queues"] == ["local"])
        path, saved = f"admin/model-registry/{patient['id']}", f"{silent.id}.1/error/error.log"
        until(lambda: saved in shipway.run("run", "files", path), within_s=60, what="it is saved")
    error = silent.error
    assert error is not None
    assert (error.stage, saved in error.reason) == ("run", True)
    assert "failed to call wandb.init" in error.reason
    shipway.run("run", "files", path, "--get", str(shipway.root / "saved"))
    assert "nothing to track" in (shipway.root / "saved" / saved).read_text()


def check_deaths(shipway: Embedded, client: WandbClient) -> None:
    """Let agents die; see what becomes of what they held."""
    rule = ("--on-lost", "retry:1", "--lost-after", "30")
    shipway.run("queue", "create", "fragile", "--resource", "local-process", *rule)
    unacked, failed = (launch("waits", "0", queue="fragile") for _ in range(2))
    said = client.run(LEASES).last
    goes_on, dies = launch("waits", "8", queue="fragile"), launch("waits", "600", queue="fragile")
    serve = ("-e", "admin", "-q", "fragile", "-j", "3")
    with launch_agent(client, *serve, name="one") as agent:
        until(lambda: began(goes_on) and began(dies), within_s=180, what="both run")
        agent.kill()
        for pid in agent.started(dies.run_id):
            os.kill(pid, signal.SIGKILL)
        assert goes_on.wait_until_finished(timeout=100).state == "finished", agent.said()
        until(lambda: dies.state == "pending", within_s=180, what="it waits again")
        until(lambda: unacked.state == "pending", within_s=180, what="it waits again")
    with launch_agent(client, *serve, name="two") as agent:
        ends = [item.wait_until_finished(timeout=100) for item in (unacked, dies)]
        assert [end.state for end in ends] == ["finished", "finished"], agent.said()

    assert said["first"]["runQueueItemId"] == f"{unacked.id}.1"
    assert "already been acknowledged" in said["again"]
    assert (said["warned"], said["failed"], said["late"]) == (True, True, False)
    error = failed.error
    assert error is not None
    assert error.reason.startswith("no such job")
    assert "x/error.log" in error.reason
    events = shipway.run("item", "show", failed.id)
    assert "no node fits" in events
    again = json.loads(shipway.run("item", "show", dies.id, "--json"))
    assert again["attempt"] == 2


def agents(shipway: Embedded) -> list[dict[str, Any]]:
    """Return all agents."""
    found: list[dict[str, Any]] = json.loads(shipway.run("agents", "ls", "--json"))["items"]
    return found


def agent_of(item: QueuedRun) -> str:
    """Return the agent that an item was leased to last."""
    return next(event.actor for event in reversed(item.events()) if event.event == "lease")
