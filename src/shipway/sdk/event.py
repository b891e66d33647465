"""What happened to an item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to an item; `at` is in milliseconds UTC."""

    seq: int
    event: str
    state: str
    attempt: int
    actor: str
    at: int
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Event:
        """Read what the server answers."""
        return cls(
            seq=int(value["seq"]),
            event=str(value["event"]),
            state=str(value["state"]),
            attempt=int(value["attempt"]),
            actor=str(value["actor"]),
            at=int(value["at"]),
            data=value.get("data") or {},
        )
