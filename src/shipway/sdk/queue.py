"""A queue: where launches wait, with its settings and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue as it was when it was asked for. Source: `GET /api/v1/queues/NAME`."""

    name: str
    entity: str
    project: str
    resource: str  # a resource, or `any`
    config: Mapping[str, Any] = field(default_factory=dict)
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    priorities: bool = False
    is_paused: bool = False
    on_lost: str = "fail"  # or retry:N
    lost_after_s: int = 900  # seconds
    max_attempts: int = 6
    external_links: Mapping[str, str] = field(default_factory=dict)  # label -> address
    personal: bool = False  # its maker's alone
    counts: Mapping[str, int] = field(default_factory=dict)  # items by state
    url: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Queue:
        """Read what the server answers; what this release does not know is left out."""
        return cls(**{name: value[name] for name in cls.__slots__ if name in value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent as it was when it was asked for. Source: `GET /api/v1/agents/ID`."""

    id: str
    user: str
    hostname: str
    version: str
    state: str  # active, draining, stopping or gone
    queues: tuple[str, ...]
    resources: tuple[str, ...]
    run_as: str
    slots: int  # -1: unlimited
    used_slots: int
    seen_at: int  # ms UTC

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Agent:
        """Read what the server answers; what this release does not know is left out."""
        known: dict[str, Any] = {name: value[name] for name in cls.__slots__}
        known["queues"] = tuple(known["queues"])
        known["resources"] = tuple(known["resources"])
        return cls(**known)
