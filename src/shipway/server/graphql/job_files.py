"""Makes the files of a job that was made here, when a client first asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shipway.domain.artifact import ArtifactView
from shipway.domain.artifact_job import files_of
from shipway.domain.capsule import decode, digest_of
from shipway.domain.ids import Digest
from shipway.domain.manifest import StoredFile, md5_of
from shipway.domain.source import SourceKind
from shipway.server.call import Call
from shipway.server.graphql.resolving import Info
from shipway.server.graphql.translate_jobs import job_files, manifest_of
from shipway.service.artifact_uploads import TOUCHED_LIMIT, Whole
from shipway.service.job_files import lacks_files, store_files


async def filled(view: ArtifactView, call: Call) -> ArtifactView:
    """Return a version with its files; each step reads or writes, none holds the writer long."""
    if not lacks_files(view):
        return view
    edge, jobs, values = call.edge, call.edge.service.job_files, view.artifact.job
    assert values is not None
    code = None
    if values["source"]["kind"] == SourceKind.CAPSULE:
        files, whole = await edge.run(lambda: _code(call, values["source"]["digest"]))
        for at in range(0, len(files), TOUCHED_LIMIT):
            part = files[at : at + TOUCHED_LIMIT]
            await edge.write(lambda tx, part=part: jobs.own(tx, view, part))  # type: ignore[misc] # bound now
        code = await edge.write(lambda tx: jobs.add_code(tx, view, whole))
    files, whole = await edge.run(lambda: _own(call, job_files(values, code=code)))
    await edge.write(lambda tx: jobs.own(tx, view, files))
    return await edge.write(lambda tx: jobs.fill(tx, view, whole))


def of_filled(read: Callable[[ArtifactView], Any]) -> Callable[[ArtifactView, Info], Any]:
    """Return a resolver of what only a version with its files has."""

    async def resolve(view: ArtifactView, info: Info) -> Any:
        return read(await filled(view, info.context))

    return resolve


def _code(call: Call, capsule: str) -> tuple[list[StoredFile], Whole]:
    blobs = call.edge.blobs
    files = files_of(decode(blobs.get(Digest(capsule))), blobs.get)
    return files, store_files(blobs, manifest_of(files), files)


def _own(call: Call, texts: dict[str, bytes]) -> tuple[list[StoredFile], Whole]:
    blobs, files = call.edge.blobs, []
    for path, data in texts.items():
        blobs.put(digest_of(data), data)
        files.append(
            StoredFile(path=path, md5=md5_of(data), digest=digest_of(data), size=len(data))
        )
    return files, store_files(blobs, manifest_of(files), files)
