"""Ends what a dead supervisor left behind: processes found by mark, by parent, by group."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from shipway.domain.attempt import Cause, Ending
from shipway.domain.spool import LIVE_SEATS, MARK_VARIABLE, META, Cell, Claim, Record, Word
from shipway.runners.local_journal import Journal
from shipway.runners.local_log import settle
from shipway.runners.local_machine import (
    environment_of,
    group_members,
    parent_of,
    process_start,
    processes,
    read_boot_id,
    wall_ms,
)

SWEEP_ROUNDS = 200  # looks at /proc before giving up on what cannot be killed
SWEEP_PAUSE_S = 0.02


def sweep(marks: Collection[str], groups: Collection[str]) -> int:
    """Kill every process of these attempts; return how many could not be ended."""
    needles = [f"{MARK_VARIABLE}={mark}".encode() for mark in marks]
    found: set[int] = set()
    for _ in range(SWEEP_ROUNDS):
        found = _owned(needles, groups)
        if not found:
            break
        for sent in (signal.SIGSTOP, signal.SIGKILL):
            for pid in found:
                with suppress(OSError):
                    os.kill(pid, sent)
        time.sleep(SWEEP_PAUSE_S)
    for group in groups:
        with suppress(OSError):
            Path(group).rmdir()
    return len(found)


def bury(folder: Path, journal: Journal, cell: Cell, reason: str) -> Record | None:
    """Write down that a slot died with its attempt; None if there was none or it had ended.

    Only for a slot that is dead, whose processes are gone, and by one process at a time.
    """
    mark = cell.mark
    if cell.words[Word.STATE] not in LIVE_SEATS or not (folder / mark / META).exists():
        return None
    claim = read_claim(folder / mark)
    if claim is not None and claim.slot_pid != cell.words[Word.PID]:
        return None
    last = journal.last()
    if last is not None and last.mark == mark:
        return None
    journal.prepare()
    ending = lost(folder / mark, reason, started_at=cell.words[Word.STARTED_AT])
    record = Record(mark=mark, token=cell.token, boot_id=read_boot_id(), ending=ending)
    journal.append(record.to_text())
    return record


def lost(folder: Path, reason: str, *, started_at: int) -> Ending:
    """Return the ending of an attempt whose supervisor died."""
    return Ending(
        cause=Cause.SUPERVISOR,
        reason=reason,
        started_at=started_at,
        ended_at=wall_ms(),
        log_size=settle(folder) + 1,  # what lay in its pipes is gone: nobody may call it whole
    )


def read_claim(folder: Path) -> Claim | None:
    """Return which slot took an attempt; None if none did, or died while writing it down."""
    try:
        return Claim.from_bytes((folder / META).read_bytes())
    except OSError:
        return None


def withdraw(folder: Path) -> None:
    """Take an attempt's claim before a slot does, so that none ever will; else nothing changes."""
    claim = Claim(
        generation=0, cell=0, slot_pid=0, slot_start=0, boot_id=read_boot_id(), group=""
    )  # fmt: skip
    fresh = folder / f"{META}.new"
    with suppress(OSError):  # a slot was faster; or nobody can write there
        fresh.write_bytes(claim.to_bytes())
        os.link(fresh, folder / META)
    fresh.unlink(missing_ok=True)


def _owned(needles: list[bytes], groups: Collection[str]) -> set[int]:
    found = {pid for group in groups for pid in group_members(group)}
    parents: dict[int, int] = {}
    for pid in processes():
        parent = parent_of(pid)
        if parent is None:
            continue
        parents[pid] = parent
        lines = environment_of(pid).split(b"\0")
        if any(needle in lines for needle in needles):
            found.add(pid)
    while True:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        if not children:
            break
        found |= children
    living = {pid for pid in found if pid in parents and process_start(pid) is not None}
    return living - {os.getpid()}
