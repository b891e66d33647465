"""Does the server's own work each second: lease time, expired leases, logs to be sealed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from shipway.domain.attempt import LogChunk
from shipway.domain.errors import ShipwayError
from shipway.domain.run import ConsoleChunk
from shipway.server.edge import Edge
from shipway.service.upkeep import Seal, sealed, sealed_console

log = logging.getLogger("shipway.server")

TICK_S = 1.0
SEAL_EVERY = 30  # ticks
SILENCE_EVERY = 5  # ticks
PURGE_EVERY = 300  # ticks


class Chores:
    """Upkeep's clock hand."""

    def __init__(self, edge: Edge, *, holds_upkeep: Callable[[], bool]) -> None:
        self._edge = edge
        self._holds_upkeep = holds_upkeep  # of several servers on one database, one does it
        self._ticks = 0

    async def run(self) -> None:
        """Tick until cancelled; a failed tick is tried again a second later."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self.tick()
            except ShipwayError as error:
                log.warning("upkeep failed", extra={"fields": {"error": error.message}})
            except Exception:  # an outermost loop: leases must not stop for one bad row
                log.exception("upkeep failed")

    async def start(self) -> None:
        """Give every live lease a full new term before anything else is answered."""
        renewed = await self._edge.write(self._edge.service.upkeep.start)
        log.info("upkeep started", extra={"fields": {"leases": renewed}})

    async def tick(self) -> None:
        """Move lease time on and end what nobody renewed."""
        upkeep = self._edge.service.upkeep
        if not await self._edge.run(self._holds_upkeep):
            await self._edge.read(upkeep.follow)
            return
        renewed = await self._edge.write(upkeep.tick)
        if renewed:
            log.warning("upkeep came late", extra={"fields": {"leases_renewed": renewed}})
        ended = await self._edge.write(upkeep.expire)
        for item in ended:
            log.info(
                "lease expired", extra={"fields": {"item": item.id, "state": item.state.value}}
            )
        self._ticks += 1
        if self._ticks % SILENCE_EVERY == 0:
            for run in await self._edge.write(upkeep.give_up_runs):
                log.info("run crashed", extra={"fields": {"run": run.id, "project": run.project}})
            for worker in await self._edge.write(upkeep.give_up_workers):
                log.info("worker gone", extra={"fields": {"worker": worker.id}})
        if self._ticks % SEAL_EVERY == 0:
            await self.seal()
        if self._ticks % PURGE_EVERY == 0:
            await self._edge.write(self._edge.service.keys.purge)

    async def seal(self) -> None:
        """Make one blob of each ended log."""
        for seal in await self._edge.read(self._edge.service.upkeep.to_seal):
            await self._seal(seal)
        for seq, chunks in await self._edge.read(self._edge.service.upkeep.long_consoles):
            await self._seal_console(seq, chunks)

    async def _seal_console(self, seq: int, chunks: list[ConsoleChunk]) -> None:
        edge = self._edge

        def pack() -> ConsoleChunk:
            pieces = [edge.blobs.get(old.digest) for old in chunks]
            chunk, data = sealed_console(chunks, pieces)
            edge.blobs.put(chunk.digest, data)
            return chunk

        chunk = await edge.run(pack)
        await edge.write(lambda tx: tx.consoles.seal(seq, chunk))

    async def _seal(self, seal: Seal) -> None:
        edge = self._edge

        def pack() -> LogChunk:
            chunk, data = sealed(seal, [edge.blobs.get(old.digest) for old in seal.chunks])
            edge.blobs.put(chunk.digest, data)
            return chunk

        chunk = await edge.run(pack)
        replaced = [old.digest for old in seal.chunks]
        await edge.write(lambda tx: tx.logs.seal(chunk, replaces=replaced))
