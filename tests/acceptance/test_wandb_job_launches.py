"""A job that was made here, launched by the wandb client and run by wandb's agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from shipway import launch_add
from tests.support.embedded import embedded
from tests.support.shell import shell_of
from tests.support.wandb_agent import a_client, launch_agent
from tests.support.wandb_client import VERSIONS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

TRAIN = """
import sys
import wandb
from deep.helper import double
with wandb.init() as run:
    print("args", sys.argv[1:], "twice", double(run.config["scale"]))
"""


def code(folder: Path) -> Path:
    """Make a program with a module of its own, which is named by a link too."""
    (folder / "deep").mkdir(parents=True)
    (folder / "train.py").write_text(TRAIN)
    (folder / "deep" / "first.py").write_text("def double(x): return 2 * x\n")
    (folder / "deep" / "helper.py").symlink_to("first.py")
    (folder / "requirements.txt").write_text("")
    return folder


@pytest.mark.parametrize("version", VERSIONS)
def test_our_job_runs_under_wandb_s_agent(version: str) -> None:
    """Earns: a job is one thing, whoever made it, launches it and runs it."""
    with embedded() as shipway, shell_of(shipway.env):
        shipway.run("up", "--detach", "--no-agent")
        shipway.run("queue", "create", "local", "--resource", "local-process")
        client = a_client(shipway, version)
        source = code(shipway.root / "code")
        shipway.run(
            "job", "create", "-p", "demo", "-n", "train", "-E", "train.py", "code", str(source)
        )
        with launch_agent(client, "-e", "admin", "-q", "local", "-j", "2") as agent:
            ours = launch_add(
                job="admin/demo/train:latest", queue_name="local",
                config={"overrides": {"args": ["--fast"], "run_config": {"scale": 2}}},
            )  # fmt: skip
            theirs = client.run(
                """
                from wandb.sdk.launch import launch_add
                launch = lambda job, **more: launch_add(
                    job=f"admin/demo/{job}", queue_name="local", project="demo", **more
                )
                overrides = {"run_config": {"scale": 3}, "args": ["--slow"]}
                queued = launch("train:v0", config={"overrides": overrides})
                run = queued.wait_until_finished()
                try:
                    launch("nothing:latest")
                except Exception as error:
                    say(refused=str(error), item=queued.id, state=run.state)
                """
            ).last
            mine = ours.wait_until_finished(timeout=200)
        logs = {
            item: shipway.run("item", "logs", item) for item in (ours.id, theirs["item"])
        }  # fmt: skip
    assert mine.state == theirs["state"] == "finished", agent.said()
    assert "args ['--fast'] twice 4" in logs[ours.id], agent.said()
    assert "args ['--slow'] twice 6" in logs[theirs["item"]], logs
    assert "nothing" in theirs["refused"]
