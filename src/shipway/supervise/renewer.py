"""Renews leases while the agent is away, asks the server once more for a frozen program."""

from __future__ import annotations

import json
import logging
import os
import select
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.domain.attempt import Cause
from shipway.domain.order import LOOK
from shipway.domain.spool import (
    LIVE_SEATS,
    STOP_CAUSES,
    GuardianWord,
    Verdict,
    Word,
    split_mark,
)
from shipway.runners.local_home import RENEWER_SOCKET, Settings, bind, slot_socket
from shipway.runners.local_machine import boot_ms, is_process
from shipway.supervise.pool import Pool

AWAY_AFTER_MS = 12_000  # without a beat the agent counts as away
RENEW_EVERY_MS = 10_000
MARGIN_MS = 3_000  # that a lease is trusted less long than its term
LOOK_EVERY_MS = 1_000
REQUEST_LIMIT_S = 4.0  # shorter than a frozen program waits
DEFAULT_GRACE_S = 10.0

log = logging.getLogger("shipway.supervise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A lease whose program a slot runs."""

    cell: int
    item: str
    token: str


def whom_to_renew(
    held: Sequence[Held], *, now: int, beat: int, last: int, asked: frozenset[int]
) -> list[Held]:
    """Return the leases to renew now: all while the agent is away, else those asked for."""
    is_due = now - beat > AWAY_AFTER_MS and now - last >= RENEW_EVERY_MS
    return [lease for lease in held if is_due or lease.cell in asked]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the server's answer means for one slot's cell."""

    cell: int
    deadline: int = 0  # 0 = as before
    stop_by: int = 0  # 0 = nobody asked
    is_lost: bool = False


def changes(answer: Mapping[str, Any], held: Sequence[Held], *, sent_at: int) -> list[Change]:
    """Read the server's answer to a renewal that left at `sent_at`."""
    cells = {lease.item: lease.cell for lease in held}
    found = [
        Change(cell=cells[entry["item"]], deadline=sent_at + entry["term_ms"] - MARGIN_MS)
        for entry in answer.get("renewed", ())
        if entry["item"] in cells
    ]
    found += [
        Change(cell=cells[item], is_lost=True) for item in answer.get("lost", ()) if item in cells
    ]
    for entry in answer.get("stops", ()):
        if entry["item"] in cells:
            grace = entry.get("grace_s")
            grace_ms = int((DEFAULT_GRACE_S if grace is None else grace) * 1000)
            found.append(Change(cell=cells[entry["item"]], stop_by=sent_at + grace_ms))
    return found


class Renewer:
    """A process of its own, so that nothing else ever waits for the network."""

    def __init__(self, pool: Pool, settings: Settings, lifeline: int) -> None:
        self._pool = pool
        self._settings = settings
        self._lifeline = lifeline
        self._last = 0
        self._is_orphaned = False

    def serve(self) -> None:
        """Renew until the guardian is gone and no program is left."""
        end = bind(self._pool.handle, RENEWER_SOCKET)
        poll = select.poll()
        poll.register(end, select.POLLIN)
        poll.register(self._lifeline, select.POLLIN)
        while True:
            events = poll.poll(LOOK_EVERY_MS)
            if any(file == self._lifeline for file, _ in events):
                self._is_orphaned = True
                poll.unregister(self._lifeline)
            asked = set()
            with suppress(BlockingIOError):
                while True:
                    asked.add(int(end.recv(64)))
            held = self._held()
            if self._is_orphaned and not held:
                return
            now = boot_ms()
            due = whom_to_renew(
                held, now=now, beat=self._pool.beat[0], last=self._last, asked=frozenset(asked)
            )
            if due:
                self._last = now
                for change in self._renew(due, now):
                    self._apply(change)
                    self._pool.tell(end, slot_socket(change.cell), LOOK)

    def _held(self) -> list[Held]:
        held = []
        count = self._pool.cell(0).words[GuardianWord.SLOTS]
        for cell, number in ((self._pool.cell(number), number) for number in range(1, count + 1)):
            words = cell.words
            if self._is_orphaned and not is_process(words[Word.PID], words[Word.PID_START]):
                continue  # nobody is left to write down that this slot died
            if words[Word.STATE] in LIVE_SEATS and cell.mark:
                item, _ = split_mark(cell.mark)
                held.append(Held(cell=number, item=item, token=cell.token))
        return held

    def _renew(self, held: Sequence[Held], now: int) -> list[Change]:
        body = {
            "agent": self._settings.agent,
            "leases": [{"item": lease.item, "token": lease.token} for lease in held],
        }
        try:
            return changes(self._post(body), held, sent_at=now)
        except (OSError, ValueError) as error:  # no server, no network, no JSON: ask again later
            log.warning("cannot renew leases", extra={"leases": len(held), "error": str(error)})
            return []

    def _post(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        import urllib.request  # noqa: PLC0415 - most renewers never need it

        key = Path(self._settings.key_file).read_text(encoding="ascii").strip()
        request = urllib.request.Request(  # noqa: S310 - the agent's own base URL
            self._settings.base_url.rstrip("/") + "/api/v1/leases/renew",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=REQUEST_LIMIT_S) as answer:  # noqa: S310 - as above
            found: Mapping[str, Any] = json.load(answer)
        return found

    def _apply(self, change: Change) -> None:
        words = self._pool.cell(change.cell).words
        if change.is_lost:
            words[Word.VERDICT] = Verdict.LOST
        words[Word.DEADLINE] = max(words[Word.DEADLINE], change.deadline)
        if change.stop_by and not words[Word.STOP_BY]:
            words[Word.STOP_CAUSE] = STOP_CAUSES.index(Cause.STOP)
            words[Word.STOP_BY] = change.stop_by


def run_renewer(pool: Pool, settings: Settings, lifeline: int) -> None:
    """Be the renewer until it leaves; the caller ends the process."""
    os.setsid()
    Renewer(pool, settings, lifeline).serve()
