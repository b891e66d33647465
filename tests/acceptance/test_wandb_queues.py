"""Queues, launches and their handles of the unmodified wandb client, and our agent behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.embedded import Embedded, embedded
from tests.support.shell import shell_of
from tests.support.wandb_client import VERSIONS, WandbClient, client_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

HEAD = """
from wandb.sdk.launch import launch_add
api = wandb.Api()
entity = api.default_entity
sizes = {"n": {"schema": {"type": "integer", "minimum": 1, "maximum": 8}}}

def refusal(ask):
    try:
        ask()
    except Exception as error:
        return str(error)
    return None
"""
QUEUES = """
config = {"gpus": "{{n}}", "env": ["N={{n}}", "A=1"]}
made = api.create_run_queue(
    "boxes", "local-container", config=config, template_variables=sizes, prioritization_mode="V0"
)
say(
    id=made.id, type=made.type, access=made.access, mode=made.prioritization_mode,
    config=made.default_resource_config, variables=made.template_variables,
)
api.upsert_run_queue(
    "boxes", config, "local-container", template_variables=sizes, prioritization_mode="V0",
    external_links={"wiki": "https://example.org/boxes"},
)
item = launch_add(
    docker_image="example.test/box:1", project="demo", queue_name="boxes", priority=1,
    template_variables={"n": 2}, resource_args={"local-container": {"shm-size": "1g"}},
)
found = api.run_queue(entity, "boxes")
found.id  # it knows its links only afterwards
say(
    links=found.external_links, items=[one.id for one in found.items], item=item.id,
    state=item.state,
    refusals={
        "twice": refusal(lambda: api.create_run_queue("boxes", "local-process")),
        "variable": refusal(lambda: api.create_run_queue(
            "more", "local-process", template_variables={"n": {"schema": {"type": "bool"}}})),
        "config": refusal(lambda: api.upsert_run_queue("more", {"nope": 1}, "local-process")),
        "entity": refusal(lambda: api.create_run_queue("more", "local-process", entity="nobody")),
        "live items": refusal(found.delete),
    },
)
"""
GONE = """
queue = api.run_queue(entity, "boxes")
queue.items[0].delete()
left = len(api.run_queue(entity, "boxes").items)
queue.delete()
say(left=left, gone=refusal(lambda: api.run_queue(entity, "boxes").id) is not None)
"""
TRAIN = """
import os, sys
import shipway
run = shipway.init()
print("args", sys.argv[1:], "mode", os.environ["MODE"], "own", os.environ["OWN"], run.config["lr"])
"""
LAUNCHES = """
import subprocess
from concurrent.futures import ThreadPoolExecutor

folder = Path("code")
folder.mkdir()
(folder / "train.py").write_text(TRAIN)
(folder / "requirements.txt").write_text("")
create = [sys.executable, "-m", "wandb", "job", "create", "-p", "demo", "-n", "train"]
subprocess.run([*create, "-E", "python train.py", "code", "code"], check=True)
job = f"{entity}/demo/train:latest"
api.upsert_run_queue(
    "default", {"grace_s": "{{n}}", "env": {"MODE": "m{{n}}", "OWN": "queue"}}, "local-process",
    template_variables=sizes,
)
api.create_run_queue("idle", "local-process")  # that no agent serves

def push(**more):
    return launch_add(**{"job": job, "project": "Demo", "template_variables": {"n": 3}, **more})

refusals = {
    "value": refusal(lambda: push(template_variables={"n": 9})),
    "needed": refusal(lambda: push(template_variables=None)),
    "job": refusal(lambda: push(job=f"{entity}/demo/nothing:latest")),
    "spec": refusal(lambda: push(config={"overrides": {"colour": 1}})),
    "queue": refusal(lambda: push(queue_name="nothing")),
    "entity": refusal(lambda: push(entity="nobody")),
    "hidden": refusal(lambda: push(template_variables={"n": 9}, priority=1)),
}
overrides = {"args": ["--fast"], "run_config": {"lr": 0.5}}
items = {
    "good": push(
        name="nice", config={"overrides": overrides}, run_id="chosen",
        resource_args={"local-process": {"env": {"OWN": "mine"}}},
    ),
    "bad": push(entry_point=["python", "nothing.py"]),
    "gone": push(queue_name="idle", template_variables=None),
}
words = [sys.executable, "-m", "wandb", "launch", "-j", job, "-q", "default", "-e", entity]
command = lambda value: subprocess.run(
    [*words, "-p", "demo", "--set-var", f"n={value}", "-P", "low"], capture_output=True, text=True
)
shell = [command(4).returncode, command(9).returncode]
refusals["run id"] = refusal(lambda: push(run_id="chosen"))
first = {name: item.state for name, item in items.items()}
items["gone"].delete()
with ThreadPoolExecutor(3) as pool:
    runs = dict(zip(items, pool.map(lambda item: item.wait_until_finished(), items.values())))
say(
    entity=entity, refusals=refusals, shell=shell, first=first,
    ids={name: item.id for name, item in items.items()},
    states={name: item.state for name, item in items.items()},
    runs={
        name: {
            "id": run.id, "name": run.name, "state": run.state, "config": dict(run.config),
            "reason": (run.summary.get("_shipway") or {}).get("reason"),
        }
        for name, run in runs.items()
    },
)
"""


@pytest.fixture(params=VERSIONS)
def shipway(request: pytest.FixtureRequest) -> Iterator[tuple[Embedded, WandbClient]]:
    """Give an embedded shipway, and a wandb client of its user."""
    with embedded() as made, shell_of(made.env):
        made.up()
        found = made.server()
        yield made, WandbClient(
            python=client_python(str(request.param)), folder=made.root / "wandb",
            base_url=found["base_url"], key=found["api_key"],
        )  # fmt: skip


def shown(embedded_one: Embedded, *argv: str) -> Any:
    """Return what a command prints as JSON."""
    return json.loads(embedded_one.run(*argv, "--json"))


def test_a_queue_of_the_client_is_one_of_ours(shipway: tuple[Embedded, WandbClient]) -> None:
    """Earns: queues are made, changed, used, read back and deleted as in W&B; we show them too."""
    embedded_one, client = shipway
    made, used = client.run(HEAD + QUEUES).said
    queue = shown(embedded_one, "queue", "show", "boxes")
    item = shown(embedded_one, "item", "show", used["item"])
    gone = client.run(HEAD + GONE).last

    args = {"gpus": "{{n}}", "env": {"N": "{{n}}", "A": "1"}}
    config = {"resource_args": {"local-container": args}}
    schema = {"type": "integer", "minimum": 1, "maximum": 8}
    assert (made["type"], made["access"], made["mode"]) == ("local-container", "PROJECT", "V0")
    assert made["config"] == queue["config"] == config
    assert made["variables"] == [
        {"name": "n", "schema": '{"type":"integer","minimum":1,"maximum":8}'}
    ]
    assert queue["template_variables"] == {"n": {"schema": schema}}
    assert (queue["priorities"], queue["on_lost"], queue["max_attempts"]) == (True, "fail", 6)
    assert used["links"] == {"links": [{"label": "wiki", "url": "https://example.org/boxes"}]}
    assert queue["external_links"] == {"wiki": "https://example.org/boxes"}

    assert (used["items"], used["state"]) == ([used["item"]], "pending")
    assert (item["priority"], item["spec"]["template_variables"]) == ("high", {"n": 2})
    assert item["spec"]["resource_args"] == {
        "local-container": {"gpus": 2, "env": {"N": "2", "A": "1"}, "shm_size": "1g"}
    }
    refusals = used["refusals"]
    assert "queue 'boxes' is there already" in refusals["twice"]
    assert "must be one of string, integer, number, not 'bool'" in refusals["variable"]
    assert "has the unknown key 'nope'" in refusals["config"]
    assert "there is no entity 'nobody'" in refusals["entity"]
    assert "has 1 items that have not ended" in refusals["live items"]
    assert gone == {"left": 0, "gone": True}
    names = [one["name"] for one in shown(embedded_one, "queue", "ls")["items"]]
    assert names == ["default"]


def test_what_the_client_launches_ends_its_waits(shipway: tuple[Embedded, WandbClient]) -> None:
    """Earns: each launch runs, fails or is refused with its reason, and no handle hangs."""
    embedded_one, client = shipway
    said = client.run(HEAD + f"TRAIN = {TRAIN!r}\n" + LAUNCHES).last
    runs, ids, refusals = said["runs"], said["ids"], said["refusals"]
    log = embedded_one.run("item", "logs", ids["good"])
    spec = shown(embedded_one, "item", "show", ids["good"])["spec"]
    kept = shown(embedded_one, "item", "ls")["items"]

    assert "args ['--fast'] mode m3 own mine 0.5" in log
    assert (spec["template_variables"], spec["job"]) == (
        {"n": 3},
        f"{said['entity']}/demo/train:v0",
    )
    assert runs["good"] == {
        "id": "chosen", "name": "nice", "state": "finished", "config": {"lr": 0.5}, "reason": None,
    }  # fmt: skip
    assert (runs["bad"]["state"], runs["gone"]["state"]) == ("failed", "failed")
    assert "'nothing.py' does not exist in the source" in runs["bad"]["reason"]
    assert "deleted" in runs["gone"]["reason"]
    assert (said["first"]["gone"], said["states"]) == (
        "pending", {"good": "finished", "bad": "failed", "gone": "failed"},
    )  # fmt: skip

    assert "'n' must be a whole number from 1 to 8, not 9" in refusals["value"]
    assert "needs a value of its template variable 'n'" in refusals["needed"]
    assert f"there is no job '{said['entity']}/demo/nothing:latest'" in refusals["job"]
    assert "config.overrides has the unknown key 'colour'" in refusals["spec"]
    assert "there is no entity 'nobody'" in refusals["entity"]
    assert "run id 'chosen' is used already" in refusals["run id"]
    # the client shows no reason of these: of a queue that is not there, and with a priority
    assert refusals["queue"] == refusals["hidden"] == "Error adding run to queue"
    assert said["shell"] == [0, 1]
    (by_shell,) = [item for item in kept if item["id"] not in ids.values()]
    assert by_shell["priority"] == "low"
    assert by_shell["spec"]["template_variables"] == {"n": 4}
    assert {item["id"] for item in kept} == {ids["good"], ids["bad"], by_shell["id"]}
