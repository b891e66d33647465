"""Makes, fills, commits, changes, uses and deletes artifacts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shipway.domain.artifact import JOB_TYPE, ArtifactState, ArtifactView, ManifestRow
from shipway.domain.artifact_job import REFUSED
from shipway.domain.errors import Invalid, NotAvailable, NotFound
from shipway.domain.manifest import BYTES_LIMIT
from shipway.server.call import Call
from shipway.server.graphql import ids
from shipway.server.graphql.artifacts import storage_path
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate_artifacts import KINDS, ask_of, edit_of, files_of
from shipway.server.graphql.translate_jobs import (
    check_code,
    code_of,
    inputs_of,
    job_file_of,
    read_job,
    recipe_of,
)
from shipway.server.signed import Right
from shipway.service.artifact_uploads import (
    TOUCHED_LIMIT,
    FileAsk,
    Plan,
    Resolved,
    read_plan,
    store_whole,
)
from shipway.service.artifact_uploads import files_of as stored_files
from shipway.service.ports import Tx

MANIFEST = "wandb_manifest.json"


def create_type(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Return the type that a client wants to be there."""
    entity, project = input["entityName"] or info.context.actor.entity, input["projectName"]
    node = ids.node("ArtifactType", entity, project, input["name"])
    return {"artifactType": {"id": node, "name": input["name"]}}


async def create(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Make a version to fill, or return the one that is the same."""
    call = info.context
    actor, artifacts, ask = call.actor, call.edge.service.artifacts, ask_of(input)
    return {"artifact": await call.edge.write(lambda tx: artifacts.create(tx, actor, ask))}


async def create_manifest(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Announce a manifest."""
    call = info.context
    actor, uploads = call.actor, call.edge.service.artifact_uploads
    seq = ids.read_number("Artifact", input["artifactID"])
    base = _base(input)
    row = await call.edge.write(
        lambda tx: uploads.announce(
            tx, actor, seq, kind=KINDS[input.get("type")], md5=input["digest"], base=base
        )
    )
    return {"artifactManifest": _manifest(call, row)}


async def update_manifest(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Announce a manifest's bytes."""
    call = info.context
    actor, uploads = call.actor, call.edge.service.artifact_uploads
    seq, base = ids.read_number("ArtifactManifest", input["artifactManifestID"]), _base(input)
    row = await call.edge.write(
        lambda tx: uploads.announce_again(tx, actor, seq, md5=input.get("digest"), base=base)
    )
    return {"artifactManifest": _manifest(call, row)}


async def create_files(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Return an address for each file that has to be sent, in the order asked."""
    call = info.context
    actor, service, asks = call.actor, call.edge.service, files_of(input["artifactFiles"])

    def work(tx: Tx) -> tuple[list[bool], dict[int, ArtifactView]]:
        wanted = service.artifact_uploads.grant(tx, actor, asks)
        seqs = {ask.artifact for ask in asks}
        return wanted, {seq: service.artifacts.get(tx, actor, seq) for seq in seqs}

    wanted, views = await call.edge.write(work)
    nodes = [
        _file(call, views[ask.artifact], ask, is_wanted=is_wanted)
        for ask, is_wanted in zip(asks, wanted, strict=True)
    ]
    edges = [{"node": node, "cursor": str(place)} for place, node in enumerate(nodes)]
    return {"files": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}


async def commit(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Make a version of what came: each step reads or writes, none holds the writer for long."""
    call = info.context
    edge, actor, uploads = call.edge, call.actor, call.edge.service.artifact_uploads
    seq = ids.read_number("Artifact", input["artifactID"])
    plan = await edge.read(lambda tx: uploads.plan(tx, actor, seq))
    if plan.view.artifact.state is ArtifactState.COMMITTED:
        return {"artifact": plan.view}
    manifest = await edge.run(lambda: read_plan(edge.blobs, plan))
    resolved = await edge.read(lambda tx: uploads.resolve(tx, plan, manifest))
    for at in range(0, len(resolved.aging), TOUCHED_LIMIT):
        part = resolved.aging[at : at + TOUCHED_LIMIT]
        await edge.write(lambda tx, part=part: uploads.touch(tx, plan, part))  # type: ignore[misc] # bound now
    job, capsule = None, b""
    if plan.view.collection.type == JOB_TYPE:
        job, capsule = await _job(call, plan, resolved)
    whole = await edge.run(
        lambda: store_whole(edge.blobs, plan, manifest, resolved, job=job, capsule=capsule)
    )
    return {"artifact": await edge.write(lambda tx: uploads.commit(tx, actor, plan, whole))}


async def update(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Change what is said of a version."""
    call = info.context
    actor, artifacts, edit = call.actor, call.edge.service.artifacts, edit_of(input)
    if edit.metadata is not None:
        edit = replace(edit, inputs=inputs_of(edit.metadata))
    seq = ids.read_number("Artifact", input["artifactID"])
    return {"artifact": await call.edge.write(lambda tx: artifacts.edit(tx, actor, seq, edit))}


async def use(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Note that a run uses a version."""
    call = info.context
    actor, artifacts = call.actor, call.edge.service.artifacts
    seq = ids.read_number("Artifact", input["artifactID"])
    run = (input["entityName"], input["projectName"], input["runName"])
    view = await call.edge.write(
        lambda tx: artifacts.use(tx, actor, seq, run=run, used_as=input.get("usedAs"))
    )
    return {"artifact": view}


async def delete(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Delete a version."""
    call = info.context
    actor, artifacts = call.actor, call.edge.service.artifacts
    seq = ids.read_number("Artifact", input["artifactID"])
    is_asked = bool(input.get("deleteAliases"))
    view = await call.edge.write(lambda tx: artifacts.delete(tx, actor, seq, with_aliases=is_asked))
    return {"artifact": view}


async def add_aliases(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Move aliases to a version."""
    call = info.context
    actor, artifacts = call.actor, call.edge.service.artifacts
    seq, aliases = ids.read_number("Artifact", input["artifactID"]), _names(input)
    await call.edge.write(lambda tx: artifacts.add_aliases(tx, actor, seq, aliases))
    return {"success": True}


async def delete_aliases(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Take aliases from a version."""
    call = info.context
    actor, artifacts = call.actor, call.edge.service.artifacts
    seq, aliases = ids.read_number("Artifact", input["artifactID"]), _names(input)
    await call.edge.write(lambda tx: artifacts.delete_aliases(tx, actor, seq, aliases))
    return {"success": True}


def link(_: Any, _info: Info, *, input: dict[str, Any]) -> None:
    """Say that there are no registries."""
    raise NotAvailable(
        f"shipway keeps no registries and portfolios: give the version an alias instead of linking "
        f"it to {input['artifactPortfolioName'][:80]!r}"
    )


async def _job(call: Call, plan: Plan, resolved: Resolved) -> tuple[dict[str, Any], bytes]:
    """Return what a job's version is to us, with the manifest of its code."""
    edge, actor, artifacts = call.edge, call.actor, call.edge.service.artifacts
    files = {file.path: file for file in resolved.files}
    try:
        digest = job_file_of(files)
        job = read_job(await edge.run(lambda: edge.blobs.get(digest)))
        number, code = code_of(job), []
        if number is not None:
            view = await edge.read(lambda tx: artifacts.get(tx, actor, number))
            check_code(view, plan.view.collection.entity)
            code = await edge.run(lambda: stored_files(edge.blobs, view.artifact))
        fields, capsule = recipe_of(job, files=files, code=code)
    except (Invalid, NotFound) as error:
        return {REFUSED: error.message}, b""
    return fields | inputs_of(plan.view.artifact.metadata), capsule


def _names(values: dict[str, Any]) -> list[str]:
    return [one["alias"] for one in values["aliases"]]


def _base(values: dict[str, Any]) -> int | None:
    node = values.get("baseArtifactID")
    return ids.read_number("Artifact", node) if node else None


def _manifest(call: Call, row: ManifestRow) -> dict[str, Any]:
    address = call.edge.signer.address(
        _right(call, row.artifact, path=MANIFEST, md5=row.md5, size=BYTES_LIMIT, manifest=row.seq)
    )
    node = ids.number("ArtifactManifest", row.seq)
    file = {
        "id": node,
        "name": MANIFEST,
        "displayName": MANIFEST,
        "directUrl": address,
        "uploadUrl": address,
        "uploadHeaders": [],
    }
    return {"id": node, "digest": row.md5, "file": file}


def _file(
    call: Call, view: ArtifactView, ask: FileAsk, *, is_wanted: bool
) -> dict[str, Any]:  # fmt: skip
    address = None
    if is_wanted:
        limit = call.edge.settings.limits.file_body
        address = call.edge.signer.address(
            _right(call, ask.artifact, path=ask.path, md5=ask.md5, size=limit)
        )
    return {
        "id": ids.node("File", str(ask.artifact), ask.path),
        "name": ask.path,
        "displayName": ask.path,
        "directUrl": "",
        "uploadUrl": address,
        "uploadHeaders": [],
        "uploadMultipartUrls": None,
        "storagePath": storage_path(view, ask.md5),
        "artifact": view,
    }


def _right(
    call: Call, artifact: int, *, path: str, md5: str, size: int, manifest: int = 0
) -> Right:  # fmt: skip
    actor = call.actor
    return Right(
        method="PUT",
        entity=actor.entity,
        project="",
        run="",
        path=path,
        size=size,
        attempt=actor.attempt,
        item=actor.item_id or "",
        artifact=artifact,
        manifest=manifest,
        md5=md5,
    )


RESOLVERS: Resolvers = {
    "Mutation": {
        "createArtifactType": create_type,
        "createArtifact": create,
        "createArtifactManifest": create_manifest,
        "updateArtifactManifest": update_manifest,
        "createArtifactFiles": create_files,
        "commitArtifact": commit,
        "updateArtifact": update,
        "useArtifact": use,
        "deleteArtifact": delete,
        "addAliases": add_aliases,
        "deleteAliases": delete_aliases,
        "linkArtifact": link,
    }
}
