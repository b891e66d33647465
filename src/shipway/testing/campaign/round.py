"""Plays one round: load, kills, the drain, the verdict."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from shipway.domain.attempt import LogStream, decode_frames
from shipway.domain.item import TERMINAL, State
from shipway.testing.campaign.evidence import Evidence, Row, read_events, read_lines, read_rows
from shipway.testing.campaign.load import Load
from shipway.testing.campaign.prey import Hunt, choose, creatures, programs
from shipway.testing.campaign.site import Site, site
from shipway.testing.campaign.verdict import Violation, history, judge, spent

DRAIN_S = 180.0  # until all has ended once nobody is killed any more
GONE_S = 15.0  # from the last start until nothing of an ended attempt lives
SHORTEST_S, LONGEST_S = 0.03, 0.4  # between strikes
CALM_EVERY, CALM_S = 30, 2.5  # strikes between rests, in which a server has work done
CALM_LIMIT_S = 20.0  # of a rest in which no server comes up
LOGS = 150  # of finished items, read back
_LOOK_S = 0.2
_ENDED = frozenset(state.value for state in TERMINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a round."""

    kind: str
    seed: int
    kills: int
    strikes: int
    killed: dict[str, int]
    attempts_killed: int
    items: int
    ends: dict[str, int]
    attempts: int
    spent: int  # items of the retried queue that were lost once too often
    stale: dict[str, int]  # answers to reports of former leases
    quits: dict[str, int]
    drain_s: float
    took_s: float
    violations: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def play(kind: str, seed: int, kills: int, keep: Path | None = None) -> Result:
    """Kill so many processes of a new site, and judge; what failed leaves its logs in `keep`."""
    began = time.monotonic()
    chance = Random(seed)
    with site(kind) as played:
        load = Load(played, f"{kind}-{seed}", Random(chance.random()))
        hunt = Hunt()
        load.begin()
        _hunt(played, hunt, chance, kills)
        last_start = time.monotonic()
        played.revive()
        load.finish()
        drain_s = _drain(played)
        left = _survivors(played, last_start)
        load.say_all_again()
        evidence = _evidence(played, load, hunt, left)
        wrong = judge(evidence)
        told = [_tell(one, evidence) for one in wrong]
        told += [f"a thread of the load died: {fault}" for fault in load.faults]
        if told and keep is not None:
            _keep(played, keep / f"{kind}-{seed}")
    rows = evidence.rows
    return Result(
        kind=kind,
        seed=seed,
        kills=hunt.count,
        strikes=hunt.strikes,
        killed=dict(hunt.kinds),
        attempts_killed=len(hunt.marks),
        items=len(rows),
        ends=dict(Counter(_end_of(row) for row in rows)),
        attempts=sum(row.attempt for row in rows),
        spent=len(spent(evidence)),
        stale=dict(load.stale),
        quits=dict(played.quits),
        drain_s=round(drain_s, 1),
        took_s=round(time.monotonic() - began, 1),
        violations=told,
    )


def _hunt(played: Site, hunt: Hunt, chance: Random, kills: int) -> None:
    while hunt.count < kills:
        time.sleep(chance.uniform(SHORTEST_S, LONGEST_S))
        found = creatures(played)
        hunt.strike(choose(found, chance))
        if chance.random() < 0.7:
            played.revive()
        if hunt.strikes % CALM_EVERY == CALM_EVERY - 1:
            _rest(played)


def _rest(played: Site) -> None:
    limit, end = time.monotonic() + CALM_LIMIT_S, 0.0
    while time.monotonic() < (end or limit):
        played.revive()
        if not end and played.is_up():
            end = time.monotonic() + CALM_S
        time.sleep(_LOOK_S)


def _drain(played: Site) -> float:
    """Wait until all items have ended; return how long that took, or the limit."""
    began = time.monotonic()
    while time.monotonic() - began < DRAIN_S:
        played.revive()
        time.sleep(_LOOK_S)
        with suppress(Exception):  # the database may just be starting
            if all(row.state in _ENDED for row in read_rows(played.database)):
                break
    return time.monotonic() - began


def _survivors(played: Site, last_start: float) -> list[str]:
    end = max(last_start, time.monotonic()) + GONE_S
    while (left := programs(played)) and time.monotonic() < end:
        time.sleep(_LOOK_S)
    ended = {row.id for row in read_rows(played.database) if row.state in _ENDED}
    return [f"{mark} has {pid}" for pid, mark in left.items() if mark.rpartition(".")[0] in ended]


def _evidence(played: Site, load: Load, hunt: Hunt, left: list[str]) -> Evidence:
    rows, events = read_rows(played.database), read_events(played.database)
    return Evidence(
        tasks=load.tasks,
        acks=load.acks,
        rows=rows,
        events=events,
        lines=read_lines(played.root / "record"),
        logs=_logs(played, rows),
        seen_ended=load.seen_ended,
        killed=hunt.marks,
        stale_accepted=[
            f"{said}" for said in load.believed if not said.has_taken_effect_before(events)
        ],
        refused=load.refused,
        survivors=left,
    )


def _logs(played: Site, rows: list[Row]) -> dict[str, bytes]:
    client, found = played.client(patience_s=20), {}
    finished = [row for row in rows if row.state == State.FINISHED]
    for row in finished[-LOGS:]:
        page = client.items.log(row.id, attempt=row.attempt)
        frames = decode_frames(page.data)
        found[row.id] = b"".join(one.data for one in frames if one.stream is LogStream.STDOUT)
    return found


def _tell(violation: Violation, evidence: Evidence) -> str:
    told = f"{violation.wrong}: {violation.item} {violation.text}"
    return f"{told}\n{history(evidence, violation.item)}" if violation.item else told


def _end_of(row: Row) -> str:
    return f"{row.queue} {row.state} {row.failure.get('failure_class', '')}".rstrip()


def _keep(played: Site, folder: Path) -> None:
    for log in [*played.root.rglob("*.log"), played.root / "record"]:
        target = folder / log.relative_to(played.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            shutil.copy(log, target)
