"""`shipway server` on both databases, with two agents; nobody can read another's files."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shipway.client import Client
from shipway.testing.git_server import GitServer
from shipway.testing.postgres import find_binaries, new_database, running_postgres
from tests.support.embedded import git, until
from tests.support.fleet import Account, Fleet, fleet, free_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_elasticnet"
PROGRAMS = 200
KILLS = 10
SLOTS = 4
AGENTS = ("agent-1", "agent-2")
DOCUMENTED = """\
import json, sys
from shipway import launch_add

item = launch_add(uri=sys.argv[1], parameters={"alpha": 0.5, "l1_ratio": 0.01})
run = item.wait_until_finished(timeout=400)
print(json.dumps([run.state, run.config, run.summary, [str(line) for line in item.logs()]]))
"""
# Adds items through every kill, and prints the id of each that was acknowledged.
ADDING = """\
import sys
from shipway import LaunchError, launch_add

def add(number, nap):
    while True:
        env = {"RECORD": sys.argv[2], "NAP": nap}
        try:
            return launch_add(
                uri=sys.argv[1], entry_point=["work.sh"], idempotency_key=f"kill-test-{number}",
                resource_args={"local-process": {"env": env}},
            )
        except LaunchError as error:
            if error.code not in ("unreachable", "unknown_outcome", "overloaded"):
                raise

for number, nap in enumerate(sys.argv[3:]):
    print(add(number, nap).id, flush=True)
"""
PROGRAM = """\
echo "$SHIPWAY_ITEM_ID start $SHIPWAY_ATTEMPT $(id -u)" >> "$RECORD"
sleep "$NAP"
echo "$SHIPWAY_ITEM_ID end $SHIPWAY_ATTEMPT $(id -u)" >> "$RECORD"
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other users"),
]


@dataclass(frozen=True)
class Team:
    """A server with two agents, somebody who launches, and an admin's client."""

    fleet: Fleet
    user: Account
    admin: Client

    def items(self) -> list[dict[str, Any]]:
        """Return all items."""
        items: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self.admin.items.find(limit=500, cursor=cursor)
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
def team(request: pytest.FixtureRequest) -> Iterator[Team]:
    with contextlib.ExitStack() as stack:
        if request.param == "postgresql":
            database = stack.enter_context(postgres())
        try:
            made = stack.enter_context(fleet())
        except LookupError as why:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(why))
        server = made.account("server")
        if request.param == "sqlite":
            database = f"sqlite:///{server.home}/shipway.db"
        yield set_up(made, server, database)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Yield the address of an empty database that any user of this machine may open."""
    if find_binaries() is None and os.environ.get("CI") != "true":
        pytest.skip("no PostgreSQL server is installed")
    with running_postgres(is_durable=True) as url:
        socket_folder = Path(parse_qs(urlsplit(url).query)["host"][0])
        socket_folder.chmod(0o711)
        yield new_database(url, "team")


def set_up(made: Fleet, server: Account, database: str) -> Team:
    """Start a server, make a user with keys, and start two agents."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    key_file = server.home / "admin.key"
    made.start(
        "server", "server", "--database", database, "--migrate", "--port", str(port),
        "--blobs", str(server.home / "blobs"), "--admin-key-file", str(key_file),
    )  # fmt: skip
    made.wait_for("server", address)
    admin = Client(address, key_file.read_text().strip(), patience_s=60, env={})
    admin.people.create_user("ann", "member")
    place = {"SHIPWAY_BASE_URL": address, "SHIPWAY_GIT_PROTOCOLS": "https,ssh,http"}
    key = admin.people.create_key(user="ann")["key"]
    user = made.account("ann", SHIPWAY_API_KEY=key, **place)
    for name in AGENTS:
        key = admin.people.create_key(user="ann", role="agent", label=name)["key"]
        agent = made.account(name, SHIPWAY_API_KEY=key, **place)
        config = agent.write("agent.toml", 'git_protocols = ["https", "ssh", "http"]\n')
        made.start(name, "agent", "-q", "default", "-j", str(SLOTS), "-c", str(config))
    return Team(made, user, admin)


def test_nobody_can_read_another_s_files(team: Team) -> None:
    """Earns: what the other tests of this file show, they show without shared files."""
    for name in team.fleet.accounts:
        assert team.fleet.readable_by(name) == [name]


def test_the_documented_example_trains_and_keeps_its_score(team: Team) -> None:
    """Earns: the headline use against a team's server, its parts meeting over HTTP alone."""
    repository = team.fleet.root / "served" / "elasticnet"
    shutil.copytree(EXAMPLE, repository)
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Train")
    with GitServer(repository.parent).running() as server:
        argv = [team.fleet.python[0], "-c", DOCUMENTED, f"{server.url}/elasticnet/.git"]
        done = team.user.run(argv, timeout=450)
    assert done.returncode == 0, done.stderr
    state, config, summary, log = json.loads(done.stdout.splitlines()[-1])
    assert state == "finished", log
    assert (config["alpha"], config["l1_ratio"]) == (0.5, 0.01)
    assert 0 < summary["r2"] < 1


def test_every_item_finishes_once_through_ten_kills(team: Team) -> None:
    """Earns: I1, I3, I4, I8, I10 with several agents, on each database, adding all the while."""
    seed = random.SystemRandom().randrange(1 << 30)
    chance = random.Random(seed)
    record = team.fleet.root / "record"
    record.touch()
    record.chmod(0o666)
    before = {item["id"] for item in team.items()}
    added = add_through(team, record, chance)
    until(
        lambda: all(item["ended_at"] is not None for item in team.items()),
        within_s=240,
        what=f"all end (seed {seed})",
    )
    items = {item["id"]: item for item in team.items() if item["id"] not in before}
    assert sorted(items) == sorted(added), f"seed {seed}: not just what was acknowledged"
    states = Counter(item["state"] for item in items.values())
    assert states == {"finished": PROGRAMS}, f"seed {seed}: {states}"
    lines = [line.split() for line in record.read_text().splitlines()]
    for word in ("start", "end"):
        counts = Counter(line[0] for line in lines if line[1] == word)
        assert counts == dict.fromkeys(added, 1), f"seed {seed}: a {word} other than once"
    users = {int(line[3]) for line in lines}
    assert users == {team.fleet.accounts[name].uid for name in AGENTS}, "both agents took part"


def add_through(team: Team, record: Path, chance: random.Random) -> list[str]:
    """Add all items while server and agents are killed; return the acknowledged ones."""
    source = team.user.home / "source"
    source.mkdir(mode=0o755)
    (source / "work.sh").write_text(PROGRAM)
    os.chown(source, team.user.uid, team.user.uid)
    naps = [f"{chance.uniform(0.1, 1.5):.2f}" for _ in range(PROGRAMS)]
    argv = [team.fleet.python[0], "-c", ADDING, str(source), str(record), *naps]
    said = team.fleet.root / "added.log"
    adding = team.user.start(argv, said)
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.3, 2.5))  # at a random moment
            victim = chance.choice(["server", *AGENTS])
            team.fleet.kill(victim)
            team.fleet.start(victim)
        assert adding.wait(120) == 0, said.read_text()
    finally:
        adding.kill()
        adding.wait()
    return said.read_text().split()
