"""Two hundred programs while server, agent and parent are killed: each runs once."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from shipway.client import Client
from tests.support.embedded import Embedded, embedded, until

PROGRAMS = 200
KILLS = 10
PROGRAM = """\
echo "$SHIPWAY_ITEM_ID start $SHIPWAY_ATTEMPT $$" >> "$RECORD"
sleep "$NAP"
echo "$SHIPWAY_ITEM_ID end $SHIPWAY_ATTEMPT $$" >> "$RECORD"
"""


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_every_item_finishes_once_through_ten_kills() -> None:
    """Earns: I1, I8, I9, I10, I11 together on the embedded default, with real processes."""
    seed = random.SystemRandom().randrange(1 << 30)
    chance = random.Random(seed)
    with embedded() as shipway:
        source = shipway.root / "source"
        source.mkdir()
        (source / "work.sh").write_text(PROGRAM)
        record = shipway.root / "record"
        shipway.configure_agent(queues=["default"], max_jobs=8)
        shipway.up()
        ids = _add(shipway, source, record, chance)
        _kill(shipway, chance)
        until(lambda: _ended(shipway) == PROGRAMS, within_s=240, what=f"all end (seed {seed})")
        states = Counter(item["state"] for item in _items(shipway))
        assert states == {"finished": PROGRAMS}, f"seed {seed}: {states}"
        starts = Counter(line.split()[0] for line in _lines(record) if " start " in line)
        ends = Counter(line.split()[0] for line in _lines(record) if " end " in line)
        assert starts == dict.fromkeys(ids, 1), f"seed {seed}: started other than once"
        assert ends == dict.fromkeys(ids, 1), f"seed {seed}: ended other than once"


def _add(shipway: Embedded, source: Path, record: Path, chance: random.Random) -> list[str]:
    argv = ["launch", "-u", str(source), "-E", "work.sh", "--json", "-R"]
    first = f'{{"local-process": {{"env": {{"RECORD": "{record}", "NAP": "0.2"}}}}}}'
    item = json.loads(shipway.run(*argv, first))
    naps = [f"{chance.uniform(0.1, 1.5):.2f}" for _ in range(PROGRAMS - 1)]
    drafts = [
        {
            "source": item["spec"]["source"],
            "entry_point": ["work.sh"],
            "resource_args": {"local-process": {"env": {"RECORD": str(record), "NAP": nap}}},
        }
        for nap in naps
    ]
    answers = _client(shipway).items.add_many(drafts)
    return [item["id"], *(answer["id"] for answer in answers)]


def _kill(shipway: Embedded, chance: random.Random) -> None:
    for number in range(KILLS):
        time.sleep(chance.uniform(0.5, 3))
        victim = ("server", "agent", "up")[number % 3]
        until(lambda victim=victim: shipway.kill(victim), within_s=30, what=f"{victim} is there")
        if victim == "up":
            gone = {"up", "server", "agent"}
            until(
                lambda: not gone & set(shipway.pids()),
                within_s=10,
                what="the children end by themselves",
            )
            shipway.up()


def _client(shipway: Embedded) -> Client:
    server = shipway.server()
    return Client(server["base_url"], server["api_key"])


def _ended(shipway: Embedded) -> int:
    return sum(item["ended_at"] is not None for item in _items(shipway))


def _items(shipway: Embedded) -> list[dict[str, object]]:
    items, cursor = [], None
    while True:
        page = _client(shipway).items.find(limit=500, cursor=cursor)
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items


def _lines(record: Path) -> list[str]:
    return record.read_text().splitlines()
