"""The calls of the server that an agent needs; `shipway.client.Client` has them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


class LeaseCalls(Protocol):
    """Work: JSON in and out as it is on the wire; each is safe to call again."""

    def lease(
        self, ask: Mapping[str, Any], *, wait_s: float = 0, patience_s: float = 0
    ) -> Mapping[str, Any]:
        """Lease items and carry reports; a report that took effect before is answered ok."""

    def renew(
        self, agent: str, held: Sequence[Mapping[str, str]], *, patience_s: float = 0
    ) -> Mapping[str, Any]:
        """Renew leases; return those renewed and lost, and stops."""

    def report(
        self, agent: str, reports: Sequence[Mapping[str, Any]], *, patience_s: float = 0
    ) -> Sequence[Mapping[str, Any]]:
        """Report on leases; return a result each, in order."""


class ItemCalls(Protocol):
    """What is written on behalf of one lease."""

    def append_log(
        self,
        item_id: str,
        name: str,
        packed: bytes,
        *,
        token: str,
        attempt: int,
        offset: int,
        first_at: int,
        last_at: int,
    ) -> int:
        """Append a piece of a log; a second call raises `WrongOffset` with the size there is."""

    def pin(self, item_id: str, *, token: str, lock: str) -> Mapping[str, Any]:
        """Pin the digest of the resolved lock; a second call changes nothing."""


class BlobCalls(Protocol):
    """Bytes by digest; each is safe to call again."""

    def missing(self, digests: Sequence[str]) -> Sequence[str]:
        """Return those that the server lacks."""

    def put(self, digest: str, data: bytes) -> None:
        """Store one blob."""

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes, checked."""

    def get_many(self, digests: Sequence[str], take: Callable[[str, bytes], None]) -> None:
        """Call `take(digest, bytes)` for each blob, checked, in any order."""


class AgentCalls(Protocol):
    """The agent's own row."""

    def register(self, agent: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell what this agent is and serves; a second call replaces the first."""

    def tell(self, agent_id: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change facts of this agent; None removes one; a second call changes nothing."""

    def leave(self, agent_id: str, *, process: str) -> Mapping[str, Any]:
        """Say that this process of the agent has ended; a second call changes nothing."""


class Transport(Protocol):
    """One server, one key; may be used from any thread."""

    @property
    def leases(self) -> LeaseCalls: ...
    @property
    def items(self) -> ItemCalls: ...
    @property
    def blobs(self) -> BlobCalls: ...
    @property
    def agents(self) -> AgentCalls: ...


class ServerBlobs:
    """Gives sources the server's blobs."""

    def __init__(self, calls: BlobCalls) -> None:
        self._calls = calls

    def read(self, digest: str) -> bytes:
        """Return a blob's bytes, verified."""
        return self._calls.get(digest)

    def read_many(self, digests: list[str], take: Callable[[str, bytes], None]) -> None:
        """Call `take` for each blob, verified, in any order."""
        self._calls.get_many(digests, take)
