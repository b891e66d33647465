"""Takes events in batches, asks the plan, and does what it says; one thread, no waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import Any

from shipway.agent.courier import Reply
from shipway.agent.effects import (
    Build,
    Cool,
    Deadlines,
    Drain,
    Fetch,
    Forget,
    Record,
    Renew,
    Send,
    Start,
    Stop,
)
from shipway.agent.events import Event, Turn
from shipway.agent.journal import Journal
from shipway.agent.link import Link
from shipway.agent.need import Need, need_of
from shipway.agent.plan import steps
from shipway.agent.settle import held
from shipway.agent.state import State
from shipway.agent.work import Work

log = logging.getLogger(__name__)

TICK_S = 1.0  # the longest that time alone goes unnoticed while something is held
IDLE_S = 30.0
BATCH_LIMIT = 1_000  # events taken in one go


class Reason(StrEnum):
    """Why the loop ended."""

    STOPPED = "stopped"  # somebody asked this process
    ASKED = "asked"  # somebody asked the server
    EMPTY = "empty"  # `--once`, and nothing is left
    REFUSED = "refused"  # the server will not have this agent


class Loop:
    """The agent's one decision maker."""

    def __init__(
        self,
        *,
        state: State,
        link: Link,
        work: Work,
        journal: Journal,
        inbox: SimpleQueue[Event | Reply | None],
        boot_ms: Callable[[], int],
        is_once: bool = False,
    ) -> None:
        self.state = state
        self._held = held(state)  # told to the server once
        self._link = link
        self._work = work
        self._journal = journal
        self._inbox = inbox
        self._boot_ms = boot_ms
        self._is_once = is_once
        self._hands: dict[type, Callable[[Any], Event | None]] = {
            Fetch: lambda effect: work.fetch(effect.lease),
            Build: lambda effect: work.build(effect.lease),
            Cool: lambda effect: work.cool(effect.lease),
            Stop: work.stop,
            Deadlines: work.extend,
            Drain: work.drain,
            Renew: lambda effect: link.renew(effect.held),
            Send: lambda effect: link.send(effect.report),
        }

    def run(self, first: list[Event]) -> Reason:
        """Go on until there is a reason to end."""
        batch: list[Event | Reply | None] = [*first]
        while True:
            reason = self.turn(batch)
            if reason is not None:
                return reason
            batch = self._wait()

    def turn(self, batch: list[Event | Reply | None]) -> Reason | None:
        """Take what has come and do what follows; a simulator calls this in place of `run`."""
        if None in batch:
            return Reason.STOPPED
        self._turn(self._events(batch))
        stock = self._work.stock()
        need = need_of(self.state, self._boot_ms(), held=self._held, stock=stock)
        reason = self._over(need)
        if reason is None:
            self._link.pump(need)
        return reason

    def pause_s(self) -> float:
        """Return for how long nothing has to be done unless something comes."""
        limit = TICK_S if self.state.attempts else IDLE_S
        again = self._link.next_try()
        return limit if again is None else min(limit, again)

    def _events(self, batch: list[Event | Reply | None]) -> list[Event]:
        events: list[Event] = []
        for one in batch:
            if isinstance(one, Reply):
                events += self._link.take(one)
            elif one is not None:
                events.append(one)
        return events

    def _turn(self, events: list[Event]) -> None:
        """Take all events, and those that follow from them at once, until there are none."""
        while True:  # ends: each attempt has few phases, and each round moves one on
            self.state, effects = steps(self.state, [*events, Turn(at=self._boot_ms())])
            events.clear()
            if not effects:
                return
            self._journal.write([e for e in effects if type(e) is Record])
            # A slot that came free waits for nothing else; what is let go serves those that come.
            events += [self._work.start(e) for e in effects if type(e) is Start]
            self._work.forget([e for e in effects if type(e) is Forget])
            for effect in effects:
                hand = self._hands.get(type(effect))
                event = None if hand is None else hand(effect)
                if event is not None:
                    events.append(event)
            if not events:
                return

    def _over(self, need: Need) -> Reason | None:
        if self._link.refusal is not None:
            return Reason.REFUSED
        if self._link.is_stopping:
            return Reason.ASKED
        is_empty = self._link.is_dry and self._link.is_quiet and not need.is_holding
        return Reason.EMPTY if self._is_once and is_empty else None

    def _wait(self) -> list[Event | Reply | None]:
        """Return what has come, at once if there is something."""
        batch: list[Event | Reply | None] = []
        try:
            batch.append(self._inbox.get(timeout=self.pause_s()))
            while len(batch) < BATCH_LIMIT:
                batch.append(self._inbox.get_nowait())
        except Empty:
            pass
        return batch
