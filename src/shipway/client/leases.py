"""The routes by which agents lease items and report on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shipway.client.wire import Wire


class Leases:
    """`/leases`; each call is tried once unless `patience_s` says otherwise: agents have a loop."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def lease(
        self, ask: Mapping[str, Any], *, wait_s: float = 0, patience_s: float = 0
    ) -> dict[str, Any]:
        """Lease items and carry reports; `wait_s` holds the request until there is something."""
        return self._post("/leases", {**ask, "wait_s": wait_s}, wait_s, patience_s)

    def renew(
        self, agent: str, held: Sequence[Mapping[str, str]], *, patience_s: float = 0
    ) -> dict[str, Any]:
        """Renew leases, each `{item, token}`; return those renewed and lost, and stops."""
        body = {"agent": agent, "leases": list(held)}
        return self._post("/leases/renew", body, 0, patience_s)

    def report(
        self, agent: str, reports: Sequence[Mapping[str, Any]], *, patience_s: float = 0
    ) -> list[dict[str, Any]]:
        """Report on held items; return one result per report, in order."""
        body = {"agent": agent, "reports": list(reports)}
        found: list[dict[str, Any]] = self._post("/leases/report", body, 0, patience_s)["results"]
        return found

    def _post(
        self, path: str, body: Mapping[str, Any], wait_s: float, patience_s: float
    ) -> dict[str, Any]:
        found: dict[str, Any] = self._wire.send(
            "POST", path, body=body, wait_s=wait_s, patience_s=patience_s
        ).json()
        return found
