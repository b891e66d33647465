"""An agent's home is held to its bounds, and a short disk takes no new work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shipway.agent.bounds import HOUR_S, YOUNG_S, Bounds
from shipway.agent.cleaning import Cleaner, Kind, Shelf
from shipway.agent.events import RoomSeen
from shipway.agent.home import Home
from shipway.agent.lease import Lease
from shipway.agent.upkeep import FIRST_TIDY_MS, LOOK_S, TELL_MS, TIDY_MS, Upkeep
from shipway.agent.workdir import FAILED_MARK, USES
from shipway.domain.disk import Room
from shipway.domain.errors import ShipwayError
from shipway.plugins.kept import Kept
from tests.support.agent_plan import Agent, a_lease, room

NOW = 100_000_000.0
WIDE = Room(free=10**11, total=10**12)
SHORT = Room(free=10**9, total=10**12)


class Cache:
    """A plugin that keeps three things, and lets go of what it is told to."""

    def __init__(self, root: Path) -> None:
        self.things = [root / name for name in ("oldest", "older", "old")]
        self.gone: list[str] = []

    def kept(self, cache: Path) -> list[Kept]:
        assert cache == self.things[0].parent
        return [
            Kept(path=path, used_at=NOW - (9 - place) * YOUNG_S, files={place: 10})
            for place, path in enumerate(self.things)
        ]

    def evict(self, cache: Path, gone: Kept) -> bool:
        assert cache == self.things[0].parent
        self.gone.append(gone.path.name)
        return True


def a_cleaner(tmp_path: Path, **bounds: Any) -> tuple[Cleaner, Cache, Home]:
    home = Home(path=tmp_path)
    cache = Cache(home.environments)
    shelf = Shelf(kind=Kind.ENVIRONMENTS, cache=home.environments, keeper=cache)
    home.attempts.mkdir()
    cleaner = Cleaner(home, Bounds(**bounds), lambda: [shelf], now=lambda: NOW)
    return cleaner, cache, home


def a_folder(home: Home, name: str, *, failed_h: float | None = None, age_h: float = 0) -> Path:
    folder = home.attempts / name
    folder.mkdir()
    (folder / "out.txt").write_text("kept")
    if failed_h is not None:
        (folder / FAILED_MARK).touch()
        at = NOW - failed_h * HOUR_S
        os.utime(folder / FAILED_MARK, (at, at))
    at = NOW - age_h * HOUR_S
    os.utime(folder, (at, at))
    return folder


def test_failed_folders_go_after_a_week_or_when_there_are_too_many(tmp_path: Path) -> None:
    cleaner, _, home = a_cleaner(tmp_path, keep_failed=2)
    a_folder(home, "new", failed_h=1)
    a_folder(home, "old", failed_h=167)
    assert cleaner.find(WIDE) == []
    a_folder(home, "newer", failed_h=0.5)
    a_folder(home, "week", failed_h=169)
    gone = cleaner.find(WIDE)
    assert [one.path.name for one in gone] == ["old", "week"]
    assert all(one.do() and one.bytes > 0 for one in gone)
    assert sorted(path.name for path in home.attempts.iterdir()) == ["new", "newer"]


def test_folders_that_nobody_may_use_any_more_go_after_a_day(tmp_path: Path) -> None:
    cleaner, _, home = a_cleaner(tmp_path)
    a_folder(home, "day", age_h=25)
    a_folder(home, "hour", age_h=1)
    assert cleaner.find(WIDE) == []
    assert [one.path.name for one in cleaner.find(WIDE, is_abandoned=True)] == ["day"]


def test_what_an_attempt_says_it_uses_stays(tmp_path: Path) -> None:
    cleaner, cache, home = a_cleaner(tmp_path, environments=0)
    (a_folder(home, "live") / USES).write_text(f"{cache.things[0]}\n{cache.things[1]}/inner")
    (a_folder(home, "over", failed_h=1) / USES).write_text(str(cache.things[2]))
    assert [one.path.name for one in cleaner.find(WIDE)] == ["old"]
    assert cleaner.find(WIDE, in_use=[cache.things[2] / "tree"]) == []


def test_a_short_disk_takes_from_the_caches_what_it_needs(tmp_path: Path) -> None:
    cleaner, _, _ = a_cleaner(tmp_path)
    assert cleaner.find(WIDE) == []
    missing = Room(free=2_000_000_000 - 15, total=10**12)
    assert [one.path.name for one in cleaner.find(missing)] == ["oldest", "older"]


@dataclass
class Watched:
    """An upkeep on a disk that a test fills."""

    cleaner: Cleaner
    room: Room = WIDE
    now: int = 0
    heard: list[RoomSeen] = field(default_factory=list)
    told: list[Mapping[str, Any]] = field(default_factory=list)
    is_away: bool = False
    expired: int = 0

    def upkeep(self) -> Upkeep:
        return Upkeep(
            cleaner=self.cleaner,
            room=lambda: self.room,
            in_use=tuple,
            expire=self.expire,
            emit=self.heard.append,
            tell=self.tell,
            boot_ms=lambda: self.now,
        )

    def tell(self, facts: Mapping[str, Any]) -> None:
        if self.is_away:
            raise ShipwayError("away")
        self.told.append(facts)

    def expire(self) -> None:
        self.expired += 1


def test_the_loop_and_the_server_hear_of_a_change_once(tmp_path: Path) -> None:
    watched = Watched(a_cleaner(tmp_path)[0])
    upkeep = watched.upkeep()
    assert not upkeep.begin().is_short
    upkeep.look()
    watched.room = SHORT
    upkeep.look()
    upkeep.look()
    watched.room = WIDE
    upkeep.look()
    assert [event.is_short for event in watched.heard] == [True, False]
    assert watched.told == [{"disk": SHORT.to_json()}, {"disk": None}]


def test_a_server_that_did_not_hear_is_told_again(tmp_path: Path) -> None:
    watched = Watched(a_cleaner(tmp_path)[0], room=SHORT, is_away=True)
    upkeep = watched.upkeep()
    assert upkeep.begin().is_short
    upkeep.look()
    watched.is_away = False
    upkeep.look()
    watched.now += TELL_MS - 1
    upkeep.look()
    assert len(watched.told) == 1
    watched.now += 1
    upkeep.look()  # it may be another server by now
    assert watched.told == [{"disk": SHORT.to_json()}] * 2


def test_the_home_is_looked_over_each_hour_and_at_once_on_a_short_disk(tmp_path: Path) -> None:
    cleaner, cache, _ = a_cleaner(tmp_path, environments=20)
    watched = Watched(cleaner)
    upkeep = watched.upkeep()
    watched.now = FIRST_TIDY_MS - 1
    upkeep.look()
    assert watched.expired == 0
    watched.now = FIRST_TIDY_MS
    upkeep.look()
    assert (watched.expired, cache.gone) == (1, ["oldest"])
    watched.now += int(LOOK_S * 1000)
    upkeep.look()
    assert watched.expired == 1
    watched.room = SHORT
    upkeep.look()
    assert watched.expired == 2
    watched.room = WIDE
    watched.now += TIDY_MS
    upkeep.look()
    assert watched.expired == 3


def test_no_work_is_asked_for_on_a_short_disk_and_what_is_held_goes_on() -> None:
    agent = Agent(slots=2)
    lease: Lease = a_lease()
    agent.lease(lease)
    assert room(agent.state, agent.now) > 0
    agent.hear(RoomSeen(at=agent.now, is_short=True))
    assert room(agent.state, agent.now) == 0
    assert lease.key in agent.state.attempts
    agent.hear(RoomSeen(at=agent.now, is_short=False))
    assert room(agent.state, agent.now) > 0
