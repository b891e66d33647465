"""The unmodified wandb client makes, tracks, ends and reads back runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rest_server import Running, running
from tests.support.wandb_client import WandbClient, client_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Give a server of ann's."""
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
def ann(server: Running, tmp_path: Path) -> WandbClient:
    """Give ann's client."""
    assert server.admin.key is not None
    return WandbClient(
        python=client_python(),
        folder=tmp_path / "ann",
        base_url=f"http://127.0.0.1:{server.port}",
        key=server.admin.key,
    )


def test_a_run_is_made_tracked_and_ended(server: Running, ann: WandbClient) -> None:
    """Earns: the two lines that somebody who comes from W&B changes are enough."""
    done = ann.run("""
        run = wandb.init(
            project="demo", name="first", group="g", job_type="train", notes="n", tags=["a", "b"],
            config={"lr": 0.1, "layers": [1, 2], "deep": {"x": {"value": 3}}},
        )
        for step in range(2000):
            run.log({"loss": 1 / (step + 1), "odd": math.nan if step % 2 else math.inf})
        run.config.update({"late": True})
        run.summary["best"] = 7
        print("out of the program")
        run.finish()
        say(id=run.id, entity=run.entity, url=run.url)
    """)
    run_id = done.last["id"]
    assert done.last["entity"] == "ann"
    assert done.last["url"] == f"{ann.base_url}/ann/demo/runs/{run_id}"
    run = server.admin.get(f"/api/v1/runs/ann/demo/{run_id}").json
    assert (run["state"], run["exit_code"], run["name"]) == ("finished", 0, "first")
    assert run["config"] == {
        "lr": 0.1, "layers": [1, 2], "deep": {"x": {"value": 3}}, "late": True,
    }  # fmt: skip
    assert run["summary"]["best"] == 7
    assert run["summary"]["_step"] == 1999
    rows = server.admin.get(f"/api/v1/runs/ann/demo/{run_id}/history?limit=5000").json["items"]
    assert [row["_step"] for row in rows] == list(range(2000)), "none is missing, none doubled"
    assert rows[9]["loss"] == 0.1
    page = server.admin.get(f"/ann/demo/runs/{run_id}", headers={"Accept": "text/html"})
    assert page.status == 200


def test_a_failed_program_fails_its_run(server: Running, ann: WandbClient) -> None:
    """Earns: the exit code is the client's, and it comes over."""
    done = ann.run(
        """
        run = wandb.init(project="demo", id="fails")
        sys.exit(3)
        """,
        check=False,
    )
    assert done.code == 3, done.text
    run = server.admin.get("/api/v1/runs/ann/demo/fails").json
    assert (run["state"], run["exit_code"]) == ("failed", 3)


def test_files_are_saved_and_read_back(ann: WandbClient) -> None:
    """Earns: bytes come back as they went, names with folders too."""
    done = ann.run("""
        run = wandb.init(project="files", id="files1")
        folder = Path(run.dir, "deep", "er")
        folder.mkdir(parents=True)
        Path(folder, "big.bin").write_bytes(bytes(range(256)) * 20_000)
        Path(run.dir, "empty.txt").touch()
        run.save(str(folder / "big.bin"), base_path=run.dir)
        run.save(str(Path(run.dir, "empty.txt")), base_path=run.dir)
        run.finish()
        found = wandb.Api().run("ann/files/files1")
        import hashlib
        data = found.file("deep/er/big.bin").download(root="back").name
        say(
            names=sorted(file.name for file in found.files()),
            digest=hashlib.sha256(Path(data).read_bytes()).hexdigest(),
            sizes={file.name: file.size for file in found.files()},
        )
    """)
    data = bytes(range(256)) * 20_000
    assert done.last["digest"] == hashlib.sha256(data).hexdigest()
    assert done.last["sizes"]["deep/er/big.bin"] == len(data)
    assert done.last["sizes"]["empty.txt"] == 0
    wanted = {"config.yaml", "output.log", "wandb-metadata.json", "wandb-summary.json"}
    assert wanted <= set(done.last["names"])


def test_a_wrong_key_is_the_client_s_own_401(ann: WandbClient) -> None:
    """Earns: a typo in the key is said at once."""
    done = ann.run('wandb.init(project="demo")', check=False, WANDB_API_KEY="k" * 40)
    assert done.code != 0
    assert "401" in done.text or "API key" in done.text, done.text


def test_an_unknown_entity_is_named(ann: WandbClient) -> None:
    """Earns: the person sees which name is wrong."""
    done = ann.run('wandb.init(project="demo", entity="nobody-here")', check=False)
    assert done.code != 0
    assert "nobody-here" in done.text
