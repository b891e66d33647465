"""The REST interface of one server: a property per noun, a method per route."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from shipway.client.items import Items
from shipway.client.wire import PATIENCE_S, READ_TIMEOUT_S, Wire

if TYPE_CHECKING:
    from shipway.client.agents import Agents
    from shipway.client.blobs import Blobs
    from shipway.client.jobs import Jobs
    from shipway.client.leases import Leases
    from shipway.client.people import People
    from shipway.client.queues import Queues
    from shipway.client.runs import Runs
    from shipway.client.sweeps import Sweeps


class Client:
    """One server, one key; may be used from any thread.

    `timeout_s` bounds the wait for one answer, `patience_s` how long a request is tried again
    before `ShipwayError` with code `unreachable` names the address. JSON goes in and out as it
    is on the wire; errors are those of `shipway.domain.errors`, by code.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout_s: float = READ_TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.wire = Wire(base_url, key, timeout_s=timeout_s, patience_s=patience_s, env=env)
        self.items = Items(self.wire)

    @property
    def base_url(self) -> str:
        """The server's address, without a slash at its end."""
        return self.wire.base_url

    # The other nouns are imported when they are first used: `launch_add` needs none of them.

    @cached_property
    def leases(self) -> Leases:
        """What agents and supervisors ask for."""
        from shipway.client.leases import Leases  # noqa: PLC0415 - see above

        return Leases(self.wire)

    @cached_property
    def blobs(self) -> Blobs:
        """Bytes by digest."""
        from shipway.client.blobs import Blobs  # noqa: PLC0415 - see above

        return Blobs(self.wire)

    @cached_property
    def queues(self) -> Queues:
        """Queues."""
        from shipway.client.queues import Queues  # noqa: PLC0415 - see above

        return Queues(self.wire)

    @cached_property
    def jobs(self) -> Jobs:
        """Jobs."""
        from shipway.client.jobs import Jobs  # noqa: PLC0415 - see above

        return Jobs(self.wire)

    @cached_property
    def runs(self) -> Runs:
        """Runs."""
        from shipway.client.runs import Runs  # noqa: PLC0415 - see above

        return Runs(self.wire)

    @cached_property
    def sweeps(self) -> Sweeps:
        """Sweeps."""
        from shipway.client.sweeps import Sweeps  # noqa: PLC0415 - see above

        return Sweeps(self.wire)

    @cached_property
    def agents(self) -> Agents:
        """Agents."""
        from shipway.client.agents import Agents  # noqa: PLC0415 - see above

        return Agents(self.wire)

    @cached_property
    def people(self) -> People:
        """Users, keys and sign-in links."""
        from shipway.client.people import People  # noqa: PLC0415 - see above

        return People(self.wire)

    def me(self) -> dict[str, Any]:
        """Return whose key this is, and the server's version and protocol."""
        return self.wire.get("/me")

    def resources(self) -> dict[str, Any]:
        """Return the known resources by name, each with its schema and whether it is live."""
        found: dict[str, Any] = self.wire.get("/resources")["resources"]
        return found

    def health(self, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """Return status, version, boot id and protocol; asked once, needs no key."""
        return self.wire.health(timeout_s=timeout_s)

    def metrics(self) -> str:
        """Return the server's metrics in Prometheus' text form."""
        return self.wire.send("GET", "/metrics", root="").data.decode()

    def close(self) -> None:
        """Close this thread's connection."""
        self.wire.close()
