"""What every request works with: the service, the store and the waits, from the loop's side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from shipway.domain.errors import Overloaded
from shipway.domain.ids import ItemId
from shipway.domain.item import ItemEvent
from shipway.server.log_bytes import LogBytes
from shipway.server.metrics import Metrics
from shipway.server.polls import LeasePolls, Poll, Work
from shipway.server.replays import Replays
from shipway.server.settings import Settings
from shipway.server.settle import Settler
from shipway.server.signed import Signer
from shipway.server.waits import Waits
from shipway.service.ports import Clock, LargeBlobs, Store, Tx
from shipway.service.wiring import Service

T = TypeVar("T")
READERS = 8  # threads that read


class Edge:
    """One server's insides, as its handlers see them."""

    def __init__(
        self,
        *,
        settings: Settings,
        base_url: str,
        boot_id: str,
        store: Store,
        blobs: LargeBlobs,
        service: Service,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.base_url = base_url
        self.boot_id = boot_id
        self.store = store
        self.blobs = blobs
        self.service = service
        self.clock = clock
        self.metrics = Metrics()
        self.polls = LeasePolls()
        self.item_waits: Waits[ItemId] = Waits()
        self.log_waits: Waits[ItemId] = Waits()
        self.replays = Replays(clock=clock)
        self.log_bytes = LogBytes(blobs=blobs)
        self.signer = Signer(clock=clock, base_url=base_url)
        self.is_closing = False
        self._settler: Settler | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="shipway-read")
        self._reading = 0
        self._writing = 0

    def open(self, loop: asyncio.AbstractEventLoop) -> Settler:
        """Belong to a loop from now on."""
        self._settler = Settler(loop)
        return self._settler

    def close(self) -> None:
        """Let every wait end, and the readers with it."""
        self.is_closing = True
        self.polls.close()
        self.item_waits.close()
        self.log_waits.close()

    def shut(self) -> None:
        """End the reading threads."""
        self._readers.shutdown(wait=True)

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run work in the writer and return once it is committed; no thread waits for it."""
        assert self._settler is not None
        if self._writing >= self.settings.limits.writes:
            raise Overloaded(f"{self._writing} writes wait already; try again in a second")
        self._writing += 1
        try:
            result = await self._settler.watch(self.store.write(work))
        finally:
            self._writing -= 1
        self.metrics.writes += 1
        return result

    def claims(self, events: Sequence[ItemEvent]) -> list[tuple[Future[Any], Work]]:
        """Return the open polls' calls for what has just begun to wait; in the writer's thread."""
        return [self._claim(poll) for poll in self.polls.claims(events)]

    async def claimed(self, claim: Future[T]) -> T:
        """Return what a call came to that the writer took up by itself."""
        assert self._settler is not None
        result = await self._settler.watch(claim)
        self.metrics.writes += 1
        return result

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run work on a view of what is committed, in a thread of its own."""
        return await self.run(lambda: self._read(work))

    async def run(self, work: Callable[[], T]) -> T:
        """Run what would block the loop in a thread."""
        if self._reading >= self.settings.limits.reads:
            raise Overloaded(f"{self._reading} reads wait already; try again in a second")
        self._reading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        finally:
            self._reading -= 1

    def known_resources(self, tx: Tx, now: int) -> dict[str, bool]:
        """Return every known resource, and whether a live agent offers it."""
        live = {
            name for agent in tx.agents.find() if agent.is_live(now) for name in agent.resources
        }
        return {name: name in live for name in sorted(self.service.resources.known(tx) | live)}

    def _claim(self, poll: Poll) -> tuple[Future[Any], Work]:
        settler = self._settler
        assert settler is not None
        assert poll.claim is not None
        poll.claim.add_done_callback(lambda _: settler.call(poll.watch.hint))
        return poll.claim, poll.work

    def _read(self, work: Callable[[Tx], T]) -> T:
        with self.store.read() as tx:
            return work(tx)
