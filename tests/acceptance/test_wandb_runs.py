"""The unmodified wandb client makes, tracks, ends and reads back runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rest_server import Running, running
from tests.support.wandb_client import VERSIONS, WandbClient, client_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Name each client once."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Give a server of ann's."""
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
def ann(version: str, server: Running, tmp_path: Path) -> WandbClient:
    """Give ann's client."""
    assert server.admin.key is not None
    return WandbClient(
        python=client_python(version),
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
        print("something for the console")
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


def test_runs_are_read_back(ann: WandbClient) -> None:
    """Earns: scripts that compare runs go on working, whatever they filter and sort by."""
    done = ann.run("""
        for number in range(3):
            run = wandb.init(
                project="back", id=f"run{number}", name=f"name {number}", group="g",
                config={"lr": number / 10}, tags=["all", f"tag{number}"],
                settings=wandb.Settings(console="off"),
            )
            for step in range(30):
                run.log({"loss": number + step, **({"some": 1} if step % 3 == 0 else {})})
            run.finish()
        api = wandb.Api()
        ids = lambda **more: [run.id for run in api.runs("ann/back", **more)]
        run = api.run("ann/back/run1")
        try:
            list(api.runs("ann/back", filters={"nothing": 1}))
        except Exception as error:
            refused = str(error)
        try:
            api.run("ann/back/missing")
        except Exception as error:
            missing = str(error)
        say(
            run={
                "state": run.state, "name": run.name, "config": run.config, "tags": run.tags,
                "group": run.group, "user": run.user.username, "entity": run.entity,
                "loss": run.summary["loss"], "last": run.lastHistoryStep, "path": run.path,
            },
            sampled=len(run.history(samples=10, pandas=False)),
            full=[row["_step"] for row in run.history(pandas=False)],
            scanned=[row["loss"] for row in run.scan_history(page_size=7)],
            some=[row["_step"] for row in run.scan_history(keys=["_step", "some"], page_size=7)],
            keys=run.history(keys=["some"], samples=4, pandas=False),
            all=ids(), newest=ids(order="-created_at"), pages=ids(per_page=1),
            best=ids(order="-summary_metrics.loss"), count=len(api.runs("ann/back")),
            one=ids(filters={"$and": [{"tags": "tag1"}, {"config.lr": {"$gte": 0.1}}]}),
            two=ids(filters={"display_name": {"$regex": "[02]"}, "state": "finished"}),
            none=ids(filters={"state": "crashed"}),
            projects=[project.name for project in api.projects("ann")],
            refused=refused, missing=missing,
        )
    """)
    said = done.last
    assert said["run"] == {
        "state": "finished", "name": "name 1", "config": {"lr": 0.1}, "tags": ["all", "tag1"],
        "group": "g", "user": "ann", "entity": "ann", "loss": 30, "last": 29,
        "path": ["ann", "back", "run1"],
    }  # fmt: skip
    assert (said["sampled"], said["full"]) == (10, list(range(30)))
    assert said["scanned"] == [step + 1 for step in range(30)]
    assert said["some"] == list(range(0, 30, 3))
    assert [row["_step"] for row in said["keys"]] == [0, 9, 18, 27]
    assert said["all"] == said["pages"] == ["run0", "run1", "run2"]
    assert said["newest"] == said["best"] == ["run2", "run1", "run0"]
    assert (said["one"], said["two"], said["none"]) == (["run1"], ["run0", "run2"], [])
    assert said["count"] == 3
    assert "back" in said["projects"]
    assert "'nothing'" in said["refused"]
    assert "Could not find run" in said["missing"]


def test_a_run_is_edited_and_deleted_afterwards(server: Running, ann: WandbClient) -> None:
    """Earns: notes, tags, config and summary are set right after the fact."""
    done = ann.run("""
        wandb.init(project="edits", id="edited", config={"lr": 1}, notes="before").finish()
        run = wandb.Api().run("ann/edits/edited")
        run.config["new"] = [1, 2]
        run.tags.append("late")
        run.notes, run.name, run.group = "after", "renamed", "moved"
        run.update()
        run.summary["score"] = 9
        run.summary.update()
        run = wandb.Api().run("ann/edits/edited")
        say(config=run.config, tags=run.tags, notes=run.notes, name=run.name, group=run.group,
            score=run.summary["score"], state=run.state)
        wandb.init(project="edits", id="loud").alert("too hot", "90 degrees", level="WARN")
        wandb.finish()
        wandb.Api().run("ann/edits/edited").delete()
        try:
            wandb.Api().run("ann/edits/edited")
        except Exception as error:
            say(gone=str(error))
    """)
    assert done.said[0] == {
        "config": {"lr": 1, "new": [1, 2]}, "tags": ["late"], "notes": "after", "name": "renamed",
        "group": "moved", "score": 9, "state": "finished",
    }  # fmt: skip
    assert "Could not find run" in done.last["gone"]
    assert server.admin.get("/api/v1/runs/ann/edits/edited").status == 404
    (alert,) = server.admin.get("/api/v1/runs/ann/edits/loud").json["alerts"]
    assert (alert["title"], alert["text"], alert["level"]) == ("too hot", "90 degrees", "warn")


def test_what_is_another_s_is_not_there(server: Running, ann: WandbClient) -> None:
    """Earns: I23 through the second facade."""
    bob = server.user("bob", "member")
    assert bob.key is not None
    done = WandbClient(
        python=ann.python, folder=ann.folder, base_url=ann.base_url, key=bob.key
    ).run("""
        api = wandb.Api()
        for call in (
            lambda: api.run("ann/demo/fails"),
            lambda: list(api.runs("ann/demo")),
            lambda: api.client.execute(wandb.apis.public.api.gql(
                'mutation { stopRun(input: {id: "UnVuOnYxOmZhaWxzOmRlbW86YW5u"}) { success } }')),
        ):
            try:
                call()
                say(seen=True)
            except Exception as error:
                say(error=str(error))
        say(own=[run.id for run in api.runs("bob/demo")], user=api.viewer.username)
    """)
    assert not any("seen" in said for said in done.said), done.said
    assert done.last == {"own": [], "user": "bob"}
