"""Finds the processes of a site, and kills some of them."""

from __future__ import annotations

import mmap
import os
import signal
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from shipway.domain.spool import MARK_VARIABLE, Cell, GuardianWord, Word
from shipway.runners.local_home import GuardianFacts, generation_name, generations
from shipway.runners.local_machine import environment_of, process_start, processes
from shipway.testing.campaign.site import Site

BOARDS = 2  # generations whose boards may hold a living slot
WEIGHTS: Mapping[str, float] = {
    "up": 0.5, "server": 2, "agent": 2, "guardian": 2, "slot": 9, "renewer": 0.5,
    "postmaster": 1, "backend": 0.7,
}  # fmt: skip
TRIED = 3  # an item of which so many slots were killed is spared, so that its retries suffice
_MARK = f"{MARK_VARIABLE}=".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Creature:
    """A process that may be killed."""

    pid: int
    kind: str
    home: Path | None = None  # of the supervisor that it belongs to


@dataclass(slots=True)
class Hunt:
    """Who was killed so far."""

    kinds: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)  # of attempts whose slot was killed
    strikes: int = 0

    @property
    def count(self) -> int:
        """How many processes were killed."""
        return self.kinds.total()

    def strike(self, creatures: Collection[Creature]) -> None:
        """Kill processes at once: all are stopped first, so that none sees another die."""
        boards = {c.home: Board(c.home) for c in creatures if c.home is not None}
        slots = {c.pid: boards[c.home] for c in creatures if c.kind == "slot" and c.home}
        before = {pid: board.mark_of(pid) for pid, board in slots.items()}
        spared = {pid for pid, mark in before.items() if self._is_tried(mark)}
        prey = [creature for creature in creatures if creature.pid not in spared]
        if len(prey) > 1:
            _send(prey, signal.SIGSTOP)
        between = {pid: board.mark_of(pid) for pid, board in slots.items()}
        killed = _send(prey, signal.SIGKILL)
        for pid, board in slots.items():
            if pid not in spared:
                self.marks.update({before[pid], between[pid], board.mark_of(pid)} - {""})
        self.kinds.update(creature.kind for creature in killed)
        self.strikes += bool(killed)

    def _is_tried(self, mark: str) -> bool:
        item = mark.rpartition(".")[0]
        return (
            bool(item)
            and sum(
                count for found, count in self.marks.items() if found.rpartition(".")[0] == item
            )
            >= TRIED
        )


class Board:
    """What the slots of a supervisor's newest generations hold."""

    def __init__(self, home: Path) -> None:
        self._boards = []
        with suppress(OSError, ValueError):
            for number in generations(home)[-BOARDS:]:
                file = os.open(home / generation_name(number) / "board", os.O_RDONLY)
                try:
                    view = mmap.mmap(file, 0, prot=mmap.PROT_READ)
                finally:
                    os.close(file)
                self._boards.append(memoryview(view))

    def has(self, pid: int) -> bool:
        """Tell whether a process is a slot with a cell."""
        return self._cell(pid) is not None

    def mark_of(self, pid: int) -> str:
        """Return the mark that a slot holds, or held last."""
        cell = self._cell(pid)
        return "" if cell is None else cell.mark

    def _cell(self, pid: int) -> Cell | None:
        for board in reversed(self._boards):
            count = Cell(board, 0).words[GuardianWord.SLOTS]
            for number in range(1, count + 1):
                cell = Cell(board, number)
                if cell.words[Word.PID] == pid:
                    return cell
        return None


def creatures(site: Site) -> list[Creature]:
    """Return what of a site may be killed."""
    found = list(_postgres(site))
    guardians: dict[Path, int] = {}
    boards: dict[Path, Board] = {}
    for pid in belongings(site):
        if _MARK in environment_of(pid):
            continue
        words = _command(pid)
        kind = _kind(words)
        if kind != "slot":
            if kind:
                found.append(Creature(pid=pid, kind=kind))
            continue
        home = Path(words[words.index("--home") + 1]) if "--home" in words else None
        if home is None:
            continue
        if home not in guardians:
            facts = GuardianFacts.read(home)
            guardians[home] = facts.pid if facts is not None else 0
            boards[home] = Board(home)
        if pid == guardians[home]:
            kind = "guardian"
        elif not boards[home].has(pid):
            kind = "renewer"  # or a slot that has no cell yet
        found.append(Creature(pid=pid, kind=kind, home=home))
    return found


def choose(found: Collection[Creature], chance: Random) -> list[Creature]:
    """Choose whom to kill next: mostly one, sometimes some, a whole supervisor, or all."""
    if not found:
        return []
    dice = chance.random()
    if dice < 0.02:
        return list(found)
    homes = sorted({str(one.home) for one in found if one.home is not None})
    if dice < 0.10 and homes:
        home = chance.choice(homes)
        return [one for one in found if str(one.home) == home]
    count = 1 if dice < 0.75 else chance.randint(2, 4)
    chosen: list[Creature] = []
    for kind in chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count):
        rest = [one for one in found if one.kind == kind and one not in chosen]
        chosen += [chance.choice(rest)] if rest else []
    return chosen


def belongings(site: Site) -> list[int]:
    """Return every process of a site, programs too, but for its database's."""
    prefix = f"SHIPWAY_HOME={site.root}/".encode()
    record = f"RECORD={site.root}/".encode()
    found = []
    for pid in processes():
        text = environment_of(pid)
        if (prefix in text or record in text) and process_start(pid) is not None:
            found.append(pid)
    return found


def programs(site: Site) -> dict[int, str]:
    """Return the processes of programs, each with its attempt's mark."""
    record = f"RECORD={site.root}/".encode()
    found = {}
    for pid in processes():
        lines = environment_of(pid).split(b"\0")
        mark = next((line for line in lines if line.startswith(_MARK)), b"")
        is_ours = any(line.startswith(record) for line in lines)
        if mark and is_ours and process_start(pid) is not None:
            found[pid] = mark.removeprefix(_MARK).decode()
    return found


def _send(prey: Collection[Creature], number: int) -> list[Creature]:
    sent = []
    for creature in prey:
        with suppress(ProcessLookupError):
            os.kill(creature.pid, number)
            sent.append(creature)
    return sent


def _postgres(site: Site) -> Iterator[Creature]:
    if site.postgres is None or site.postgres.process is None:
        return
    process = site.postgres.process
    if process.poll() is not None:
        return
    yield Creature(pid=process.pid, kind="postmaster")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with suppress(OSError):
        for pid in map(int, children.read_text().split()):
            yield Creature(pid=pid, kind="backend")


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


def _kind(words: list[str]) -> str:
    text = " ".join(words)
    for part, kind in (
        ("-m shipway.supervise", "slot"),
        ("shipway.server", "server"),
        ("shipway.agent", "agent"),
        ("-m shipway server", "server"),
        ("-m shipway agent", "agent"),
        ("-m shipway up", "up"),
    ):
        if part in text:
            return kind
    return ""
