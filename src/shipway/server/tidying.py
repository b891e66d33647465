"""Does upkeep that nobody waits for: the look at the disk, the purge, the reclaim of blobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from shipway.domain.disk import Room
from shipway.domain.errors import ShipwayError
from shipway.server.edge import Edge
from shipway.service.reclaim import Looking, Reading

log = logging.getLogger("shipway.server")

LOOK_S = 2.0  # between two looks at the disk
PURGE_S = 300.0  # between two purges
RECLAIM_S = 24 * 3_600.0  # between two reclaims
FIRST_S = 600.0  # before the first reclaim
PAUSE_S = 0.01  # between two steps, so that requests come in between


class Tidying:
    """A task of its own: leases and logs do not wait for it, nor it for them."""

    def __init__(
        self, edge: Edge, *, holds_upkeep: Callable[[], bool], room: Callable[[], Room] | None
    ) -> None:
        self._edge = edge
        self._holds_upkeep = holds_upkeep  # of several servers on one database, one does it
        self._room = room  # None: there is no disk to look at
        self._is_short = False
        self._purged_at = 0.0
        self._reclaimed_at = FIRST_S - RECLAIM_S

    async def run(self) -> None:
        """Go on until cancelled; what failed is tried again when it is due again."""
        began = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.turn(asyncio.get_running_loop().time() - began)
            except ShipwayError as error:
                log.warning("tidying failed", extra={"fields": {"error": error.message}})
            except Exception:  # an outermost loop: the disk must be watched whatever fails
                log.exception("tidying failed")

    async def turn(self, now: float) -> None:
        """Do what is due, at so many seconds since the start."""
        await self.look()
        is_due = now - self._purged_at >= PURGE_S
        if not is_due or not await self._edge.run(self._holds_upkeep):
            return
        self._purged_at = now
        await self.purge()
        if now - self._reclaimed_at >= RECLAIM_S:
            self._reclaimed_at = now
            await self.reclaim()

    async def look(self) -> None:
        """Look at the server's own disk: with too little room no new work is taken."""
        if self._room is None:
            return
        room = await self._edge.run(self._room)
        self._edge.service.space.note(room)
        if room.is_low != self._is_short:
            self._is_short = room.is_low
            said = "the disk is short: no new work is taken" if room.is_low else "disk has room"
            log.warning(said, extra={"fields": {"free": room.free, "total": room.total}})

    async def purge(self) -> None:
        """Clear what was deleted long ago, in parts that queue like everybody's writes."""
        upkeep, steps = self._edge.service.upkeep, 0
        while part := await self._edge.write(upkeep.purge):
            steps += part
            await asyncio.sleep(PAUSE_S)
        steps += await self._edge.write(upkeep.forget_agents)
        if steps:
            log.info("purged", extra={"fields": {"rows": steps}})

    async def reclaim(self) -> None:
        """Delete the blobs that nothing leads to."""
        edge = self._edge
        reclaim = edge.service.upkeep.reclaim(edge.blobs)
        for step in reclaim.steps():
            if isinstance(step, Looking):
                await edge.run(step.do)
            elif isinstance(step, Reading):
                await edge.read(step.do)
            else:
                await edge.write(step.do)
            await asyncio.sleep(PAUSE_S)
        if reclaim.count:
            fields = {"blobs": reclaim.count, "bytes": reclaim.bytes}
            log.info("blobs reclaimed", extra={"fields": fields})
