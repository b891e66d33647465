"""Reads the jobs of wandb clients, artifacts that say what to run, and writes ours for them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shipway.domain.artifact import ArtifactView
from shipway.domain.artifact_job import capsule_of
from shipway.domain.capsule import digest_of
from shipway.domain.config_schema import checkable
from shipway.domain.errors import Invalid
from shipway.domain.git_address import parse_git_address
from shipway.domain.ids import Digest
from shipway.domain.launch_spec import DEFAULT_ENTRY_POINT
from shipway.domain.manifest import Manifest, StoredFile
from shipway.domain.names import fold
from shipway.domain.source import check_source
from shipway.server.graphql import ids

JOB_FILE = "wandb-job.json"
REQUIREMENTS_FILE = "requirements.frozen.txt"  # clients copy it beside the code
PATCH_FILE = "diff.patch"
JOB_FILE_LIMIT = 1 << 20  # bytes
CONFIG_INPUT = "@wandb.config"
CODE_PREFIX = "wandb-artifact://_id/"
_PROTOCOLS = ("https", "ssh", "http")
_INTERPRETERS = {"py": "python", "ipynb": "python", "sh": "sh"}
_VERSION = re.compile(r"\d+\.\d+")
_ODD_PYTHON = re.compile(r"python[A-Z][A-Za-z]* \d")  # of jobs that runs build
_UNKNOWN = {"wb_type": "unknown"}  # types that no run has filled in


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbJob:
    """What a job's file says."""

    kind: str  # repo, artifact or image
    source: Mapping[str, Any]
    python: str | None


def job_file_of(files: Mapping[str, StoredFile]) -> Digest:
    """Return the blob of a job's file; `Invalid` where it has none."""
    found = files.get(JOB_FILE)
    if found is None or found.digest is None or found.size > JOB_FILE_LIMIT:
        raise Invalid(f"the job has no {JOB_FILE}", field=JOB_FILE)
    return found.digest


def check_code(view: ArtifactView, entity: str) -> None:
    """Raise `Invalid` unless an entity's job may run an artifact's files."""
    if fold(view.collection.entity) != fold(entity):
        raise Invalid("the job's code is another entity's", field="source.artifact")


def read_job(data: bytes) -> WandbJob:
    """Read a job's file; raise `Invalid` where it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise Invalid(f"{JOB_FILE} is not JSON", field=JOB_FILE) from None
    source = value.get("source") if isinstance(value, Mapping) else None
    if not isinstance(source, Mapping):
        raise Invalid(f"{JOB_FILE} says no source", field=JOB_FILE)
    runtime = value.get("runtime")
    return WandbJob(
        kind=str(value.get("source_type")),
        source=source,
        python=_minor(runtime) if isinstance(runtime, str) else None,
    )


def inputs_of(metadata: str | None) -> dict[str, Any]:
    """Return what a job's metadata say of its inputs; a schema that nothing can be held to is none.

    The client warns of such a schema, and keeps it.
    """
    try:
        said = json.loads(metadata or "{}")
    except (ValueError, RecursionError):
        said = {}
    said = said if isinstance(said, Mapping) else {}
    schemas = said.get("input_schemas")
    schemas = schemas if isinstance(schemas, Mapping) else {}
    files = schemas.get("files")
    files = files if isinstance(files, Mapping) else {}
    checked = {
        path: schema for path, schema in files.items() if _is_checkable(schema)
    }  # fmt: skip
    config = schemas.get(CONFIG_INPUT)
    return {
        "is_partial": bool(said.get("_partial")),
        "config_schema": config if _is_checkable(config) else None,
        "file_schemas": checked,
    }


def metadata_of(job: Mapping[str, Any] | None) -> str:
    """Return the metadata of a job of ours, of which no client said any."""
    if job is None:
        return json.dumps({})
    said: dict[str, Any] = {"_partial": True} if job.get("is_partial") else {}
    if job.get("config_schema") is not None:
        said["input_schemas"] = {CONFIG_INPUT: job["config_schema"]}
    return json.dumps(said)


def _is_checkable(schema: object) -> bool:
    try:
        checkable(schema, field="input_schemas")
    except Invalid:
        return False
    return True


def code_of(job: WandbJob) -> int | None:
    """Return the number of the artifact that has a job's code; None where none has it."""
    if job.kind != "artifact":
        return None
    address = job.source.get("artifact")
    if not isinstance(address, str) or not address.startswith(CODE_PREFIX):
        raise Invalid(f"{JOB_FILE} names no artifact with its code", field="source.artifact")
    return ids.read_number("Artifact", address.removeprefix(CODE_PREFIX))


def recipe_of(
    job: WandbJob, *, files: Mapping[str, StoredFile], code: Sequence[StoredFile] = ()
) -> tuple[dict[str, Any], bytes]:
    """Return a job's fields, and the manifest of its code; `Invalid` where no agent could run it.

    `files` are those of the job itself by path, `code` those of the artifact with its code.
    """
    manifest = b""
    source: dict[str, Any]
    if job.kind == "image":
        source = {"kind": "image", "image": job.source.get("image")}
    elif job.kind == "repo":
        git = job.source.get("git")
        git = git if isinstance(git, Mapping) else {}
        address = parse_git_address(str(git.get("remote")), protocols=_PROTOCOLS)
        source = {"kind": "git", "url": address.url, "commit": git.get("commit")}
        if PATCH_FILE in files:
            source["patch"] = files[PATCH_FILE].digest
    elif job.kind == "artifact":
        manifest = capsule_of(code)
        source = {
            "kind": "capsule",
            "digest": digest_of(manifest),
            "size": sum(file.size for file in code),
            "files": len(code),
        }
    else:
        raise Invalid(
            f"source_type {job.kind!r} is none of artifact, image, repo", field="source_type",
            value=job.kind,
        )  # fmt: skip
    fields = {
        "kind": {"image": "image", "repo": "git", "artifact": "code"}[job.kind],
        "source": check_source(source),
        "entry_point": _entry_point(job.source),
        "python": job.python,
    }
    return fields, manifest


def job_files(values: Mapping[str, Any], *, code: int | None) -> dict[str, bytes]:
    """Return the files of a job of ours, as clients make them; `code` is its code's artifact."""
    source, kind = values["source"], values["kind"]
    words = [] if kind == "image" else _entry_words(values)
    said: dict[str, Any]
    if kind == "image":
        said = {"image": source["image"]}
    elif kind == "git":
        said = {"git": {"remote": source["url"], "commit": source["commit"]}}
    else:
        assert code is not None
        said = {"artifact": CODE_PREFIX + ids.number("Artifact", code)}
    if words:
        said |= {"entrypoint": words, "notebook": words[-1].endswith(".ipynb")}
    job = {
        "_version": "v0",
        "_partial": True,
        "source_type": {"image": "image", "git": "repo", "code": "artifact"}[kind],
        "source": said,
        "input_types": _UNKNOWN,
        "output_types": _UNKNOWN,
        "runtime": _minor(values.get("python")),
    }
    return {JOB_FILE: json.dumps(job, indent=4).encode(), REQUIREMENTS_FILE: b""}


def manifest_of(files: Sequence[StoredFile]) -> Manifest:
    """Return the manifest of an artifact's files, as clients write it."""
    contents = {file.path: {"digest": file.md5, "size": file.size} for file in files}
    return Manifest(
        {
            "version": 1,
            "storagePolicy": "wandb-storage-policy-v1",
            "storagePolicyConfig": {"storageLayout": "V2"},
            "contents": dict(sorted(contents.items())),
        }
    )


def _entry_words(values: Mapping[str, Any]) -> list[str]:
    """Return an entry point as a shell would take it in the root of the source."""
    first, *more = values.get("entry_point") or DEFAULT_ENTRY_POINT
    interpreter = _INTERPRETERS.get(first.rpartition(".")[2])
    if interpreter is None:
        return [first, *more]
    folder = values["source"].get("subdirectory")
    return [interpreter, f"{folder}/{first}" if folder else first, *more]


def _minor(python: str | None) -> str | None:
    """Return the version that an environment is asked for: runs write `CPython 3.11.7`."""
    found = None if python is None else _VERSION.search(python)
    return None if found is None else found[0]


def _entry_point(source: Mapping[str, Any]) -> list[str] | None:
    words = source.get("entrypoint")
    if not words:
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Invalid("entrypoint must be a list of text", field="entrypoint", value=words)
    interpreter = _ODD_PYTHON.match(words[0])
    if interpreter is not None:
        words = ["python", *words[1:]]
    is_notebook = len(words) > 1 and words[1].endswith(".ipynb") and "python" in words[0]
    return words[1:] if is_notebook else words
