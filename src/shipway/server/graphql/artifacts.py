"""Answers artifacts: versions with their aliases, files, makers and users."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable, Sequence
from typing import Any

from shipway.domain.artifact import ArtifactView, Collection, Part
from shipway.domain.errors import NotFound
from shipway.domain.manifest import StoredFile
from shipway.domain.run import Run
from shipway.server.call import Call
from shipway.server.graphql import ids
from shipway.server.graphql.job_files import filled, of_filled
from shipway.server.graphql.people import user
from shipway.server.graphql.projects import ProjectNode
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate import time_of
from shipway.server.graphql.translate_artifacts import STATES, ArtifactName, override_of, ttl_of
from shipway.server.graphql.translate_jobs import metadata_of
from shipway.server.signed import Right
from shipway.service.artifact_uploads import files_of
from shipway.service.ports import Tx
from shipway.service.runs import RunView

PAGE = 50  # where the client does not say
PAGE_LIMIT = 10_000
DIGEST_ALGORITHM = "MANIFEST_MD5"


async def artifact(_: Any, info: Info, *, id: str) -> ArtifactView | None:
    """Return a version by its id, or null."""
    call = info.context
    actor, artifacts = call.actor, call.edge.service.artifacts
    seq = ids.read_number("Artifact", id)

    def work(tx: Tx) -> ArtifactView | None:
        try:
            return artifacts.get(tx, actor, seq)
        except NotFound:
            return None

    return await call.edge.read(work)


async def by_name(
    node: ProjectNode,
    info: Info,
    *,
    name: str,
    enableTracking: bool | None = None,  # noqa: ARG001, N803 - the schema's name; uses are told apart
) -> ArtifactView | None:
    """Return the version that `name:alias` stands for, or null."""
    call = info.context
    actor, artifacts = call.actor, call.edge.service.artifacts

    def work(tx: Tx) -> ArtifactView | None:
        other = artifacts.override(tx, actor, node.entity, node.name, name)
        asked = ArtifactName(node.entity, node.name, name)
        where = asked if other is None else override_of(other, asked)
        if isinstance(where, int):
            return artifacts.get(tx, actor, where)
        return artifacts.named(tx, actor, *where)

    return await call.edge.read(work)


async def membership_by_name(node: ProjectNode, info: Info, *, name: str) -> dict[str, Any] | None:
    """Return the version that `name:alias` stands for, as one that its collection holds."""
    view = await by_name(node, info, name=name)
    return None if view is None else membership(view)


async def client_id_mapping(
    _: Any,
    info: Info,
    *,
    clientID: str,  # noqa: N803 - the schema's name
) -> dict[str, Any] | None:
    """Return the version that a client named before it was logged, or null."""
    call = info.context
    actor, artifacts = call.actor, call.edge.service.artifacts
    seq = await call.edge.read(lambda tx: artifacts.of_client(tx, actor, clientID))
    return None if seq is None else {"serverID": ids.number("Artifact", seq)}


async def files(
    view: ArtifactView,
    info: Info,
    *,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
) -> dict[str, Any]:
    """Return a page of a version's files; a reference's address is not one of ours."""
    call, view = info.context, await filled(view, info.context)
    found = await call.edge.run(lambda: files_of(call.edge.blobs, view.artifact))
    if names:
        wanted = set(names)
        found = [file for file in found if file.path in wanted]
    return page(found, after=after, first=first, node=lambda file: _file(call, view, file))


def membership_files(node: Any, info: Info, **arguments: Any) -> Any:
    """Return the files of a version that a collection holds."""
    return files(node["artifact"], info, **arguments)


async def of_run(view: RunView, info: Info, part: Part, **arguments: Any) -> dict[str, Any]:
    """Return the versions that a run logged or used."""
    call = info.context
    lists = call.edge.service.artifact_lists
    found = await call.edge.read(lambda tx: lists.of_run(tx, view.run, part))
    return page(found, **arguments)


async def used_by(view: ArtifactView, info: Info) -> dict[str, Any]:
    """Return the runs that used a version."""
    found = await _runs(view, info, Part.INPUT)
    return page(found, first=PAGE_LIMIT)


async def created_by(view: ArtifactView, info: Info) -> Any:
    """Return the run that logged a version, else who did."""
    made = [
        run for run in await _runs(view, info, Part.OUTPUT) if run.run.seq == view.artifact.run_seq
    ]
    if made:
        return made[0]
    return None if view.artifact.created_by is None else user(view.artifact.created_by)


async def manifest(view: ArtifactView, info: Info) -> dict[str, Any] | None:
    """Return the manifest of a committed version, with an address to read it."""
    call, view = info.context, await filled(view, info.context)
    digest = view.artifact.manifest
    if digest is None:
        return None
    uploads = call.edge.service.artifact_uploads
    size = await call.edge.read(lambda tx: uploads.manifest_size(tx, view))
    address = call.edge.signer.address(
        Right(
            method="GET",
            entity=view.collection.entity,
            project=view.collection.project,
            run="",
            path="wandb_manifest.json",
            size=size,
            digest=digest,
            artifact=view.artifact.seq,
        )
    )
    name = "wandb_manifest.json"
    return {
        "id": ids.number("CurrentManifest", view.artifact.seq),
        "digest": view.artifact.digest,
        "file": {
            "id": ids.node("File", str(view.artifact.seq), name),
            "name": name,
            "displayName": name,
            "directUrl": address,
            "url": lambda _info, upload=None: address,  # noqa: ARG005 - the schema's arguments
        },
    }


def alias_nodes(view: ArtifactView) -> list[dict[str, Any]]:
    """Return a version's aliases."""
    return [alias_node(view.collection, alias) for alias in view.aliases]


def alias_node(collection: Collection, alias: str) -> dict[str, Any]:
    """Return an alias of a collection."""
    return {
        "id": ids.node("ArtifactAlias", str(collection.seq), alias),
        "alias": alias,
        "artifactCollection": collection,
    }


def type_node(collection: Collection) -> dict[str, Any]:
    """Return the type of a collection's versions."""
    names = collection.entity, collection.project, collection.type
    return {"id": ids.node("ArtifactType", *names), "name": collection.type}


def page(
    found: Sequence[Any],
    *,
    after: str | None = None,
    first: int | None = None,
    node: Callable[[Any], Any] = lambda one: one,
) -> dict[str, Any]:
    """Return a page of what was found; a cursor is a place in it."""
    start = int(after) + 1 if after and after.isdigit() else 0
    size = min(PAGE if first is None else max(first, 0), PAGE_LIMIT)
    edges = [
        {"node": node(one), "cursor": str(place), "version": _version(one)}
        for place, one in enumerate(found[start : start + size], start)
    ]
    return {
        "edges": edges,
        "pageInfo": {
            "endCursor": edges[-1]["cursor"] if edges else None,
            "hasNextPage": start + size < len(found),
        },
        "totalCount": len(found),
    }


async def _runs(view: ArtifactView, info: Info, part: Part) -> list[RunView]:
    call = info.context
    lists, runs, actor = call.edge.service.artifact_lists, call.edge.service.runs, call.actor

    def shown(tx: Tx, run: Run) -> list[RunView]:
        try:
            return [runs.get(tx, actor, run.entity, run.project, run.id)]
        except NotFound:
            return []

    return await call.edge.read(
        lambda tx: [one for run in lists.runs_of(tx, view, part) for one in shown(tx, run)]
    )


def _file(call: Call, view: ArtifactView, file: StoredFile) -> dict[str, Any]:
    address = file.ref or ""
    if file.digest is not None:
        address = call.edge.signer.address(
            Right(
                method="GET",
                entity=view.collection.entity,
                project=view.collection.project,
                run="",
                path=file.path,
                size=file.size,
                digest=file.digest,
                artifact=view.artifact.seq,
            )
        )
    return {
        "id": ids.node("File", str(view.artifact.seq), file.path),
        "name": file.path,
        "displayName": file.path,
        "url": lambda _info, upload=None: address,  # noqa: ARG005 - the schema's arguments
        "directUrl": address,
        "sizeBytes": file.size,
        "mimetype": mimetypes.guess_type(file.path)[0] or "application/octet-stream",
        "updatedAt": time_of(view.artifact.updated_at),
        "md5": file.md5,
        "digest": file.md5,
        "storagePath": None if file.digest is None else storage_path(view, file.md5),
        "artifact": view,
    }


def storage_path(view: ArtifactView, md5: str) -> str:
    """Return where clients believe a file to be."""
    return f"wandb_artifacts/{view.artifact.seq}/{base64.b64decode(md5).hex()}"


def _version(one: Any) -> str | None:
    return f"v{one.artifact.version}" if isinstance(one, ArtifactView) else None


def _memberships(view: ArtifactView, _: Info) -> dict[str, Any]:
    return {"edges": [{"node": membership(view)}]}


def membership(view: ArtifactView) -> dict[str, Any]:
    """Return a version as one that its collection holds."""
    return {
        "id": ids.number("ArtifactCollectionMembership", view.artifact.seq),
        "createdAt": time_of(view.artifact.created_at),
        "artifact": view,
        "artifactCollection": view.collection,
        "versionIndex": view.artifact.version,
        "aliases": alias_nodes(view),
    }


RESOLVERS: Resolvers = {
    "Query": {"artifact": artifact, "clientIDMapping": client_id_mapping},
    "Project": {"artifact": by_name, "artifactCollectionMembership": membership_by_name},
    "Run": {
        "inputArtifacts": lambda view, info, **more: of_run(view, info, Part.INPUT, **more),
        "outputArtifacts": lambda view, info, **more: of_run(view, info, Part.OUTPUT, **more),
    },
    "ArtifactCollectionMembership": {"files": membership_files},
    "ArtifactCreator": {
        "__resolve_type": lambda one, *_: "Run" if isinstance(one, RunView) else "User"
    },
    "Artifact": {
        "id": lambda view, _: ids.number("Artifact", view.artifact.seq),
        "digest": of_filled(lambda view: view.artifact.digest),
        "digestAlgorithm": lambda *_: DIGEST_ALGORITHM,
        "ttlDurationSeconds": lambda view, _: ttl_of(view.artifact),
        "ttlIsInherited": lambda view, _: view.artifact.expires_at is None,
        "state": lambda view, _: STATES[view.artifact.state],
        "description": lambda view, _: view.artifact.description,
        "metadata": lambda view, _: view.artifact.metadata or metadata_of(view.artifact.job),
        "versionIndex": lambda view, _: view.artifact.version,
        "size": of_filled(lambda view: view.artifact.size),
        "fileCount": of_filled(lambda view: view.artifact.file_count),
        "createdAt": lambda view, _: time_of(view.artifact.created_at),
        "updatedAt": lambda view, _: time_of(view.artifact.updated_at),
        "historyStep": lambda view, _: view.artifact.history_step,
        "artifactSequence": lambda view, _: view.collection,
        "artifactType": lambda view, _: type_node(view.collection),
        "aliases": lambda view, _: alias_nodes(view),
        "tags": lambda view, _: [
            {"id": ids.node("ArtifactTag", str(view.artifact.seq), tag), "name": tag}
            for tag in view.artifact.tags
        ],
        "artifactMemberships": _memberships,
        "currentManifest": manifest,
        "files": files,
        "usedBy": used_by,
        "createdBy": created_by,
    },
}  # fmt: skip
