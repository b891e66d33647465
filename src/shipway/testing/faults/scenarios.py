"""Things that clients ask of a server, each with what must hold after its death in the middle."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.client import Client
from shipway.domain.errors import WrongOffset
from shipway.store.migrate import Migration, known
from shipway.testing.faults.facts import digest_of, log_of

AGENT = "agent-1"
SOURCE = {"kind": "git", "url": "https://git.example.com/a/b.git", "commit": "a" * 40}
BATCH = 60  # more than share a savepoint
LOG_SIZE = 9_000
BLOB = log_of("blob")[:5_000]
PACK = {digest_of(data): data for data in (log_of(f"pack-{n}")[:900] for n in range(3))}

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One request, in a server that was prepared for it.

    `again` gets the answer, or None where the server died before it; it repeats the request as
    its client would, and asserts that what was acknowledged holds and the right end is reached.
    """

    name: str
    prepare: Callable[[Client], Facts]
    ask: Callable[[Client, Facts], Any]
    again: Callable[[Client, Facts, Any], None]
    migrations: Sequence[Migration] | None = None  # not those of this release
    is_opening: bool = False  # the server dies as it opens its home, not as it answers


def draft(number: int) -> dict[str, Any]:
    """Return a launch."""
    return {"source": SOURCE, "entry_point": ["true"], "run_config": {"number": number}}


def count(client: Client) -> int:
    """Return how many items there are."""
    counts: Mapping[str, int] = client.queues.get("default")["counts"]
    return sum(counts.values())


def held(client: Client, *, is_started: bool) -> Facts:
    """Add an item, lease it, and let it pass the start gate if asked."""
    nothing(client)
    item = client.items.add(draft(1), idempotency_key="held")["id"]
    (lease,) = client.leases.lease({"agent": AGENT, "limit": 1})["leases"]
    assert lease["item"] == item
    if is_started:
        report(client, lease, "start")
    return {"item": item, "token": lease["token"]}


def nothing(client: Client) -> Facts:
    """Register an agent, and no more."""
    agent = {"id": AGENT, "queues": ["default"], "resources": ["local-process"], "slots": 4}
    client.agents.register(agent)
    return {}


def report(client: Client, lease: Mapping[str, Any], event: str, **more: Any) -> dict[str, Any]:
    """Report on a lease; it must be taken."""
    said = {"item": lease["item"], "token": lease["token"], "event": event, **more}
    (result,) = client.leases.report(AGENT, [said])
    assert result["ok"], f"the report {event} was refused: {result}"
    return result


def happened(client: Client, item: str, event: str) -> int:
    """Return how often an event is in an item's history."""
    return sum(one["event"] == event for one in client.items.events(item))


def add(client: Client, _facts: Facts) -> str:
    """Add an item."""
    return str(client.items.add(draft(2), idempotency_key="one")["id"])


def add_again(client: Client, facts: Facts, answer: str | None) -> None:
    """There is one item of the key, the acknowledged one."""
    if answer is not None:
        assert client.items.get(answer)["id"] == answer
    again = add(client, facts)
    assert answer in {None, again}, f"the acknowledged item {answer} became {again}"
    assert count(client) == 1, f"{count(client)} items of one key"


def add_many(client: Client, _facts: Facts) -> list[str]:
    """Add a batch."""
    drafts = [{**draft(n), "idempotency_key": f"many-{n}"} for n in range(BATCH)]
    return [item["id"] for item in client.items.add_many(drafts)]


def add_many_again(client: Client, facts: Facts, answer: list[str] | None) -> None:
    """Each key has one item, the acknowledged one."""
    again = add_many(client, facts)
    assert answer is None or again == answer, "acknowledged items are others"
    assert count(client) == BATCH, f"{count(client)} items of {BATCH} keys"


def two_items(client: Client) -> Facts:
    """Add two items that nobody has leased."""
    nothing(client)
    ids = [client.items.add(draft(n), idempotency_key=f"two-{n}")["id"] for n in range(2)]
    return {"items": ids}


def lease(client: Client, _facts: Facts) -> list[dict[str, Any]]:
    """Lease both."""
    found: list[dict[str, Any]] = client.leases.lease({"agent": AGENT, "limit": 2})["leases"]
    return found


def lease_again(client: Client, facts: Facts, answer: list[dict[str, Any]] | None) -> None:
    """What the agent knows of is still its own, what it does not know of is leased anew."""
    known = [{"item": one["item"], "token": one["token"]} for one in answer or ()]
    settled = client.leases.lease({"agent": AGENT, "limit": 0, "held": known})
    assert settled["lost"] == [], f"acknowledged leases are lost: {settled['lost']}"
    leases = [*(answer or ()), *client.leases.lease({"agent": AGENT, "limit": 2})["leases"]]
    assert sorted(one["item"] for one in leases) == sorted(facts["items"])
    for one in leases:
        report(client, one, "start")
        assert report(client, one, "finish", exit_code=0)["state"] == "finished"


def renew(client: Client, facts: Facts) -> None:
    """Renew a lease."""
    found = client.leases.renew(AGENT, [{"item": facts["item"], "token": facts["token"]}])
    assert [one["item"] for one in found["renewed"]] == [facts["item"]]
    assert found["lost"] == []


def renew_again(client: Client, facts: Facts, _answer: object) -> None:
    """The lease is still held."""
    renew(client, facts)
    report(client, facts, "finish", exit_code=0)


def start(client: Client, facts: Facts) -> dict[str, Any]:
    """Pass the start gate."""
    return report(client, facts, "start")


def start_again(client: Client, facts: Facts, answer: object) -> None:
    """The item started once."""
    if answer is not None:
        assert client.items.get(facts["item"])["state"] == "running"
    start(client, facts)
    assert happened(client, facts["item"], "start") == 1
    report(client, facts, "finish", exit_code=0)


def append(client: Client, facts: Facts) -> int:
    """Append to a log."""
    piece = log_of(facts["item"])[:LOG_SIZE]
    return client.items.append_log(
        facts["item"], "program", zlib.compress(piece), token=facts["token"], attempt=1,
        offset=0, first_at=0, last_at=0,
    )  # fmt: skip


def append_again(client: Client, facts: Facts, answer: int | None) -> None:
    """The piece is there once, whole."""
    try:
        size = append(client, facts)
        assert answer is None, "an acknowledged piece was taken a second time"
    except WrongOffset as error:
        size = error.details["size"]
    assert size == LOG_SIZE
    log = client.items.log(facts["item"])
    assert log.data == log_of(facts["item"])[:LOG_SIZE], "the log has other bytes than were sent"


def finish(client: Client, facts: Facts) -> dict[str, Any]:
    """Report the end."""
    return report(client, facts, "finish", exit_code=0)


def finish_again(client: Client, facts: Facts, answer: object) -> None:
    """The item finished once."""
    if answer is not None:
        assert client.items.get(facts["item"])["state"] == "finished"
    assert finish(client, facts)["state"] == "finished"
    assert happened(client, facts["item"], "finish") == 1


def one_waits_one_runs(client: Client) -> Facts:
    """Have an item that runs and one that waits."""
    running = held(client, is_started=True)
    return {**running, "waiting": client.items.add(draft(3), idempotency_key="waits")["id"]}


def stop(client: Client, facts: Facts) -> list[str]:
    """Stop both."""
    return [client.items.stop(facts[name])["state"] for name in ("waiting", "item")]


def stop_again(client: Client, facts: Facts, answer: object) -> None:
    """The one that waited has ended, the agent hears of the other; each stop counts once."""
    if answer is not None:
        assert client.items.get(facts["waiting"])["state"] == "stopped"
        assert happened(client, facts["item"], "stop_request") == 1
    assert stop(client, facts) == ["stopped", "running"]
    known = [{"item": facts["item"], "token": facts["token"]}]
    told = client.leases.lease({"agent": AGENT, "limit": 1, "held": known})
    assert [one["item"] for one in told["stops"]] == [facts["item"]]
    assert told["leases"] == [], "a stopped item was leased"
    assert report(client, facts, "stop")["state"] == "stopped"
    for item in (facts["item"], facts["waiting"]):
        assert happened(client, item, "stop_request") == happened(client, item, "stop") == 1


def put(client: Client, _facts: Facts) -> bool:
    """Store a blob, then several in a pack."""
    client.blobs.put(digest_of(BLOB), BLOB)
    client.blobs.put_many(PACK)
    return True


def put_again(client: Client, facts: Facts, answer: bool | None) -> None:  # noqa: FBT001 - an answer
    """The blobs are there, whole."""
    if answer:
        assert client.blobs.missing([digest_of(BLOB), *PACK]) == []
        assert client.blobs.get(digest_of(BLOB)) == BLOB
    put(client, facts)
    for digest, data in {digest_of(BLOB): BLOB, **PACK}.items():
        assert client.blobs.get(digest) == data


def three_items(client: Client) -> Facts:
    """Add what a migration must not lose."""
    for n in range(3):
        client.items.add(draft(n), idempotency_key=f"three-{n}")
    return {}


def opened(client: Client, _facts: Facts) -> bool:
    """Use the key of a home that was just opened."""
    return bool(client.me())


def first_again(client: Client, facts: Facts, _answer: object) -> None:
    """The home has an owner, whose key works."""
    assert opened(client, facts)
    assert add(client, facts)


def migrated_again(client: Client, facts: Facts, _answer: object) -> None:
    """The migration is on record once, with all that there was, and so is a whole backup."""
    assert count(client) == 3
    for n in range(3):
        assert client.items.add(draft(n), idempotency_key=f"three-{n}")
    assert count(client) == 3
    database = Path(facts["home"]) / "data/shipway.db"
    (numbers,) = _rows(database, "SELECT group_concat(number) FROM schema_migrations")
    assert numbers == (",".join(str(step.number) for step in NEXT),)
    assert _rows(database, "SELECT count(*) FROM marked") == [(3,)]
    backup = database.with_name(f"shipway.db.before-{NEXT[-1].title}")
    assert _rows(backup, "SELECT count(*) FROM items") == [(3,)]
    assert _rows(backup, "PRAGMA integrity_check") == [("ok",)]


def _rows(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


_NEXT = """
CREATE TABLE marked (id TEXT NOT NULL PRIMARY KEY);
INSERT INTO marked SELECT id FROM items;
ALTER TABLE items ADD COLUMN mark TEXT;
UPDATE items SET mark = id;
"""
NEXT = (
    *known("sqlite"),
    Migration(number=len(known("sqlite")) + 1, name="of_a_test", text=_NEXT),
)

SCENARIOS = (
    Scenario(name="add", prepare=nothing, ask=add, again=add_again),
    Scenario(name="batch add", prepare=nothing, ask=add_many, again=add_many_again),
    Scenario(name="lease", prepare=two_items, ask=lease, again=lease_again),
    Scenario(
        name="renew", prepare=lambda c: held(c, is_started=True), ask=renew, again=renew_again
    ),
    Scenario(
        name="start", prepare=lambda c: held(c, is_started=False), ask=start, again=start_again
    ),
    Scenario(
        name="log append", prepare=lambda c: held(c, is_started=True), ask=append,
        again=append_again,
    ),
    Scenario(
        name="finish", prepare=lambda c: held(c, is_started=True), ask=finish, again=finish_again
    ),
    Scenario(name="stop", prepare=one_waits_one_runs, ask=stop, again=stop_again),
    Scenario(name="blob put", prepare=nothing, ask=put, again=put_again),
    Scenario(
        name="migrate", prepare=three_items, ask=opened, again=migrated_again, migrations=NEXT,
        is_opening=True,
    ),
    Scenario(
        name="first start", prepare=lambda _: {}, ask=opened, again=first_again, is_opening=True
    ),
)  # fmt: skip
