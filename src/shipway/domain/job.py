"""The job: a reusable, versioned recipe of source and inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class JobKind(StrEnum):
    """What a job's source is."""

    GIT = "git"  # a commit of a repository
    CODE = "code"  # a capsule
    IMAGE = "image"  # a container image


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One version of a job: an artifact's, read as what to run."""

    entity: str
    project: str
    name: str
    version: int  # v0, v1, ...
    aliases: tuple[str, ...]  # `latest` is always one version's
    kind: JobKind
    source: Mapping[str, Any]  # as in a launch spec
    entry_point: tuple[str, ...] | None = None
    args: tuple[str, ...] = ()
    run_config: Mapping[str, Any] = field(default_factory=dict)
    resource: str | None = None
    resource_args: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None
    config_schema: Mapping[str, Any] | None = None  # what run_config may be
    file_schemas: Mapping[str, Any] = field(default_factory=dict)  # what files may be, by path
    is_partial: bool = False  # its first run says what goes in and what comes out
    description: str = ""
    created_by: str = ""
    created_at: int = 0

    @property
    def address(self) -> str:
        """The full name: `entity/project/name:vN`."""
        return f"{self.entity}/{self.project}/{self.name}:v{self.version}"
