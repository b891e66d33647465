"""A job: a recipe that can be launched again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One version of a job; `address` is what `launch_add(job=…)` takes.

    Source: `GET /api/v1/jobs/ENTITY/PROJECT/NAME:ALIAS`.
    """

    entity: str
    project: str
    name: str
    version: int
    kind: str  # git, code or image
    source: Mapping[str, Any]
    aliases: tuple[str, ...] = ()
    entry_point: tuple[str, ...] | None = None
    args: tuple[str, ...] = ()
    run_config: Mapping[str, Any] = field(default_factory=dict)
    resource: str | None = None
    resource_args: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None
    config_schema: Mapping[str, Any] | None = None
    file_schemas: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""

    @property
    def address(self) -> str:
        """`entity/project/name:vN`."""
        return f"{self.entity}/{self.project}/{self.name}:v{self.version}"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Job:
        """Read what the server answers."""
        entry_point = value.get("entry_point")
        return cls(
            entity=str(value["entity"]),
            project=str(value["project"]),
            name=str(value["name"]),
            version=int(str(value["version"]).removeprefix("v")),
            kind=str(value["kind"]),
            source=value["source"],
            aliases=tuple(value.get("aliases") or ()),
            entry_point=None if entry_point is None else tuple(entry_point),
            args=tuple(value.get("args") or ()),
            run_config=value.get("run_config") or {},
            resource=value.get("resource"),
            resource_args=value.get("resource_args") or {},
            python=value.get("python"),
            config_schema=value.get("config_schema"),
            file_schemas=value.get("file_schemas") or {},
            description=str(value.get("description") or ""),
        )
