"""Who asks, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shipway.domain.ids import AgentId, ItemId, KeyId, UserName


class Role(StrEnum):
    """What a key allows."""

    ADMIN = "admin"  # everything
    MEMBER = "member"  # submits, sees and stops work, reads queues
    VIEWER = "viewer"  # reads
    AGENT = "agent"  # leases and reports, reads what it leased
    JOB = "job"  # a running program: its own attempt's logs, metrics, files, inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The holder of a key: identity for every permission and every event."""

    user: UserName
    role: Role
    entity: str  # the user's own entity, the default of everything they add
    key_id: KeyId
    item_id: ItemId | None = None  # a job's own item
    attempt: int = 0  # a job's own attempt

    @property
    def label(self) -> str:
        """The name that events carry."""
        return self.user if self.item_id is None else f"job:{self.item_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or a service account: a row of `users`."""

    name: UserName
    role: Role  # the most that a key of theirs may have
    entity: str
    is_disabled: bool
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A row of `keys`; the secret itself is never stored."""

    id: KeyId
    user: UserName
    role: Role
    secret_hash: str  # SHA-256 of the whole key, hex
    label: str
    created_at: int
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A signed-in browser: a row of `sessions`, revoked with its key."""

    id_hash: str
    key_id: KeyId
    csrf: str
    created_at: int
    seen_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRef:
    """An agent's own name for itself with the user whose key it holds."""

    id: AgentId
    user: UserName
