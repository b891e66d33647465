"""Stops every program of the embedded server, and waits until all have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from shipway.client import Client
from shipway.domain.agent import AgentState
from shipway.domain.errors import ShipwayError
from shipway.domain.item import HELD

STOP_WAIT_S = 120.0  # until the last program has ended; its grace is 10 s unless asked otherwise
LOOK_EVERY_S = 0.2
PAGE = 1_000  # items asked for at once


def stop_all(
    client: Client,
    *,
    say: Callable[[str], None],
    progress: Callable[[str], None],
    keep: Callable[[Sequence[str]], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Let the agents take nothing new, stop what they hold, and return how many that were."""
    # one that is gone may be about to come back: it must take nothing new either
    takers = {AgentState.ACTIVE, AgentState.GONE}
    active = [a["id"] for a in client.agents.find() if a["state"] in takers]
    keep(active)  # first: whoever kills this process must not leave agents idle for good
    for agent in active:
        client.agents.drain(agent)
    asked: set[str] = set()
    end = clock() + STOP_WAIT_S
    while live := _held(client):
        fresh = [item["id"] for item in live if item["id"] not in asked]
        if fresh and not asked:
            say(f"stopping {len(live)} {'program' if len(live) == 1 else 'programs'}")
        for item_id in fresh:
            client.items.stop(item_id)
        asked.update(fresh)
        left = end - clock()
        progress(f"{len(live)} still to end; waiting {max(left, 0):.0f} s more at most")
        if left < 0:
            progress("")
            names = ", ".join(item["id"] for item in live[:5])
            raise ShipwayError(
                f"{len(live)} programs had not ended after {STOP_WAIT_S:.0f} s ({names}): "
                "look at them with shipway item show"
            )
        sleep(LOOK_EVERY_S)
    progress("")
    return len(asked)


def _held(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for state in sorted(HELD):
        found += client.items.find(state=state, limit=PAGE)["items"]
    return found
