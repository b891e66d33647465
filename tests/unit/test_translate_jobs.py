"""Jobs of wandb clients in our words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shipway.domain.artifact_job import files_of
from shipway.domain.capsule import Entry, Mode, decode, digest_of
from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest
from shipway.domain.manifest import StoredFile, md5_of
from shipway.server.graphql import ids
from shipway.server.graphql.translate_artifacts import ArtifactName, override_of
from shipway.server.graphql.translate_jobs import (
    JOB_FILE,
    JOB_FILE_LIMIT,
    code_of,
    inputs_of,
    job_file_of,
    job_files,
    metadata_of,
    read_job,
    recipe_of,
)

COMMIT = "a" * 40
BLOB = Digest("b" * 64)


def stated(kind: str, runtime: str | None = "3.11", **source: Any) -> bytes:
    """Return a job's file."""
    return json.dumps({"source_type": kind, "source": source, "runtime": runtime}).encode()


def a_file(path: str, *, digest: Digest | None = BLOB, size: int = 3) -> StoredFile:
    """Return a file of an artifact."""
    ref = None if digest else "s3://bucket/key"
    return StoredFile(path=path, md5="m", digest=digest, size=size, ref=ref)


def test_code_is_a_capsule_of_the_artifacts_files() -> None:
    job = read_job(
        stated(
            "artifact",
            artifact="wandb-artifact://_id/" + ids.number("Artifact", 7),
            entrypoint=["python", "train.py"],
        )
    )
    fields, manifest = recipe_of(job, files={}, code=[a_file("train.py"), a_file("a/b.py")])
    assert code_of(job) == 7
    assert [entry.path for entry in decode(manifest)] == [b"a/b.py", b"train.py"]
    assert fields == {
        "kind": "code",
        "source": {"kind": "capsule", "digest": digest_of(manifest), "size": 6, "files": 2},
        "entry_point": ["python", "train.py"],
        "python": "3.11",
    }


def test_a_commit_and_an_image_are_sources_of_their_own() -> None:
    git = {"remote": "git@example.test:team/repo.git", "commit": COMMIT}
    commit, nothing = recipe_of(read_job(stated("repo", git=git)), files={})
    image, _ = recipe_of(read_job(stated("image", image="box:2", runtime=None)), files={})
    assert nothing == b""
    dirty, _ = recipe_of(read_job(stated("repo", git=git)), files={"diff.patch": a_file("x")})
    assert dirty["source"] == {**commit["source"], "patch": BLOB}
    assert commit["kind"] == "git"
    assert commit["source"]["commit"] == COMMIT
    assert commit["source"]["url"] == "git@example.test:team/repo.git"
    assert commit["entry_point"] is None
    assert image["source"] == {"kind": "image", "image": "box:2"}


def test_a_job_that_a_run_built_names_its_python_in_an_odd_way() -> None:
    words = ["pythonCPython 3.11", "train.py"]
    job = read_job(stated("image", image="box", entrypoint=words, runtime="CPython 3.11.7"))
    fields, _ = recipe_of(job, files={})
    assert (fields["entry_point"], fields["python"]) == (["python", "train.py"], "3.11")
    for runtime, python in (("3.12", "3.12"), (None, None), ("none", None)):
        assert read_job(stated("image", image="box", runtime=runtime)).python == python


def test_a_notebook_is_run_as_one() -> None:
    job = read_job(stated("image", image="box", entrypoint=["python3.11", "a.ipynb", "x"]))
    assert recipe_of(job, files={})[0]["entry_point"] == ["a.ipynb", "x"]


@pytest.mark.parametrize(
    ("data", "code", "why"),
    [
        (stated("repo", git={"remote": "file:///x", "commit": COMMIT}), [], "file"),
        (stated("repo", git={"remote": "https://example.test/x", "commit": "main"}), [], "40"),
        (stated("repo", git={}), [], "address"),
        (stated("image", image="--privileged"), [], "begin with"),
        (stated("artifact"), [a_file("big", digest=None)], "reference"),
        (stated("artifact"), [a_file(".git/config")], ".git"),
        (stated("artifact"), [a_file("big", size=60_000_000)], "over the limit"),
        (stated("image", image="box", entrypoint="python x.py"), [], "list"),
        (stated("magic"), [], "none of"),
    ],
)
def test_what_cannot_be_run_says_why(data: bytes, code: list[StoredFile], why: str) -> None:
    job = read_job(data)
    with pytest.raises(Invalid) as refused:
        recipe_of(job, files={}, code=code)
    assert why in refused.value.message


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"[" * 100_000, b'{"source": 1}'])
def test_a_file_that_is_no_job_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        read_job(data)


def test_a_job_without_its_file_is_refused() -> None:
    for files in ([], [a_file(JOB_FILE, digest=None)], [a_file(JOB_FILE, size=JOB_FILE_LIMIT + 1)]):
        with pytest.raises(Invalid):
            job_file_of({file.path: file for file in files})


@pytest.mark.parametrize("address", [None, "wandb-artifact://other/x", "wandb-artifact://_id/!"])
def test_code_of_nowhere_is_refused(address: str | None) -> None:
    with pytest.raises(Invalid):
        code_of(read_job(stated("artifact", artifact=address)))


@pytest.mark.parametrize(
    ("entry_point", "folder", "words", "is_notebook"),
    [
        (None, None, ["python", "main.py"], False),
        (["train.py", "--x"], "deep/er", ["python", "deep/er/train.py", "--x"], False),
        (["run.sh"], None, ["sh", "run.sh"], False),
        (["a.ipynb"], None, ["python", "a.ipynb"], True),
        (["python", "-m", "train"], "deep", ["python", "-m", "train"], False),
    ],
)
def test_an_entry_point_of_ours_is_what_a_shell_takes(
    entry_point: list[str] | None, folder: str | None, words: list[str], *, is_notebook: bool
) -> None:
    source = {"kind": "git", "url": "https://x.test/a.git", "commit": COMMIT}
    values = {"kind": "git", "source": source | ({"subdirectory": folder} if folder else {})}
    said = json.loads(job_files(values | {"entry_point": entry_point}, code=None)[JOB_FILE])
    assert said["source"] == {
        "git": {"remote": "https://x.test/a.git", "commit": COMMIT},
        "entrypoint": words, "notebook": is_notebook,
    }  # fmt: skip


def test_a_job_of_ours_reads_back_as_what_it_is() -> None:
    code = {
        "kind": "code",
        "source": {"kind": "capsule"},
        "entry_point": ["a.py"],
        "python": "3.12.4",
    }
    job = read_job(job_files(code, code=9)[JOB_FILE])
    assert (code_of(job), job.python, job.kind) == (9, "3.12", "artifact")
    image = {"kind": "image", "source": {"kind": "image", "image": "box:2"}, "entry_point": None}
    fields, _ = recipe_of(read_job(job_files(image, code=None)[JOB_FILE]), files={})
    assert fields["source"] == image["source"]


def test_a_capsule_s_links_are_the_files_that_they_lead_to() -> None:
    texts = {
        b"a/b.py": b"code",
        b"a/link": b"b.py",
        b"top": b"a/link",
        b"gone": b"a",
        b"loop": b"loop",
    }
    entries = [
        Entry(
            path=path, size=len(data), digest=digest_of(data),
            mode=Mode.FILE if path == b"a/b.py" else Mode.LINK,
        )
        for path, data in texts.items()
    ]  # fmt: skip
    read = {digest_of(data): data for data in texts.values()}
    found = files_of(entries, lambda digest: read[digest])
    assert [file.path for file in found] == ["a/b.py", "a/link", "top"]
    assert {(file.digest, file.md5, file.size) for file in found} == {
        (digest_of(b"code"), md5_of(b"code"), 4)
    }
    odd = Entry(path=b"\xff", size=4, digest=digest_of(b"code"), mode=Mode.FILE)
    with pytest.raises(Invalid, match="no text"):
        files_of([odd], lambda digest: read[digest])


def test_metadata_say_which_inputs_there_are() -> None:
    schema, bad = {"type": "object"}, {"type": "float"}
    said = {
        "_partial": True,
        "input_schemas": {"@wandb.config": schema, "files": {"a.yaml": schema, "b": bad}},
    }
    assert inputs_of(json.dumps(said)) == {
        "is_partial": True, "config_schema": schema, "file_schemas": {"a.yaml": schema},
    }  # fmt: skip
    nothing: dict[str, Any] = {"is_partial": False, "config_schema": None, "file_schemas": {}}
    for text in (None, "{}", "[", "[1]", '{"input_schemas": {"@wandb.config": {"type": "float"}}}'):
        assert inputs_of(text) == nothing
    assert json.loads(metadata_of({"is_partial": True, "config_schema": schema})) == {
        "_partial": True, "input_schemas": {"@wandb.config": schema},
    }  # fmt: skip
    assert metadata_of(None) == metadata_of({}) == "{}"


def test_a_launch_names_artifacts_in_many_ways() -> None:
    asked = ArtifactName("ann", "demo", "data:latest")
    node = ids.number("Artifact", 7)
    for value, found in {
        "other:v1": ArtifactName("ann", "demo", "other:v1"),
        "p/other:v1": ArtifactName("ann", "p", "other:v1"),
        "wandb-artifact://bob/p/other:v1": ArtifactName("bob", "p", "other:v1"),
        f"wandb-artifact://_id/{node}": 7,
    }.items():
        assert override_of(value, asked) == found
    assert override_of({"_type": "artifactVersion", "id": node}, asked) == 7
    for odd in (7, {"id": None}):
        with pytest.raises(Invalid):
            override_of(odd, asked)
