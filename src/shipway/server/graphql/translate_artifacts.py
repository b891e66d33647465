"""Puts artifacts into wandb's words, and its words into ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from shipway.domain.artifact import Artifact, ArtifactState, ArtifactView, Collection, ManifestKind
from shipway.domain.errors import Invalid
from shipway.server.graphql import ids
from shipway.server.graphql.translate import time_of
from shipway.service.artifact_uploads import FileAsk
from shipway.service.artifacts import ArtifactAsk, ArtifactEdit

T = TypeVar("T")
INHERIT = -1  # seconds to live, as the client writes them: as the project's
NO_TTL = -2  # without end

STATES: Mapping[ArtifactState, str] = {
    ArtifactState.PENDING: "PENDING",
    ArtifactState.COMMITTED: "COMMITTED",
    ArtifactState.DELETED: "DELETED",
}
KINDS: Mapping[str | None, ManifestKind] = {
    None: ManifestKind.FULL,
    "FULL": ManifestKind.FULL,
    "PATCH": ManifestKind.PATCH,
    "INCREMENTAL": ManifestKind.INCREMENTAL,
}


class ArtifactName(NamedTuple):
    """Where a version is found."""

    entity: str
    project: str
    name: str  # name:alias


def ask_of(values: Mapping[str, Any]) -> ArtifactAsk:
    """Read what `createArtifact` asks for."""
    names = values.get("artifactCollectionNames") or ()
    name = values.get("artifactCollectionName") or (names[0] if names else "")
    return ArtifactAsk(
        entity=values["entityName"] or None,
        project=values["projectName"] or None,
        type=values["artifactTypeName"],
        name=name,
        digest=values["digest"],
        run=values.get("runName"),
        description=values.get("description"),
        metadata=values.get("metadata"),
        aliases=_aliases(values.get("aliases"), of=name),
        tags=_tags(values.get("tags")),
        history_step=values.get("historyStep"),
        client_id=values.get("clientID"),
        distributed_id=values.get("distributedID"),
        ttl_s=_ttl(values.get("ttlDurationSeconds")),
    )


def edit_of(values: Mapping[str, Any]) -> ArtifactEdit:
    """Read what `updateArtifact` asks for; null means: as it is."""
    aliases = values.get("aliases")
    return ArtifactEdit(
        description=values.get("description"),
        metadata=values.get("metadata"),
        tags_to_add=_tags(values.get("tagsToAdd")),
        tags_to_delete=_tags(values.get("tagsToDelete")),
        aliases=None if aliases is None else [one["alias"] for one in aliases],
        ttl_s=_ttl(values.get("ttlDurationSeconds")),
    )


def ttl_of(artifact: Artifact) -> int:
    """Return how many seconds a version has from its creation on."""
    if artifact.expires_at is None:
        return NO_TTL
    return (artifact.expires_at - artifact.created_at) // 1_000


def override_of(value: object, asked: ArtifactName) -> ArtifactName | int:
    """Read which version a launch puts in the place of one that is asked for, or its number."""
    if isinstance(value, Mapping):
        value = f"_id/{value.get('id')}"
    if not isinstance(value, str):
        raise Invalid(
            f"overrides.artifacts has {value!r} for {asked.name!r}: write an artifact's address",
            field="overrides.artifacts",
            value=value,
        )
    text = value.removeprefix("wandb-artifact://")
    if text.startswith("_id/"):
        return ids.read_number("Artifact", text.removeprefix("_id/"))
    *above, name = text.split("/")
    project = above[-1] if above else asked.project
    return ArtifactName(above[-2] if len(above) > 1 else asked.entity, project, name)


def files_of(values: Sequence[Mapping[str, Any]]) -> list[FileAsk]:
    """Read which files `createArtifactFiles` asks for."""
    return [
        FileAsk(
            artifact=ids.read_number("Artifact", one["artifactID"]),
            path=one["name"],
            md5=one["md5"],
        )
        for one in values
    ]


def reader_of(path: str) -> Callable[[ArtifactView], Any]:
    """Return what a filter's or an order's key reads; `Invalid` names an unknown one."""
    return _reader(_FIELDS, path, of="artifacts")


def collection_reader_of(path: str) -> Callable[[Collection], Any]:
    """Return what a filter's or an order's key reads of a collection."""
    return _reader(_COLLECTION_FIELDS, path, of="collections")


def _reader(fields: Mapping[str, Callable[[T], Any]], path: str, *, of: str) -> Callable[[T], Any]:
    reader = fields.get(path)
    if reader is None:
        known = ", ".join(sorted(fields))
        raise Invalid(
            f"there is no field {path!r} to look for {of} by (there are: {known})", field=path
        )
    return reader


_FIELDS: Mapping[str, Callable[[ArtifactView], Any]] = {
    "state": lambda view: STATES[view.artifact.state],
    "alias": lambda view: list(view.aliases),
    "aliases": lambda view: list(view.aliases),
    "tag": lambda view: list(view.artifact.tags),
    "tags": lambda view: list(view.artifact.tags),
    "versionIndex": lambda view: view.artifact.version,
    "version": lambda view: view.artifact.version,
    "digest": lambda view: view.artifact.digest,
    "created_at": lambda view: time_of(view.artifact.created_at),
    "createdAt": lambda view: time_of(view.artifact.created_at),
    "updated_at": lambda view: time_of(view.artifact.updated_at),
    "updatedAt": lambda view: time_of(view.artifact.updated_at),
    "size": lambda view: view.artifact.size,
}

_COLLECTION_FIELDS: Mapping[str, Callable[[Collection], Any]] = {
    "name": lambda found: found.name,
    "description": lambda found: found.description,
    "type": lambda found: found.type,
    "tag": lambda found: list(found.tags),
    "tags": lambda found: list(found.tags),
    "created_at": lambda found: time_of(found.created_at),
    "createdAt": lambda found: time_of(found.created_at),
}


def _aliases(values: Sequence[Mapping[str, Any]] | None, *, of: str) -> list[str]:
    return [one["alias"] for one in values or () if one["artifactCollectionName"] in {of, ""}]


def _ttl(seconds: int | None) -> int | None:
    """Read a time to live: there is nothing to inherit one from, so that is none."""
    return 0 if seconds in {INHERIT, NO_TTL} else seconds


def _tags(values: Sequence[Mapping[str, Any]] | None) -> list[str]:
    return [one["tagName"] for one in values or ()]
