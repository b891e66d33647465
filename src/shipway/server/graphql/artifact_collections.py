"""Answers collections and types of artifacts, and changes and deletes collections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from shipway.domain.artifact import ArtifactView, Collection
from shipway.domain.errors import NotFound
from shipway.server.call import Call
from shipway.server.graphql import ids
from shipway.server.graphql.artifacts import (
    DIGEST_ALGORITHM,
    alias_node,
    membership,
    page,
    type_node,
)
from shipway.server.graphql.filters import predicate
from shipway.server.graphql.projects import ProjectNode
from shipway.server.graphql.resolving import Info, Resolvers
from shipway.server.graphql.translate import time_of
from shipway.server.graphql.translate_artifacts import collection_reader_of, reader_of
from shipway.service.access import missing, own_entity
from shipway.service.artifact_views import version_named
from shipway.service.ports import Tx

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeNode:
    """A type of artifacts: it is there as long as a collection of it is."""

    entity: str
    project: str
    name: str
    created_at: int


async def types(node: ProjectNode, info: Info, **arguments: Any) -> dict[str, Any]:
    """Return a project's types."""
    arguments.pop("includeAll", None)
    return page(await _types(node, info), **arguments)


async def type_by_name(node: ProjectNode, info: Info, *, name: str) -> TypeNode | None:
    """Return a type, or null."""
    return next((one for one in await _types(node, info) if one.name == name), None)


async def collections_of_project(node: ProjectNode, info: Info, **arguments: Any) -> dict[str, Any]:
    """Return a project's collections."""
    return _page(await _collections(info.context, node.entity, node.name), **arguments)


async def collections_of_type(node: TypeNode, info: Info, **arguments: Any) -> dict[str, Any]:
    """Return the collections of a type."""
    found = await _collections(info.context, node.entity, node.project, type=node.name)
    return _page(found, **arguments)


async def collection_by_id(
    _: Any,
    info: Info,
    *,
    id: str,
) -> Collection | None:
    """Return a collection, or null."""
    call = info.context
    actor, lists = call.actor, call.edge.service.artifact_lists
    seq = ids.read_number("ArtifactCollection", id)
    return await call.edge.read(lambda tx: lists.numbered(tx, actor, seq))


async def collection_of_project(node: ProjectNode, info: Info, *, name: str) -> Any:
    """Return a collection, or null."""
    return await _collection(info.context, node.entity, node.name, name)


async def collection_of_type(node: TypeNode, info: Info, *, name: str) -> Any:
    """Return a collection of a type, or null."""
    return await _collection(info.context, node.entity, node.project, name, type=node.name)


async def artifact_of_type(node: TypeNode, info: Info, *, name: str) -> ArtifactView | None:
    """Return a version of a type, or null."""
    call = info.context
    actor, artifacts = call.actor, call.edge.service.artifacts
    return await call.edge.read(
        lambda tx: artifacts.named(tx, actor, node.entity, node.project, name, type=node.name)
    )


async def versions(
    node: Collection,
    info: Info,
    *,
    filters: str | None = None,
    order: str | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Return a page of a collection's versions that a filter leaves, in an order."""
    call, keep = info.context, predicate(filters, reader=reader_of)
    lists = call.edge.service.artifact_lists
    found = await call.edge.read(
        lambda tx: [view for view in lists.versions(tx, node) if keep(view)]
    )
    return page(_ordered(found, order, reader_of), **arguments)


async def latest(node: Collection, info: Info) -> ArtifactView | None:
    """Return the newest version of a collection."""
    call = info.context
    return await call.edge.read(lambda tx: call.edge.service.artifact_lists.latest(tx, node))


async def aliases(node: Collection, info: Info, **arguments: Any) -> dict[str, Any]:
    """Return a collection's aliases."""
    call = info.context
    found = await call.edge.read(lambda tx: call.edge.service.artifact_lists.aliases(tx, node))
    return page([alias_node(node, alias) for alias in found], **arguments)


async def member(
    node: Collection,
    info: Info,
    *,
    aliasName: str,  # noqa: N803 - the schema's name
) -> dict[str, Any] | None:
    """Return the version that an alias of a collection stands for, or null."""
    call = info.context
    view = await call.edge.read(lambda tx: version_named(tx, node, aliasName))
    return None if view is None else membership(view)


async def update(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Rename or describe a collection."""
    call = info.context
    actor, lists = call.actor, call.edge.service.artifact_lists
    seq = ids.read_number("ArtifactCollection", input["artifactSequenceID"])
    changed = await call.edge.write(
        lambda tx: lists.edit(
            tx, actor, seq, name=input.get("name"), description=input.get("description")
        )
    )
    return {"artifactCollection": changed}


async def move(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Give a collection another type."""
    call = info.context
    actor, lists = call.actor, call.edge.service.artifact_lists
    seq = ids.read_number("ArtifactCollection", input["artifactSequenceID"])
    kind = input["destinationArtifactTypeName"]
    changed = await call.edge.write(lambda tx: lists.edit(tx, actor, seq, type=kind))
    return {"artifactCollection": changed}


async def delete(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Delete a collection with its versions."""
    call = info.context
    actor, lists = call.actor, call.edge.service.artifact_lists
    seq = ids.read_number("ArtifactCollection", input["artifactSequenceID"])
    return {"artifactCollection": await call.edge.write(lambda tx: lists.delete(tx, actor, seq))}


async def add_tags(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Tag a collection."""
    changed = await _tag(info.context, input, is_added=True)
    return {"tags": [_tag_node(changed, tag) for tag in changed.tags]}


async def delete_tags(_: Any, info: Info, *, input: dict[str, Any]) -> dict[str, Any]:
    """Take tags from a collection."""
    await _tag(info.context, input, is_added=False)
    return {"success": True}


async def _tag(call: Call, values: dict[str, Any], *, is_added: bool) -> Collection:
    actor, lists = call.actor, call.edge.service.artifact_lists
    tags = [one["tagName"] for one in values["tags"]]

    def work(tx: Tx) -> Collection:
        entity = own_entity(actor, values["entityName"])
        name = values["artifactCollectionName"]
        found = lists.collection(tx, actor, entity, values["projectName"], name)
        if found is None:
            raise NotFound(missing(f"collection {name!r}"))
        if is_added:
            return lists.tag(tx, actor, found.seq, add=tags)
        return lists.tag(tx, actor, found.seq, remove=tags)

    return await call.edge.write(work)


async def _types(node: ProjectNode, info: Info) -> list[TypeNode]:
    call = info.context
    actor, lists = call.actor, call.edge.service.artifact_lists
    found = await call.edge.read(lambda tx: lists.types(tx, actor, node.entity, node.name))
    return [
        TypeNode(entity=node.entity, project=node.name, name=name, created_at=at)
        for name, at in found
    ]


async def _collections(
    call: Call, entity: str, project: str, *, type: str | None = None
) -> list[Collection]:
    actor, lists = call.actor, call.edge.service.artifact_lists
    return list(
        await call.edge.read(lambda tx: lists.collections(tx, actor, entity, project, type=type))
    )


async def _collection(
    call: Call, entity: str, project: str, name: str, *, type: str | None = None
) -> Collection | None:
    actor, lists = call.actor, call.edge.service.artifact_lists
    return await call.edge.read(
        lambda tx: lists.collection(tx, actor, entity, project, name, type=type)
    )


def _page(
    found: Sequence[Collection],
    *,
    filters: str | None = None,
    order: str | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    keep = predicate(filters, reader=collection_reader_of)
    kept = [one for one in found if keep(one)]
    return page(_ordered(kept, order, collection_reader_of), **arguments)


def _ordered(
    found: list[T], order: str | None, reader_of: Callable[[str], Callable[[T], Any]]
) -> list[T]:
    if not order:
        return found
    read = reader_of(order.lstrip("+-"))
    return sorted(found, key=lambda one: read(one) or 0, reverse=not order.startswith("+"))


def _tag_node(node: Collection, tag: str) -> dict[str, Any]:
    return {"id": ids.node("Tag", str(node.seq), tag), "name": tag}


RESOLVERS: Resolvers = {
    "Query": {"artifactCollection": collection_by_id},
    "Project": {
        "artifactTypes": types,
        "artifactType": type_by_name,
        "artifactCollections": collections_of_project,
        "artifactCollection": collection_of_project,
    },
    "ArtifactType": {
        "id": lambda node, _: (
            node["id"]
            if isinstance(node, dict)
            else ids.node("ArtifactType", node.entity, node.project, node.name)
        ),
        "createdAt": lambda node, _: time_of(getattr(node, "created_at", None)),
        "artifactCollections": collections_of_type,
        "artifactCollection": collection_of_type,
        "artifactSequence": collection_of_type,
        "artifact": artifact_of_type,
    },
    "ArtifactCollection": {"__resolve_type": lambda *_: "ArtifactSequence"},
    "ArtifactSequence": {
        "id": lambda node, _: ids.number("ArtifactCollection", node.seq),
        "createdAt": lambda node, _: time_of(node.created_at),
        "project": lambda node, _: ProjectNode(entity=node.entity, name=node.project),
        "state": lambda node, _: "READY" if node.deleted_at is None else "DELETED",
        "artifacts": versions,
        "artifactMembership": member,
        "aliases": aliases,
        "tags": lambda node, _: {"edges": [{"node": _tag_node(node, tag)} for tag in node.tags]},
        "latestArtifact": latest,
        "updatedAt": lambda node, _: time_of(node.created_at),
        "defaultArtifactType": lambda node, _: type_node(node),
        "digestAlgorithm": lambda *_: DIGEST_ALGORITHM,
    },
    "Mutation": {
        "updateArtifactSequence": update,
        "moveArtifactSequence": move,
        "deleteArtifactSequence": delete,
        "createArtifactCollectionTagAssignments": add_tags,
        "deleteArtifactCollectionTagAssignments": delete_tags,
    },
}
