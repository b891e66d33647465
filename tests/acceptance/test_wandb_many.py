"""Runs that were tracked elsewhere, and many at once: none of their rows is missing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shipway.client import Client
from shipway.client.runs import Runs
from tests.support.server_process import ServerProcess, server_process
from tests.support.wandb_client import VERSION, VERSIONS, WandbClient, client_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RUNS, STEPS, PAGE = 20, 10_000, 5_000
PROGRAM_S = 400.0
SYNC_S = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Give a server in a process of its own."""
    with server_process(tmp_path_factory.mktemp("many")) as made:
        yield made


@pytest.fixture(params=VERSIONS)
def ann(request: pytest.FixtureRequest, server: ServerProcess, tmp_path: Path) -> WandbClient:
    """Give ann's client, of each version."""
    return WandbClient(
        python=client_python(request.param), folder=tmp_path / request.param,
        base_url=server.base_url, key=server.key,
    )  # fmt: skip


def _runs(server: ServerProcess) -> tuple[Runs, str]:
    client = Client(server.base_url, server.key, env={})
    return client.runs, client.me()["entity"]


def test_a_run_made_offline_is_synced(server: ServerProcess, ann: WandbClient) -> None:
    """Earns: what was tracked without a network comes over whole, and twice is once."""
    name = f"offline-{ann.folder.name.replace('.', '-')}"
    ann.run(
        f"""
        run = wandb.init(project="sync", id="{name}", config={{"lr": 0.1}}, tags=["away"])
        for step in range(500):
            run.log({{"loss": step}})
        print("said offline")
        Path(run.dir, "kept.txt").write_text("kept")
        run.save(str(Path(run.dir, "kept.txt")), base_path=run.dir)
        run.finish()
        """,
        WANDB_MODE="offline",
    )
    (folder,) = (ann.folder / "wandb").glob("offline-run-*")
    for more in ((), ("--include-synced",)):
        done = subprocess.run(
            [str(ann.python.parent / "wandb"), "sync", *more, str(folder)],
            env=ann.env(), cwd=ann.folder, capture_output=True, text=True, timeout=SYNC_S,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        runs, entity = _runs(server)
        run = runs.get(entity, "sync", name)
        assert (run["state"], run["exit_code"], run["config"]) == ("finished", 0, {"lr": 0.1})
        rows = runs.history(entity, "sync", name, limit=PAGE)["items"]
        assert [row["loss"] for row in rows] == list(range(500)), done.stdout + done.stderr
        assert "kept.txt" in {file["path"] for file in runs.files(entity, "sync", name)}


@pytest.mark.parametrize(
    "ann", [VERSION, pytest.param(VERSIONS[-1], marks=pytest.mark.long)], indirect=True
)
def test_twenty_runs_of_ten_thousand_steps_miss_none(
    server: ServerProcess, ann: WandbClient
) -> None:
    """Earns: many programs that log at once are all kept, to the last row."""
    of = ann.folder.name.replace(".", "-")
    program = """
        settings = wandb.Settings(console="off")
        run = wandb.init(project="many", id="{name}", settings=settings)
        for step in range({steps}):
            run.log({{"loss": step * {number}, "even": step % 2}})
        run.finish()
    """
    with ExitStack() as stack:
        programs = [
            stack.enter_context(
                ann.start(program.format(name=f"{of}-{number}", number=number, steps=STEPS))
            )
            for number in range(RUNS)
        ]
        for process in programs:
            text = process.communicate(timeout=PROGRAM_S)[0]
            assert process.returncode == 0, text
    runs, entity = _runs(server)
    for number in range(RUNS):
        name = f"{of}-{number}"
        assert runs.get(entity, "many", name)["state"] == "finished"
        pages = [runs.history(entity, "many", name, after=at, limit=PAGE) for at in (0, PAGE)]
        rows = [row for page in pages for row in page["items"]]
        assert [row["_step"] for row in rows] == list(range(STEPS))
        assert [row["loss"] for row in rows] == [step * number for step in range(STEPS)]
