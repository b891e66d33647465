"""The artifact: a version of a collection of files, named by number and by aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest, UserName

LATEST = "latest"  # the alias that moves to each new version
JOB_TYPE = "job"  # artifacts of this type are jobs
NAME_LIMIT = 128  # characters of a collection's name, a type or an alias

_VERSION = re.compile(r"v(0|[1-9][0-9]{0,8})\Z")


class ArtifactState(StrEnum):
    """How far a version has come."""

    PENDING = "pending"  # its files are on their way: it has no number yet
    COMMITTED = "committed"  # whole, numbered, never to change
    DELETED = "deleted"  # gone from every list; its number stays used


class ManifestKind(StrEnum):
    """How a manifest stands to the files of its artifact."""

    FULL = "full"  # all of them
    PATCH = "patch"  # one part of several that make the whole
    INCREMENTAL = "incremental"  # what is added to a version before


class Part(StrEnum):
    """Which side of an artifact a run is on."""

    INPUT = "input"  # the run used it
    OUTPUT = "output"  # the run logged it


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A row of `artifact_collections`: versions under one name, of one type."""

    seq: int  # 0 until stored
    entity: str
    project: str
    name: str
    type: str
    description: str | None = None
    tags: tuple[str, ...] = ()
    created_at: int = 0
    created_by: str = ""
    deleted_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A row of `artifacts`: one version."""

    seq: int  # 0 until stored
    collection: int
    state: ArtifactState
    digest: str  # MD5 in hex of names and digests of its entries, as its client counts it
    version: int | None = None  # given at commit
    description: str | None = None
    metadata: str | None = None  # JSON, as the client wrote it
    tags: tuple[str, ...] = ()
    history_step: int | None = None
    wanted: tuple[str, ...] = ()  # aliases that move here at commit
    client_id: str | None = None
    distributed_id: str | None = None
    run_seq: int | None = None  # the run that made it
    created_by: UserName | None = None
    created_at: int = 0
    updated_at: int = 0
    manifest: Digest | None = None  # the blob that clients download; a job's may be yet to make
    contents: Digest | None = None  # the blob that says which blobs the files are
    file_count: int = 0
    size: int = 0
    job: Mapping[str, Any] | None = None  # of a job's version: what to run
    deleted_at: int | None = None
    expires_at: int | None = None  # it is deleted then


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """A manifest that a client announced, and sends."""

    seq: int  # 0 until stored
    artifact: int
    kind: ManifestKind
    md5: str  # in base64; empty until it is said
    base: int | None = None  # the artifact that an incremental one adds to
    digest: Digest | None = None  # the blob, once it has come


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactView:
    """A version with its collection and aliases."""

    artifact: Artifact
    collection: Collection
    aliases: tuple[str, ...] = field(default=())

    @property
    def address(self) -> str:
        """The full name: `entity/project/name:vN`."""
        return f"{self.collection.entity}/{self.collection.project}/{self.name}"

    @property
    def name(self) -> str:
        """The name within its project: `name:vN`."""
        return f"{self.collection.name}:v{self.artifact.version}"


def check_artifact_name(value: object, *, field: str) -> str:
    """Return the name of a collection, a type, an alias or a tag; raise `Invalid` otherwise."""
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= NAME_LIMIT
        or not value.isprintable()
        or value != value.strip()
        or any(char in value for char in "/:")
    ):
        raise Invalid(
            f"{field} {str(value)[:80]!r} must be 1 to {NAME_LIMIT} printable characters without "
            "'/' and ':'",
            field=field,
            value=value,
        )
    return value


def check_alias(value: object, *, field: str = "alias") -> str:
    """Return an alias; one that reads as a version is none."""
    alias = check_artifact_name(value, field=field)
    if version_of(alias) is not None:
        raise Invalid(f"alias {alias!r} reads as a version", field=field, value=alias)
    return alias


def version_of(alias: str) -> int | None:
    """Return the number that `vN` names; None for an alias."""
    found = _VERSION.match(alias)
    return None if found is None else int(found[1])


def split_name(name: str) -> tuple[str, str]:
    """Return collection and alias of `name`, `name:alias` or `name:vN`."""
    collection, _, alias = name.partition(":")
    return collection, alias or LATEST
