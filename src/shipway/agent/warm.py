"""Remembers of which sources a program can start the moment it is leased."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable

from shipway.agent.lease import Lease
from shipway.agent.need import Stock

SOURCES = 8  # that are offered in one call
COOL_MS = 30_000  # one that was not at hand in time is not offered for so long
COOLED = 256  # of which that is remembered


class Warm:
    """The sources of the last programs that were started here."""

    def __init__(self, *, folders: Callable[[Lease], int], boot_ms: Callable[[], int]) -> None:
        self._folders = folders  # for such programs; 0 where something else is missing
        self._boot_ms = boot_ms
        self._leases: OrderedDict[str, Lease] = OrderedDict()  # the last one of each source
        self._cooled: OrderedDict[str, int] = OrderedDict()
        self._last: Lease | None = None

    def note(self, lease: Lease) -> None:
        """Note that all a lease needed is there; most need what the one before did."""
        last, self._last = self._last, lease
        if last is not None and last.spec is lease.spec:
            return
        text = _text(lease)
        if text is not None:
            self._leases[text] = lease
            self._leases.move_to_end(text)
            while len(self._leases) > SOURCES:
                self._leases.popitem(last=False)

    def cool(self, lease: Lease) -> None:
        """Offer a lease's source no more for a while."""
        text = _text(lease)
        if text is not None:
            self._cooled[text] = self._boot_ms()
            self._cooled.move_to_end(text)
            while len(self._cooled) > COOLED:
                self._cooled.popitem(last=False)

    def stock(self) -> Stock:
        """Return what may be offered now."""
        now = self._boot_ms()
        sources, total = [], 0
        for text, lease in self._leases.items():
            if now - self._cooled.get(text, now - COOL_MS) < COOL_MS:
                continue
            folders = self._folders(lease)
            if folders:
                sources.append(lease.spec["source"])
                total += folders
        return Stock(sources=sources, folders=total)


def _text(lease: Lease) -> str | None:
    source = lease.spec.get("source")
    return json.dumps(source) if source else None
