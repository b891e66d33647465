"""Jobs that the unmodified wandb client makes: listed, described, run by our agent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipway import launch_add
from shipway.domain.errors import ShipwayError
from tests.support.embedded import Embedded, embedded
from tests.support.shell import shell_of
from tests.support.wandb_client import VERSION, VERSIONS, WandbClient, client_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

TRAIN = """
import json, sys
import shipway
from deep.helper import double
run = shipway.init()
print("args", sys.argv[1:], "twice", double(run.config["scale"]))
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


def wandb(client: WandbClient, *argv: str) -> str:
    """Run the client's command line; return all that it said."""
    client.folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [str(client.python), "-m", "wandb", *argv], env=client.env(), cwd=client.folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def code(folder: Path) -> Path:
    """Make a program with a module of its own."""
    (folder / "deep").mkdir(parents=True)
    (folder / "train.py").write_text(TRAIN)
    (folder / "deep" / "helper.py").write_text("def double(x): return 2 * x\n")
    (folder / "requirements.txt").write_text("")
    return folder


def test_a_code_job_of_wandb_runs_under_our_agent(shipway: tuple[Embedded, WandbClient]) -> None:
    """Earns: jobs that a team has in wandb go on here, `latest` and older versions."""
    embedded_one, client = shipway
    source = code(embedded_one.root / "code")
    create = ("job", "create", "-p", "demo", "-n", "train", "-E", "python train.py", "code")
    made = wandb(client, *create, str(source))
    (source / "deep" / "helper.py").write_text("def double(x): return 2.5 * x\n")
    again = wandb(client, *create, str(source))

    entity = client.run("say(entity=wandb.Api().default_entity)").last["entity"]
    listed = wandb(client, "job", "list", "-p", "demo", "-e", entity)
    told = wandb(client, "job", "describe", f"{entity}/demo/train:latest")
    runs = {
        alias: launch_add(
            job=f"{entity}/demo/train:{alias}", parameters={"scale": 2},
            config={"overrides": {"args": ["--fast"]}},
        )
        for alias in ("v0", "latest")
    }  # fmt: skip
    ends = {alias: item.wait_until_finished(timeout=200) for alias, item in runs.items()}
    logs = {alias: "\n".join(map(str, item.logs())) for alias, item in runs.items()}

    assert "train" in listed, listed
    assert "train.py" in told, told
    assert "v0" in made + again, made + again
    assert {alias: run.state for alias, run in ends.items()} == {
        "v0": "finished", "latest": "finished",
    }, logs  # fmt: skip
    assert "args ['--fast', '--scale', '2'] twice 4\n" in logs["v0"] + "\n"
    assert "args ['--fast', '--scale', '2'] twice 5.0" in logs["latest"]
    shown = embedded_one.run("job", "ls", "--project", "demo")
    assert "train" in shown


def test_a_job_of_ours_is_one_of_the_client_s(shipway: tuple[Embedded, WandbClient]) -> None:
    """Earns: either side adds versions to one name, and either reads what the other made."""
    embedded_one, client = shipway
    source = code(embedded_one.root / "code")
    (source / "again.py").symlink_to("train.py")
    entity = client.run("say(entity=wandb.Api().default_entity)").last["entity"]
    create = ("job", "create", "-p", "demo", "-n", "train", "-E", "train.py")
    embedded_one.run(*create, "--alias", "best", "code", str(source))
    embedded_one.run("job", "create", "-p", "demo", "-n", "boxed", "image", "example.test/box:2")
    (source / "requirements.txt").write_text("wandb\n")
    wandb(
        client, "job", "create", "-p", "demo", "-n", "train", "-E", "python train.py", "code",
        str(source),
    )  # fmt: skip
    (source / "deep" / "helper.py").write_text("def double(x): return 3 * x\n")
    embedded_one.run(*create, "code", str(source))

    listed = wandb(client, "job", "list", "-p", "demo", "-e", entity)
    told = wandb(client, "job", "describe", f"{entity}/demo/train:best")
    read = client.run(
        f"""
        api = wandb.Api()
        job = api.job("{entity}/demo/train:v2")
        code = job._get_code_artifact(job._job_info["source"]["artifact"])
        code.verify(code.download("code"))
        old = api.artifact("{entity}/demo/train:best", type="job")
        old.verify(old.download("old"))
        boxed = api.job("{entity}/demo/boxed:latest")
        say(
            entry=job._entrypoint, helper=Path("code/deep/helper.py").read_text(),
            again=Path("code/again.py").read_text() == Path("code/train.py").read_text(),
            version=old.version, aliases=old.aliases, image=boxed._job_info["source"]["image"],
            code=code.name, versions=[one.version for one in api.artifacts("job", "demo/train")],
        )
        """
    ).last
    shown = embedded_one.run("job", "describe", f"{entity}/demo/train:v1")

    assert "train" in listed, listed
    assert "boxed" in listed, listed
    assert "'train.py'" in told, told
    assert read == {
        "entry": ["python", "train.py"], "helper": "def double(x): return 3 * x\n", "again": True,
        "version": "v0", "aliases": ["best"], "image": "example.test/box:2",
        "code": "code-train:v2", "versions": ["v2", "v1", "v0"],
    }  # fmt: skip
    assert "train.py" in shown, shown


def test_a_job_of_an_image_is_known_by_its_tag(shipway: tuple[Embedded, WandbClient]) -> None:
    """Earns: what wandb names is found under the same name; one that is not there is refused."""
    embedded_one, client = shipway
    wandb(client, "job", "create", "-p", "demo", "-n", "boxed", "image", "example.test/box:2")
    entity = client.run("say(entity=wandb.Api().default_entity)").last["entity"]

    with pytest.raises(ShipwayError) as missing:
        launch_add(job=f"{entity}/demo/nothing:latest")
    boxed = embedded_one.run("job", "describe", f"{entity}/demo/boxed:2", "--json")

    assert "there is no job" in str(missing.value)
    assert '"image": "example.test/box:2"' in boxed
    assert "nothing" not in embedded_one.run("item", "ls", "--json")


@pytest.mark.parametrize("shipway", [VERSION], indirect=True)  # newer ones refuse `file://`
def test_a_job_that_cannot_run_here_says_why(shipway: tuple[Embedded, WandbClient]) -> None:
    """Earns: a refusal at push, with its reason, and nothing queued."""
    embedded_one, client = shipway
    source = code(embedded_one.root / "code.git")  # the client knows repositories so
    git = ["git", "-C", str(source), "-c", "user.name=ann", "-c", "user.email=ann@localhost"]
    for argv in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *argv], check=True, timeout=60)
    create = ("job", "create", "-p", "demo", "-n", "commit", "-E", "python train.py", "git")
    made = wandb(client, *create, f"file://{source}")
    entity = client.run("say(entity=wandb.Api().default_entity)").last["entity"]

    with pytest.raises(ShipwayError) as refused:
        launch_add(job=f"{entity}/demo/commit:latest")

    assert "Created job" in made, made
    assert "cannot be run here" in str(refused.value)
    assert "file" in str(refused.value)
    assert "commit" not in embedded_one.run("item", "ls", "--json")
