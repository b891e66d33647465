"""The job as an artifact's version: what its row says of it, and its code as a capsule."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shipway.domain.artifact import ArtifactView
from shipway.domain.capsule import HOP_LIMIT, LIMITS, Entry, Mode, decode, encode
from shipway.domain.errors import Conflict, Invalid
from shipway.domain.ids import Digest
from shipway.domain.job import Job, JobKind
from shipway.domain.manifest import StoredFile, md5_of

REFUSED = "refused"  # the field that says why no agent of ours can run it


def capsule_of(files: Sequence[StoredFile]) -> bytes:
    """Return the manifest of a capsule with an artifact's files; `Invalid` where none can be."""
    entries = []
    for file in files:
        if file.digest is None:
            raise Invalid(
                f"the job's code has the reference {file.path!r}: only files can be run",
                field="source.artifact",
                value=file.ref,
            )
        entries.append(
            Entry(path=file.path.encode(), mode=Mode.FILE, size=file.size, digest=file.digest)
        )
    manifest = encode(entries)
    decode(manifest, limits=LIMITS)
    return manifest


def files_of(entries: Sequence[Entry], read: Callable[[Digest], bytes]) -> list[StoredFile]:
    """Return a capsule's files as an artifact's; `Invalid` for a name that is no text.

    An artifact knows neither links nor modes: a link to a file of the capsule is that file once
    more, one to a folder is left out.
    """
    plain = {entry.path: entry for entry in entries if entry.mode is not Mode.LINK}
    links = {
        entry.path: read(entry.digest) for entry in entries if entry.mode is Mode.LINK
    }  # fmt: skip
    md5s: dict[Digest, str] = {}
    files = []
    for path in sorted((*plain, *links)):
        entry = plain.get(_followed(path, links))
        if entry is None:
            continue
        if entry.digest not in md5s:
            md5s[entry.digest] = md5_of(read(entry.digest))
        try:
            name = path.decode()
        except UnicodeDecodeError:
            raise Invalid(
                f"the job's file {path!r} has a name that is no text: clients cannot fetch it",
                field="source",
            ) from None
        files.append(
            StoredFile(path=name, md5=md5s[entry.digest], digest=entry.digest, size=entry.size)
        )
    return files


def _followed(path: bytes, links: Mapping[bytes, bytes]) -> bytes:
    for _ in range(HOP_LIMIT):
        target = links.get(path)
        if target is None:
            break
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return path


def values_of(job: Job) -> dict[str, Any]:
    """Return what the row of a job's version says of it; `job_of` reads it."""
    values = {
        "kind": job.kind.value,
        "source": dict(job.source),
        "entry_point": None if job.entry_point is None else list(job.entry_point),
        "args": list(job.args),
        "run_config": dict(job.run_config),
        "resource": job.resource,
        "resource_args": dict(job.resource_args),
        "python": job.python,
        "config_schema": job.config_schema,
        "file_schemas": dict(job.file_schemas),
        "is_partial": job.is_partial,
    }
    return {key: value for key, value in values.items() if value not in (None, [], {}, False)}


def is_runnable(view: ArtifactView) -> bool:
    """Tell whether an agent of ours can run a job's version."""
    return "kind" in (view.artifact.job or {})


def job_of(view: ArtifactView) -> Job:
    """Return a committed version as the job that it is; `Conflict` says why none can be run."""
    values = view.artifact.job or {}
    if not is_runnable(view):
        why = values.get(REFUSED, "it says nothing to run")
        raise Conflict(f"job {view.address!r} cannot be run here: {why}")
    assert view.artifact.version is not None
    entry_point = values.get("entry_point")
    return Job(
        entity=view.collection.entity,
        project=view.collection.project,
        name=view.collection.name,
        version=view.artifact.version,
        aliases=view.aliases,
        kind=JobKind(values["kind"]),
        source=values["source"],
        entry_point=None if entry_point is None else tuple(entry_point),
        args=tuple(values.get("args") or ()),
        run_config=values.get("run_config") or {},
        resource=values.get("resource"),
        resource_args=values.get("resource_args") or {},
        python=values.get("python"),
        config_schema=values.get("config_schema"),
        file_schemas=values.get("file_schemas") or {},
        is_partial=bool(values.get("is_partial")),
        description=view.artifact.description or "",
        created_by=view.artifact.created_by or "",
        created_at=view.artifact.created_at,
    )
