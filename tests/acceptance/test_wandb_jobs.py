"""Jobs that the unmodified wandb client makes: listed, described, run by our agent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipway import QueuedRun, launch_add
from shipway.domain.errors import ShipwayError
from tests.support.embedded import Embedded, embedded
from tests.support.shell import shell_of
from tests.support.wandb_client import VERSION, VERSIONS, WandbClient, client_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# What newer clients do in the same way is tried with them in long tests alone.
FIXED = pytest.mark.parametrize(
    "shipway", [VERSION, pytest.param(VERSIONS[-1], marks=pytest.mark.long)], indirect=True
)
PINNED = "example.test/box:2@sha256:" + "d" * 64
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


@FIXED
def test_a_job_of_ours_is_one_of_the_client_s(shipway: tuple[Embedded, WandbClient]) -> None:
    """Earns: either side adds versions to one name, and either reads what the other made."""
    embedded_one, client = shipway
    source = code(embedded_one.root / "code")
    (source / "again.py").symlink_to("train.py")
    entity = client.run("say(entity=wandb.Api().default_entity)").last["entity"]
    create = ("job", "create", "-p", "demo", "-n", "train", "-E", "train.py")
    embedded_one.run(*create, "--alias", "best", "code", str(source))
    embedded_one.run("job", "create", "-p", "demo", "-n", "boxed", "image", PINNED)
    (source / "requirements.txt").write_text("wandb\n")
    wandb(
        client, "job", "create", "-p", "demo", "-n", "train", "-E", "python train.py", "code",
        str(source),
    )  # fmt: skip
    (source / "deep" / "helper.py").write_text("def double(x): return 3 * x\n")
    schema = embedded_one.root / "schema.json"
    schema.write_text('{"properties": {"scale": {"type": "number"}}}')
    embedded_one.run(*create, "--schema", str(schema), "code", str(source))

    listed = wandb(client, "job", "list", "-p", "demo", "-e", entity)
    told = wandb(client, "job", "describe", f"{entity}/demo/train:best")
    done = client.run(
        f"""
        api = wandb.Api()
        job = api.job("{entity}/demo/train:v2")
        code = job._get_code_artifact(job._job_info["source"]["artifact"])
        code.verify(code.download("code"))
        old = api.artifact("{entity}/demo/train:best", type="job")
        old.verify(old.download("old"))
        boxed = api.job("{entity}/demo/boxed:latest")
        from wandb.sdk.launch import launch_add
        launch = lambda job, scale=2: launch_add(
            job="{entity}/demo/" + job, queue_name="default", project="demo",
            config={{"overrides": {{"run_config": {{"scale": scale}}, "args": ["--fast"]}}}},
        )
        queued = launch("train:v2")
        run = queued.wait_until_finished()
        try:
            launch("train:v2", "large")
        except Exception as error:
            say(refused=str(error))
        say(
            item=queued.id, state=run.state,
            entry=job._entrypoint, helper=Path("code/deep/helper.py").read_text(),
            again=Path("code/again.py").read_text() == Path("code/train.py").read_text(),
            version=old.version, aliases=old.aliases, image=boxed._job_info["source"]["image"],
            code=code.name, versions=[one.version for one in api.artifacts("job", "demo/train")],
        )
        """
    )
    refused, read = done.said
    log = embedded_one.run("item", "logs", read.pop("item"))
    shown = embedded_one.run("job", "describe", f"{entity}/demo/train:v1")

    assert "train" in listed, listed
    assert "boxed" in listed, listed
    assert "'train.py'" in told, told
    assert read == {
        "entry": ["python", "train.py"], "helper": "def double(x): return 3 * x\n", "again": True,
        "version": "v0", "aliases": ["best"], "image": PINNED,
        "code": "code-train:v2", "versions": ["v2", "v1", "v0"], "state": "finished",
    }  # fmt: skip
    assert "args ['--fast'] twice 6" in log
    assert "'large' is not of type 'number'" in refused["refused"]
    assert "train.py" in shown, shown


INPUTS = """
import json
import wandb
from wandb.sdk import launch

layers = {"type": "object", "properties": {"layers": {"type": "integer", "maximum": 100}}}
launch.manage_config_file("config.yaml", schema={"type": "object", "properties": {"net": layers}})
run = wandb.init(settings=wandb.Settings(disable_job_creation=False), config={"lr": 0.1})
rate = {"type": "number", "maximum": 1}
launch.manage_wandb_config(schema={"type": "object", "properties": {"lr": rate}})
data = run.use_artifact("data")
with open("config.yaml") as file, open(data.file()) as other:
    given = [file.read(), run.config["lr"], len(run.config["long"]), other.read()]
print("GIVEN", json.dumps(given))
run.log({"loss": 1})
run.finish()
"""


@FIXED
def test_a_launched_job_finds_its_inputs_and_says_what_they_are(
    shipway: tuple[Embedded, WandbClient], request: pytest.FixtureRequest
) -> None:
    """Earns: config, files and artifacts are the launch's; what a run learns of its job is kept."""
    embedded_one, client = shipway
    source = embedded_one.root / "code"
    source.mkdir()
    version = request.node.callspec.params["shipway"]
    (source / "train.py").write_text(INPUTS)
    (source / "config.yaml").write_text("net:\n  layers: 18\n")
    (source / "requirements.txt").write_text(f"wandb=={version}\njsonschema\n")
    entity = client.run(
        """
        data = wandb.Artifact("other", "dataset")
        Path("x.txt").write_text("swapped")
        data.add_file("x.txt")
        with wandb.init(project="demo") as run:
            run.log_artifact(data).wait()
        say(entity=run.entity)
        """
    ).last["entity"]
    wandb(
        client, "job", "create", "-p", "demo", "-n", "train", "-E", "python train.py", "code",
        str(source),
    )  # fmt: skip

    def launched(layers: int, rate: float) -> QueuedRun:
        overrides = {
            "run_config": {"lr": rate, "long": "x" * 40_000},
            "files": {"config.yaml": {"net": {"layers": layers}}},
            "artifacts": {"data": f"{entity}/demo/other:v0"},
        }
        return launch_add(job=f"{entity}/demo/train:latest", config={"overrides": overrides})

    item = launched(50, 0.5)
    run = item.wait_until_finished(timeout=300)
    log = "\n".join(map(str, item.logs()))
    read = client.run(
        f"""
        run = wandb.Api().run("{entity}/demo/{run.id}")
        job = wandb.Api().artifact("{entity}/demo/train:latest", type="job")
        say(
            used=sorted(one.name for one in run.used_artifacts()), version=job.version,
            inputs=sorted(job.metadata["input_types"]), said=sorted(job.metadata),
        )
        """
    ).last

    assert run.state == "finished", log
    assert 'GIVEN ["net:\\n  layers: 50\\n", 0.5, 40000, "swapped"]' in log, log
    assert read == {
        "used": ["other:v0", "train:v0"], "version": "v0", "inputs": ["@wandb.config", "files"],
        "said": ["input_schemas", "input_types", "output_types"],
    }  # fmt: skip
    with pytest.raises(ShipwayError, match=r"run_config\.lr: 2 is greater than the maximum of 1"):
        launched(50, 2)
    with pytest.raises(ShipwayError, match=r"files\.config\.yaml\.net\.layers: 200 is greater"):
        launched(200, 0.5)
    described = embedded_one.run("job", "describe", f"{entity}/demo/train")
    assert '"maximum": 1' in described, described


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
