"""The routes of agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shipway.client.wire import Wire, segment


class Agents:
    """`/agents`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def register(self, agent: Mapping[str, Any]) -> dict[str, Any]:
        """Tell the server what an agent is and serves; telling it again replaces that."""
        return self._wire.post("/agents", agent)

    def find(self) -> list[dict[str, Any]]:
        """Return the agents."""
        found: list[dict[str, Any]] = self._wire.get("/agents")["items"]
        return found

    def get(self, agent_id: str) -> dict[str, Any]:
        """Return an agent."""
        return self._wire.get(f"/agents/{segment(agent_id)}")

    def drain(self, agent_id: str) -> dict[str, Any]:
        """Ask an agent to finish what it has and take nothing new."""
        return self._wire.post(f"/agents/{segment(agent_id)}/drain")

    def resume(self, agent_id: str) -> dict[str, Any]:
        """Ask a draining agent to take work again."""
        return self._wire.post(f"/agents/{segment(agent_id)}/resume")

    def stop(self, agent_id: str) -> dict[str, Any]:
        """Ask an agent to end."""
        return self._wire.post(f"/agents/{segment(agent_id)}/stop")

    def tell(self, agent_id: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Change facts of an agent; None removes one."""
        return self._wire.post(f"/agents/{segment(agent_id)}/facts", {"facts": facts})

    def leave(self, agent_id: str, *, process: str) -> dict[str, Any]:
        """Say that an agent's process has ended; one that registered later is not touched."""
        return self._wire.post(f"/agents/{segment(agent_id)}/goodbye", {"process": process})
