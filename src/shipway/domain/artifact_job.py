"""The job that is an artifact: its code as a capsule, and its row as a job."""

from __future__ import annotations

from collections.abc import Sequence

from shipway.domain.artifact import ArtifactView
from shipway.domain.capsule import LIMITS, Entry, Mode, decode, encode
from shipway.domain.errors import Conflict, Invalid
from shipway.domain.job import Job, JobKind
from shipway.domain.manifest import StoredFile

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
        python=values.get("python"),
        description=view.artifact.description or "",
        created_by=view.artifact.created_by or "",
        created_at=view.artifact.created_at,
    )
