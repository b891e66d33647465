"""Artifacts of the unmodified wandb client: logged, used, named, changed, downloaded, deleted."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipway.domain.manifest import Manifest
from tests.support.embedded import until
from tests.support.rest_server import Reply, Running, running
from tests.support.server_process import server_process
from tests.support.wandb_client import VERSIONS, WandbClient, client_python, heard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Each program begins with this: a run, and a folder to make files in.
LOG = """
    import hashlib
    def logged(name="data", run=None, aliases=None, incremental=False, **texts):
        made = wandb.Artifact(name, type="dataset", incremental=incremental)
        for path, text in texts.items():
            with made.new_file(path.replace("__", "/") + ".txt") as file:
                file.write(text)
        return run.log_artifact(made, aliases=aliases).wait()
"""


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
    """Give ann's client, with a cache of its own."""
    assert server.admin.key is not None
    return WandbClient(
        python=client_python(version),
        folder=tmp_path / "ann",
        base_url=f"http://127.0.0.1:{server.port}",
        key=server.admin.key,
    )


def test_an_artifact_is_logged_used_and_downloaded(ann: WandbClient) -> None:
    """Earns: what one run logs another one reads, verified, and both are on record."""
    done = ann.run(
        LOG
        + """
    with wandb.init(project="first", id="maker") as run:
        made = wandb.Artifact("data", type="dataset", description="rows", metadata={"rows": 2})
        Path("plain.txt").write_text("plain")
        made.add_file("plain.txt")
        with made.new_file("deep/er/two.txt") as file:
            file.write("two")
        run.log_artifact(made, aliases=["best"], tags=["t1"])
        made.wait()
        say(name=made.name, version=made.version, state=made.state, aliases=sorted(made.aliases),
            tags=made.tags, size=made.size, count=made.file_count, metadata=made.metadata)
    os.environ["WANDB_CACHE_DIR"] = "other-cache"
    with wandb.init(project="first", id="user") as run:
        used = run.use_artifact("data:best")
        folder = Path(used.download(root="got"))
        texts = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.txt")}
        used.verify(root="got")
        say(texts=texts, description=used.description, digest=used.digest == made.digest)
    api = wandb.Api()
    entity = api.default_entity
    found = api.artifact(f"{entity}/first/data:v0")
    say(
        used_by=[one.id for one in found.used_by()], logged_by=found.logged_by().id,
        outputs=[one.name for one in api.run(f"{entity}/first/maker").logged_artifacts()],
        inputs=[one.name for one in api.run(f"{entity}/first/user").used_artifacts()],
        files=sorted(one.name for one in found.files()),
        sizes=sum(one.size for one in found.files()),
        types=[one.name for one in api.artifact_types("first")],
        collections=[one.name for one in api.artifact_collections("first", "dataset")],
        versions=[one.version for one in api.artifacts("dataset", f"{entity}/first/data")],
        exists=[
            api.artifact_exists(f"{entity}/first/{name}")
            for name in ("data:v0", "data:v7", "no:v0")
        ],
    )
    """
    )
    first, second, third = done.said
    assert first == {
        "name": "data:v0", "version": "v0", "state": "COMMITTED", "aliases": ["best", "latest"],
        "tags": ["t1"], "size": 8, "count": 2, "metadata": {"rows": 2},
    }  # fmt: skip
    assert second["texts"] == {"plain.txt": "plain", "deep/er/two.txt": "two"}
    assert (second["description"], second["digest"]) == ("rows", True)
    assert third == {
        "used_by": ["user"], "logged_by": "maker", "outputs": ["data:v0"], "inputs": ["data:v0"],
        "files": ["deep/er/two.txt", "plain.txt"], "sizes": 8, "types": ["dataset"],
        "collections": ["data"], "versions": ["v0"], "exists": [True, False, False],
    }  # fmt: skip


def test_versions_and_aliases_move_as_they_should(ann: WandbClient) -> None:
    """Earns: a name always says the same thing to everybody."""
    done = ann.run(
        LOG
        + """
    with wandb.init(project="names") as run:
        one = logged(run=run, a="1", aliases=["best"])
        two = logged(run=run, a="2")
        same = logged(run=run, a="1", aliases=["again"])
        say(one=one.version, two=two.version, same=same.version)
    api = wandb.Api()
    show = lambda: {
        one.version: sorted(one.aliases)
        for one in api.artifacts("dataset", f"{api.default_entity}/names/data")
    }
    say(**show())
    found = api.artifact(f"{api.default_entity}/names/data:v1")
    found.aliases.append("best")
    found.aliases.append("extra")
    found.description, found.metadata["k"] = "told", 1
    found.tags = ["t"]
    found.save()
    say(**show())
    found.aliases.remove("extra")
    found.save()
    say(**show())
    api = wandb.Api()
    found = api.artifact(f"{api.default_entity}/names/data:best")
    say(version=found.version, description=found.description, metadata=found.metadata,
        tags=found.tags)
    """
    )
    assert done.said == [
        {"one": "v0", "two": "v1", "same": "v0"},
        {"v1": [], "v0": ["again", "best", "latest"]},
        {"v1": ["best", "extra"], "v0": ["again", "latest"]},
        {"v1": ["best"], "v0": ["again", "latest"]},
        {"version": "v1", "description": "told", "metadata": {"k": 1}, "tags": ["t"]},
    ]


def test_an_incremental_version_has_what_was_there_before(ann: WandbClient) -> None:
    """Earns: a version that only says what is new is still a whole one."""
    done = ann.run(
        LOG
        + """
    with wandb.init(project="grows") as run:
        logged(run=run, a="1", b="1")
        made = logged(run=run, incremental=True, b="2", c="2")
        say(version=made.version, files=sorted(made.manifest.entries), count=made.file_count)
        folder = Path(made.download(root="got"))
        say(**{path.name: path.read_text() for path in folder.iterdir()})
        draft = made.new_draft()
        draft.remove("a.txt")
        run.log_artifact(draft).wait()
        say(version=draft.version, files=sorted(draft.manifest.entries))
    """
    )
    assert done.said == [
        {"version": "v1", "files": ["a.txt", "b.txt", "c.txt"], "count": 3},
        {"a.txt": "1", "b.txt": "2", "c.txt": "2"},
        {"version": "v2", "files": ["b.txt", "c.txt"]},
    ]


def test_references_are_kept_and_not_stored(server: Running, ann: WandbClient) -> None:
    """Earns: what lies elsewhere is named and found again, also in another artifact."""
    done = ann.run(
        LOG
        + """
    Path("outside.bin").write_text("outside")
    with wandb.init(project="refs") as run:
        first = logged(run=run, name="first", a="1")
        made = wandb.Artifact("second", type="dataset")
        made.add_reference(f"file://{os.getcwd()}/outside.bin", name="there")
        made.add_reference(first.get_entry("a.txt"), name="other")
        run.log_artifact(made).wait()
        found = run.use_artifact("second:latest")
        folder = Path(found.download(root="got"))
        say(**{name: (folder / name).read_text() for name in ("there", "other")})
        say(ref=found.manifest.entries["there"].ref, count=found.file_count,
            files=sorted(one.name for one in found.files()))
    """
    )
    assert done.said[0] == {"there": "outside", "other": "1"}
    assert done.said[1]["ref"].endswith("outside.bin")
    assert (done.said[1]["files"], done.said[1]["count"]) == (["other", "there"], 2)


def test_versions_and_collections_are_deleted(ann: WandbClient) -> None:
    """Earns: what aliases stand for goes only when asked, and nothing of it is left in lists."""
    done = ann.run(
        LOG
        + """
    with wandb.init(project="goes") as run:
        logged(run=run, a="1")
        logged(run=run, a="2", aliases=["best"])
        logged(run=run, a="3", aliases=["keep"])
    api = wandb.Api()
    name = f"{api.default_entity}/goes/data"
    versions = lambda: [one.version for one in wandb.Api().artifacts("dataset", name)]
    api.artifact(name + ":v0").delete()
    say(left=versions())
    try:
        api.artifact(name + ":v1").delete()
    except Exception as error:
        say(refused=str(error))
    api.artifact(name + ":v1").delete(delete_aliases=True)
    say(left=versions())
    api.artifact(name + ":v2").delete(delete_aliases=True)
    say(left=versions())
    with wandb.init(project="goes") as run:
        made = logged(run=run, a="1")
        say(version=made.version)
    api.artifact_collection("dataset", name).delete()
    say(types=[one.name for one in wandb.Api().artifact_types("goes")])
    """
    )
    assert done.said[0] == {"left": ["v2", "v1"]}
    assert "best" in done.said[1]["refused"]
    assert done.said[2:] == [
        {"left": ["v2"]}, {"left": []}, {"version": "v3"}, {"types": []},
    ]  # fmt: skip


def test_a_time_to_live_is_kept_and_changed(ann: WandbClient) -> None:
    """Earns: scratch data goes by itself, and what somebody needs after all stays."""
    done = ann.run(
        """
    from datetime import timedelta
    with wandb.init(project="ttl") as run:
        made = wandb.Artifact("scratch", type="dataset")
        made.ttl = timedelta(days=3)
        with made.new_file("a.txt") as file:
            file.write("a")
        run.log_artifact(made).wait()
    find = lambda: wandb.Api().artifact("ttl/scratch:v0")
    days = [find().ttl.days]
    for ttl in (timedelta(days=30), None, wandb.ArtifactTTL.INHERIT):
        found = find()
        found.ttl = ttl
        found.save()
        days.append(find().ttl and find().ttl.days)
    say(days=days)
    """
    )
    assert done.last == {"days": [3, 30, None, None]}


def test_a_run_is_deleted_with_what_it_logged(ann: WandbClient) -> None:
    """Earns: artifacts go with their run when asked, and stay else."""
    done = ann.run(
        LOG
        + """
    left = []
    for number in range(2):
        with wandb.init(project="with", id=f"r{number}") as run:
            logged(run=run, a=str(number))
    api = wandb.Api()
    for number in range(2):
        api.run(f"{api.default_entity}/with/r{number}").delete(delete_artifacts=number == 1)
    name = f"{api.default_entity}/with/data"
    say(left=[one.version for one in api.artifacts("dataset", name)])
    say(by=api.artifact(name + ":v0").logged_by())
    """
    )
    assert done.said == [{"left": ["v0"]}, {"by": None}]


def test_collections_are_described_renamed_and_tagged(ann: WandbClient) -> None:
    """Earns: what people say of a collection is there for the next one."""
    done = ann.run(
        LOG
        + """
    with wandb.init(project="told") as run:
        logged(run=run, a="1")
    api = wandb.Api()
    name = f"{api.default_entity}/told/data"
    found = api.artifact_collection("dataset", name)
    found.description, found.tags, found.name = "said", ["x"], "renamed"
    found.save()
    found = wandb.Api().artifact_collection("dataset", name.replace("data", "renamed"))
    say(name=found.name, description=found.description, tags=list(found.tags),
        aliases=list(found.aliases))
    found.change_type("model")
    say(types=[one.name for one in wandb.Api().artifact_types("told")])
    """
    )
    assert done.said == [
        {"name": "renamed", "description": "said", "tags": ["x"], "aliases": ["latest"]},
        {"types": ["model"]},
    ]


def test_what_is_wrong_is_refused_with_a_reason(server: Running, ann: WandbClient) -> None:
    """Earns: an artifact is whole or it is none."""
    done = ann.run(
        """
    with wandb.init(project="wrong", id="r1") as run:
        say(entity=run.entity)
    """
    )
    data = b"bytes"
    md5 = _md5(data)
    contents = {"a": {"digest": md5, "size": 5}, "b": {"digest": _md5(b"other"), "size": 5}}
    entity = done.last["entity"]
    made = _ask(server, "createArtifact", {
        "entityName": entity, "projectName": "wrong", "artifactTypeName": "dataset",
        "artifactCollectionName": "data", "runName": "r1",
        "digest": Manifest({"contents": contents}).digest(),
        "digestAlgorithm": "MANIFEST_MD5", "clientID": "c1",
    }, "artifact { id state }")["artifact"]  # fmt: skip
    files = _ask(server, "createArtifactFiles", {"storageLayout": "V2", "artifactFiles": [
        {"artifactID": made["id"], "name": "a", "md5": md5}]},
        "files { edges { node { uploadUrl } } }")  # fmt: skip
    address = files["files"]["edges"][0]["node"]["uploadUrl"]
    refused = _put(server, address, b"not these bytes")
    assert (refused.status, "MD5" in refused.text) == (400, True)
    assert _put(server, address, data).status == 200

    def manifest(contents: Any, expect: int) -> str:
        body = json.dumps({"version": 1, "contents": contents}).encode()
        row = _ask(server, "createArtifactManifest", {
            "artifactID": made["id"], "name": "m", "digest": _md5(body), "entityName": entity,
            "projectName": "wrong", "runName": "r1", "type": "FULL",
        }, "artifactManifest { file { uploadUrl } }")  # fmt: skip
        reply = _put(server, row["artifactManifest"]["file"]["uploadUrl"], body)
        assert reply.status == expect, reply.text
        return reply.text

    assert "has not come" in _refused(server, made["id"])
    assert "the manifest's digest is" in manifest({"a": contents["a"]}, 400)
    manifest(contents, 200)
    assert "1 of the manifest's files were not uploaded: 'b'" in _refused(server, made["id"])
    assert _ask(server, "createArtifactFiles", {"storageLayout": "V2", "artifactFiles": [
        {"artifactID": made["id"], "name": "a", "md5": md5}]},
        "files { edges { node { uploadUrl } } }",
    )["files"]["edges"][0]["node"]["uploadUrl"] is None, "it is there already"  # fmt: skip


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _put(server: Running, address: str, data: bytes) -> Reply:
    return server.caller(None).send("PUT", "/" + address.split("/", 3)[3], data)


def _ask(server: Running, mutation: str, values: dict[str, Any], fields: str) -> Any:
    reply = _mutate(server, mutation, values, fields)
    assert reply.status == 200, reply.text
    return reply.json["data"][mutation]


def _mutate(server: Running, mutation: str, values: dict[str, Any], fields: str) -> Reply:
    name = mutation[0].upper() + mutation[1:] + "Input"
    query = f"mutation M($input: {name}!) {{ {mutation}(input: $input) {{ {fields} }} }}"
    return server.admin.post("/graphql", {"query": query, "variables": {"input": values}})


def _refused(server: Running, artifact: str) -> str:
    reply = _mutate(server, "commitArtifact", {"artifactID": artifact}, "artifact { id }")
    assert reply.status == 400, reply.text
    message: str = reply.json["errors"][0]["message"]
    return message


def test_a_file_is_also_found_by_its_digest(server: Running, ann: WandbClient) -> None:
    """Earns: a download goes on when its address has grown too old."""
    done = ann.run(
        LOG
        + """
    with wandb.init(project="old") as run:
        made = logged(run=run, a="found by digest")
        entry = made.manifest.entries["a.txt"]
        say(birth=entry.birth_artifact_id, digest=entry.digest, entity=run.entity)
    """
    )
    said = done.last
    path = f"/artifactsV2/default/{said['entity']}/{said['birth']}/"
    path += base64.b64decode(said["digest"]).hex()
    basic = base64.b64encode(f"api:{server.admin.key}".encode()).decode()
    found = server.caller(None).get(path, headers={"Authorization": f"Basic {basic}"})
    assert (found.status, found.text) == (200, "found by digest")
    assert server.caller(None).get(path).status == 401
    assert server.admin.get(path[:-32] + "0" * 32).status == 404


LARGE = """
    import hashlib
    path = Path("model.bin")
    with path.open("wb") as file:
        for number in range(200):
            file.write(number.to_bytes(2, "big") * 524_288)
    with wandb.init(project="large") as run:
        made = wandb.Artifact("model", type="model")
        made.add_file(str(path), policy="immutable", skip_cache=True)
        with made.new_file("small.txt") as file:
            file.write("small")
        run.log_artifact(made)
        say(begun=True)
        made.wait()
        say(version=made.version)
    digest = lambda path: hashlib.sha256(Path(path).read_bytes()).hexdigest()
    os.environ["WANDB_CACHE_DIR"] = "other-cache"
    found = wandb.Api().artifact("large/model:latest")
    say(name=found.qualified_name)
    folder = found.download(root="back", skip_cache=True)
    say(same=digest(path) == digest(Path(folder, "model.bin")), count=found.file_count)
"""


def test_a_large_artifact_passes_through_a_small_server(version: str, tmp_path: Path) -> None:
    """Earns: a model of 200 MB costs the server no memory, either way."""
    with server_process(tmp_path) as server:
        client = WandbClient(
            python=client_python(version), folder=tmp_path / "ann", base_url=server.base_url,
            key=server.key,
        )  # fmt: skip
        before = server.peak_memory()
        done = client.run(LARGE)
        assert done.last == {"same": True, "count": 2}
        assert server.peak_memory() - before < 100 << 20


def test_nothing_is_lost_where_the_server_is_killed_in_the_middle(
    version: str, tmp_path: Path
) -> None:
    """Earns: an artifact is whole although its server died under it."""
    with server_process(tmp_path) as server:
        client = WandbClient(
            python=client_python(version), folder=tmp_path / "ann", base_url=server.base_url,
            key=server.key,
        )  # fmt: skip
        with client.start(LARGE) as process:
            heard(process)
            incoming = server.folder / "blobs" / "new"
            until(
                lambda: any(file.stat().st_size > 4 << 20 for file in incoming.iterdir()),
                within_s=60, what="bytes come in",
            )  # fmt: skip
            server.kill()
            server.start()
            text = process.communicate(timeout=150)[0]
        assert process.returncode == 0, text
        assert '{"same": true, "count": 2}' in text
