"""Turns committed events into wake-ups, and looks for itself once a second."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from shipway.domain.errors import ShipwayError
from shipway.domain.ids import AgentId, ItemId, QueueId
from shipway.domain.item import Event, ItemEvent, Note, State
from shipway.server.edge import Edge
from shipway.server.polls import WAITING
from shipway.server.settle import Settler
from shipway.service.ports import ItemFilter, Tx

log = logging.getLogger("shipway.server")

LOOK_EVERY_S = 1.0
OVERLAP = 256  # events read again: on PostgreSQL a lower number may be committed later
CATCH_UP_LIMIT = 2_000
HEARD_LIMIT = 4_096
ASKS_AGENT = frozenset({Note.STOP_REQUEST.value, Note.DELETE.value})


class Hints:
    """Wakes whoever waits; nothing here decides anything, the rows do."""

    def __init__(self, *, edge: Edge, settler: Settler) -> None:
        self._edge = edge
        self._settler = settler
        self._heard: deque[int] = deque(maxlen=HEARD_LIMIT)
        self._heard_set: set[int] = set()
        self._newest = 0
        self._has_looked = False
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, events: Sequence[ItemEvent]) -> None:
        """Take the events of one commit; from the writer's thread."""
        self._settler.call(lambda: self._take(events))

    async def look(self) -> None:
        """Look once for items that fit an open poll, and for events that nobody told of."""
        edge = self._edge
        queues = edge.polls.queues()
        has_waits = bool(len(edge.item_waits) or len(edge.polls))
        newest = self._newest if has_waits or not self._has_looked else None
        waiting, events = await edge.read(lambda tx: _look(tx, queues, newest))
        for queue_id in waiting:
            edge.polls.hint_queue(queue_id, is_look=True)
        fresh = [event for event in events if event.seq not in self._heard_set]
        if self._has_looked:
            self._wake(fresh)
        else:  # what happened before the first look is nobody's news
            self._remember(fresh)
            self._has_looked = True

    async def run(self) -> None:
        """Look every second until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except ShipwayError as error:
                log.warning("look failed", extra={"fields": {"error": error.message}})
            except Exception:  # an outermost loop: the next look may do better
                log.exception("look failed")

    def _take(self, events: Sequence[ItemEvent]) -> None:
        self._edge.metrics.note(events)
        self._wake(events)

    def _wake(self, events: Sequence[ItemEvent]) -> None:
        self._remember(events)
        edge = self._edge
        for waits in (edge.item_waits, edge.log_waits):
            if len(waits):
                for item_id in dict.fromkeys(event.item_id for event in events):
                    waits.hint(item_id)
        for queue_id in waiting(events).values():  # each item wakes one agent more
            edge.polls.hint_queue(queue_id)
        asked = [event.item_id for event in events if event.event in ASKS_AGENT]
        if asked and len(edge.polls):
            task = asyncio.get_running_loop().create_task(self._wake_holders(asked))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _wake_holders(self, items: list[ItemId]) -> None:
        try:
            agents = await self._edge.read(lambda tx: _holders(tx, items))
        except ShipwayError as error:  # the agents hear of it with their next renewal
            log.warning("stop hint failed", extra={"fields": {"error": error.message}})
            return
        self._edge.polls.hint_agents(agents)

    def _remember(self, events: Sequence[ItemEvent]) -> None:
        for event in events:
            if event.seq in self._heard_set:
                continue
            if len(self._heard) == HEARD_LIMIT:
                self._heard_set.discard(self._heard[0])
            self._heard.append(event.seq)
            self._heard_set.add(event.seq)
            self._newest = max(self._newest, event.seq)


def waiting(events: Sequence[ItemEvent]) -> dict[ItemId, QueueId]:
    """Return what waits after these events, which may have been leased by the same commit."""
    found: dict[ItemId, QueueId] = {}
    for event in events:
        if event.event in WAITING:
            found[event.item_id] = event.queue_id
        elif event.event == Event.LEASE:
            found.pop(event.item_id, None)
    return found


def _look(
    tx: Tx, queues: Sequence[QueueId], newest: int | None
) -> tuple[list[QueueId], list[ItemEvent]]:
    waiting = [
        queue_id
        for queue_id in queues
        if tx.items.find(ItemFilter(queue_id=queue_id, state=State.PENDING, limit=1))
    ]
    if newest is None:  # nobody waits for anything
        return waiting, []
    last = tx.events.last_seq()
    if last == newest:
        return waiting, []
    since = max(0, (newest or last) - OVERLAP)
    return waiting, tx.events.after(since, limit=CATCH_UP_LIMIT)


def _holders(tx: Tx, items: Sequence[ItemId]) -> list[AgentId]:
    rows = [tx.items.get(item_id) for item_id in items]
    return [row.lease_agent for row in rows if row is not None and row.lease_agent is not None]
