"""Queues the schedulers of launched sweeps: programs that push a sweep's runs to a queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from shipway.domain.actor import Actor
from shipway.domain.errors import Conflict
from shipway.domain.item import TERMINAL
from shipway.domain.launch_spec import Draft
from shipway.domain.sweep import Sweep
from shipway.service.items import Items
from shipway.service.ports import Clock, Tx
from shipway.service.sweeps import check_drives

# Given a sweep and how many schedulers it had: the launch, and what of it is kept as its text.
Plan = Callable[[Sweep, int], tuple[Draft, str]]


class SweepLaunches:
    """Use cases of schedulers; the program of one acts for whoever launched it, while it runs."""

    def __init__(self, *, clock: Clock, items: Items) -> None:
        self._clock = clock
        self._items = items

    def launch(self, tx: Tx, actor: Actor, sweep: Sweep, plan: Plan) -> Sweep:
        """Queue a sweep's scheduler; one that still waits or runs is in the way."""
        check_drives(actor, sweep)
        held = tx.sweeps.hold(sweep.seq)
        assert held is not None
        before = None if held.scheduler_item is None else tx.items.get(held.scheduler_item)
        if before is not None and before.state not in TERMINAL:
            raise Conflict(
                f"sweep {held.id} has a scheduler, item {before.id}: it is {before.state}"
            )
        draft, text = plan(held, held.scheduler_count)
        ((item, _),) = self._items.enqueue(tx, actor, [(draft, None)])
        changed = replace(
            held,
            scheduler=text,
            scheduler_item=item.id,
            scheduler_count=held.scheduler_count + 1,
            updated_at=self._clock.now(),
        )
        tx.sweeps.amend(changed)
        return changed
