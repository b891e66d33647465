"""The agent: what one has told the server of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shipway.domain.disk import Room
from shipway.domain.ids import AgentId, QueueId, UserName

CLIENT_FACT = "client"  # what such an agent says of itself, by the name that its client has
SETTLED_FACT = "settled"  # which process of it said, when it began, what it holds
LACKS_FACT = "lacks"  # resource -> why an agent does not offer it, as it registers
LACK_LIMIT = 300  # characters of such a reason that are shown
SILENT_AFTER_MS = 60_000  # an agent not heard of for so long is shown as away


class AgentState(StrEnum):
    """What an agent is asked to do, by itself or by an admin."""

    ACTIVE = "active"  # takes work
    DRAINING = "draining"  # finishes what it has, takes nothing new
    STOPPING = "stopping"  # asked to end
    GONE = "gone"  # said goodbye


class RunAs(StrEnum):
    """Whose items an agent runs."""

    SELF = "self"  # only those that its own shipway user submitted
    SHARED = "shared"  # everybody's, all as the agent's OS user


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A row of `agents`."""

    id: AgentId
    user: UserName
    hostname: str
    version: str
    state: AgentState
    queue_ids: tuple[QueueId, ...]
    queues: tuple[str, ...]
    resources: tuple[str, ...]
    run_as: RunAs
    slots: int  # -1: unlimited
    used_slots: int
    facts: Mapping[str, Any] = field(default_factory=dict)  # pythons, platform, schemas
    created_at: int
    seen_at: int

    @property
    def is_clients(self) -> bool:
        """Whether a client brought it along: it runs only what suits clients."""
        return CLIENT_FACT in self.facts

    def is_live(self, now: int) -> bool:
        """Tell whether it is there: it said no goodbye and was heard of lately."""
        return self.state is not AgentState.GONE and now - self.seen_at < SILENT_AFTER_MS

    def lack(self, resource: str) -> str:
        """Return why it does not offer a resource that it could have, if it said so."""
        lacks = self.facts.get(LACKS_FACT)
        said = lacks.get(resource) if isinstance(lacks, Mapping) else None
        return " ".join(said.split())[:LACK_LIMIT].rstrip(".") if isinstance(said, str) else ""

    @property
    def short_room(self) -> Room | None:
        """What is left of its disk, if that is too little for new work; None otherwise."""
        room = room_in(self.facts)
        return room if room is not None and room.is_low else None


def room_in(facts: Mapping[str, Any]) -> Room | None:
    """Return what an agent told of its disk, if it told anything that can be read."""
    disk = facts.get("disk")
    if not isinstance(disk, Mapping):
        return None
    free, total = disk.get("free"), disk.get("total")
    if not isinstance(free, int) or not isinstance(total, int):
        return None
    return Room(free=free, total=total)
