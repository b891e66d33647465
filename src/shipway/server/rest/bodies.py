"""The bodies of requests, as FastAPI checks and documents them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr


class Body(BaseModel):
    """A JSON object without unknown keys."""

    model_config = ConfigDict(extra="forbid")


class StopBody(Body):
    """How an item is to be stopped."""

    grace_s: float | None = Field(default=None, description="seconds from SIGTERM to SIGKILL")


class PriorityBody(Body):
    """A new priority."""

    priority: StrictInt | StrictStr


class QueueSettings(Body):
    """What can be changed of a queue."""

    config: dict[str, Any] | None = None
    template_variables: dict[str, Any] | None = None
    priorities: StrictBool | None = None
    critical_for_admins: StrictBool | None = None
    on_lost: str | None = Field(default=None, description="'fail' or 'retry:N'")
    lost_after_s: StrictInt | None = None
    max_attempts: StrictInt | None = None
    external_links: dict[str, str] | None = Field(default=None, description="label to address")


class QueueBody(QueueSettings):
    """A new queue."""

    name: str
    resource: str
    entity: str | None = None
    project: str | None = None
    personal: StrictBool = Field(default=False, description="seen and used by its maker alone")


class JobBody(Body):
    """A job's next version."""

    name: str
    kind: str
    source: dict[str, Any]
    entry_point: list[StrictStr] | None = None
    args: list[StrictStr] | None = None
    run_config: dict[str, Any] | None = None
    resource: str | None = None
    resource_args: dict[str, Any] | None = None
    python: str | None = None
    config_schema: dict[str, Any] | None = None
    description: str | None = None
    aliases: list[StrictStr] | None = None
    entity: str | None = None
    project: str | None = None


class RunChange(Body):
    """Values to merge into a run's config and summary."""

    config: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None


class SweepChange(Body):
    """How a sweep is to go on."""

    state: StrictStr


class HistoryBody(Body):
    """Rows of a run's history; NaN and Infinity are allowed."""

    rows: list[dict[str, Any]]


class AgentBody(Body):
    """What an agent says of itself."""

    id: str
    hostname: str = ""
    version: str = ""
    queues: list[StrictStr]
    entity: str | None = None
    resources: list[StrictStr]
    run_as: str | None = None
    slots: StrictInt = 1
    facts: dict[str, Any] | None = None


class FactsBody(Body):
    """Facts of an agent that have changed; null removes one."""

    facts: dict[str, Any]


class GoodbyeBody(Body):
    """Which process of an agent has ended: what it gave as `facts.process`."""

    process: StrictStr


class DigestsBody(Body):
    """Names of blobs."""

    digests: list[StrictStr]


class UserBody(Body):
    """A new person or service account."""

    name: str
    role: str
    entity: str | None = None


class KeyBody(Body):
    """A new key."""

    user: str | None = None
    role: str | None = None
    label: str = ""
