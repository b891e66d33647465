"""Blobs go once nothing leads to them, deleted items lose their data, and keys stay used."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import pytest

from shipway.blobs.directory import DirectoryBlobs
from shipway.domain.capsule import Entry, Mode, digest_of, encode
from shipway.domain.disk import Room
from shipway.domain.errors import Code, Conflict, Invalid, NotFound, ShipwayError, StorageFull
from shipway.domain.ids import Digest, ItemId, RunId
from shipway.domain.item import Item
from shipway.domain.run import RunFile
from shipway.domain.tombstone import KEPT_MS
from shipway.service.items import FRESH_MS
from shipway.service.ports import LogChunk, Tx
from shipway.service.reclaim import GATHERED, Looking
from shipway.service.stored_blobs import TOUCH_MS
from tests.unit.conftest import World

DAY_MS = 86_400_000


def put(world: World, blobs: DirectoryBlobs, data: bytes) -> Digest:
    digest = digest_of(data)
    blobs.put(digest, data)
    now = world.clock.now() / 1_000
    os.utime(blobs._path(digest), (now, now))
    world.do(lambda tx: world.service.blobs.admit(tx, world.ann, {digest: len(data)}))
    return digest


def a_capsule(world: World, blobs: DirectoryBlobs, text: bytes = b"code") -> tuple[Digest, Digest]:
    file = put(world, blobs, text)
    entry = Entry(path=b"main.py", mode=Mode.FILE, size=len(text), digest=file)
    return put(world, blobs, encode([entry])), file


def launched(world: World, capsule: Digest, **draft: Any) -> Item:
    return world.add(source={"kind": "capsule", "digest": capsule}, **draft)


def purge(world: World) -> None:
    while world.do(world.service.upkeep.purge):
        pass


def delete(world: World, item: Item) -> None:
    world.do(lambda tx: world.service.items.delete(tx, world.ann, item.id))


def test_what_nothing_leads_to_goes_after_a_week(world: World, blobs: DirectoryBlobs) -> None:
    digest = put(world, blobs, b"nobody's")
    world.clock.advance(KEPT_MS)
    assert world.reclaim(blobs).count == 0
    world.clock.advance(1)
    told = world.reclaim(blobs, is_dry_run=True)
    assert (told.count, told.bytes) == (1, len(b"nobody's"))
    assert blobs.has(digest)
    done = world.reclaim(blobs)
    assert (done.count, done.bytes) == (1, len(b"nobody's"))
    assert not blobs.has(digest)
    with world.store.read() as tx:
        assert world.service.blobs.missing(tx, world.ann, [digest]) == [digest]


def test_what_rows_lead_to_stays(world: World, blobs: DirectoryBlobs) -> None:
    capsule, file = a_capsule(world, blobs)
    other, its = a_capsule(world, blobs, b"a job's")
    lock, saved, said = (put(world, blobs, name) for name in (b"lock", b"saved", b"said"))
    item = launched(world, capsule)
    world.do(
        lambda tx: world.service.jobs.create(
            tx,
            world.ann,
            {"name": "j", "kind": "code", "source": {"kind": "capsule", "digest": other}},
        )
    )
    grant = world.lease().leases[0]
    world.do(lambda tx: world.service.leases.pin(tx, world.ann, item.id, grant.token, lock))
    chunk = LogChunk(
        item_id=item.id, attempt=1, name="program", offset=0, length=4, digest=said,
        first_at=1, last_at=1,
    )  # fmt: skip
    assert world.do(lambda tx: tx.logs.append(chunk))
    row = RunFile(path="model.bin", digest=saved, size=5, at=1)

    def save(tx: Tx) -> None:
        run = tx.runs.get(*_run(item))
        assert run is not None
        tx.runs.add_file(run.seq, row)

    world.do(save)
    world.clock.advance(2 * KEPT_MS)
    assert world.reclaim(blobs).count == 0
    assert all(map(blobs.has, (capsule, file, other, its, lock, saved, said)))


def test_a_deleted_item_lets_go_of_its_code_and_keeps_its_key(
    world: World, blobs: DirectoryBlobs
) -> None:
    capsule, file = a_capsule(world, blobs)
    item = launched(world, capsule, name="one")
    keyed = world.add(key="k1", source={"kind": "capsule", "digest": capsule})
    for one in (item, keyed):
        delete(world, one)
    world.clock.advance(KEPT_MS)
    purge(world)
    assert world.do(world.service.upkeep.to_purge) == 0  # a week to the ms is not over yet
    world.clock.advance(1)
    assert world.do(world.service.upkeep.to_purge) == 2
    purge(world)
    assert world.do(world.service.upkeep.to_purge) == 0
    assert world.reclaim(blobs).count == 2
    assert not blobs.has(file)
    again = world.add(key="k1", source={"kind": "capsule", "digest": capsule})
    assert again.id == keyed.id
    assert world.item(item.id).deleted_at is not None
    with pytest.raises(Conflict, match="launch it anew"):
        world.do(lambda tx: world.service.items.retry(tx, world.ann, item.id))
    path = f"{item.entity}/{item.project}/{item.run_id}"
    with pytest.raises(Conflict, match="launch it anew"):
        world.add(source=None, run=path)


def _run(item: Item) -> tuple[str, str, RunId]:
    return item.entity, item.project, item.run_id


def test_a_purge_goes_in_parts_and_leaves_others_alone(world: World) -> None:
    kept, gone = world.add(), world.add()
    rows = [{"step": number} for number in range(450)]

    def fill(tx: Tx) -> None:
        for item in (kept, gone):
            run = tx.runs.get(*_run(item))
            assert run is not None
            tx.runs.add_history(run.seq, rows)
            for number in range(3):
                digest = Digest(hashlib.sha256(bytes([number])).hexdigest())
                chunk = LogChunk(
                    item_id=item.id, attempt=1, name="program", offset=number, length=1,
                    digest=digest, first_at=1, last_at=1,
                )  # fmt: skip
                assert tx.logs.append(chunk)

    world.do(fill)
    delete(world, gone)
    world.clock.advance(KEPT_MS + 1)
    parts = []
    while part := world.do(world.service.upkeep.purge):
        parts.append(part)
    assert max(parts) <= 201
    assert len(parts) >= 3
    with world.store.read() as tx:
        for item, size in ((kept, 450), (gone, 0)):
            run = tx.runs.get(*_run(item))
            assert run is not None
            assert run.history_size == size
            assert len(tx.runs.history(run.seq, after=0, limit=1_000)) == size
            assert bool(tx.logs.attempts(item.id)) is bool(size)


def test_a_deleted_item_that_still_runs_keeps_what_it_has(world: World) -> None:
    item_id, _ = world.running()
    delete(world, world.item(item_id))
    world.clock.advance(KEPT_MS + 1)
    assert world.do(world.service.upkeep.to_purge) == 0


def test_a_capsule_that_may_be_leaving_is_to_be_offered_again(
    world: World, blobs: DirectoryBlobs
) -> None:
    capsule, file = a_capsule(world, blobs)
    world.clock.advance(FRESH_MS)
    launched(world, capsule)
    world.clock.advance(1)
    with pytest.raises(Invalid, match="was not uploaded") as refused:
        launched(world, capsule)
    assert refused.value.details["field"] == "source.digest"
    aging = world.do(lambda tx: world.service.blobs.aging(tx, world.ann, [capsule, file]))
    assert aging == [capsule, file]
    assert world.do(lambda tx: world.service.blobs.touch(tx, world.ann, aging)) == []
    launched(world, capsule)


def test_what_somebody_asked_for_is_not_swept(world: World, blobs: DirectoryBlobs) -> None:
    asked, other = put(world, blobs, b"asked"), put(world, blobs, b"other")
    world.clock.advance(KEPT_MS)
    world.clock.advance(1)
    assert world.do(lambda tx: world.service.blobs.touch(tx, world.ann, [asked])) == []
    assert world.reclaim(blobs).count == 1
    assert blobs.has(asked)
    assert not blobs.has(other)


def test_a_blob_that_is_gone_is_told_to_who_asked_too_late(
    world: World, blobs: DirectoryBlobs
) -> None:
    digest = put(world, blobs, b"late")
    world.clock.advance(KEPT_MS + 1)
    with world.store.read() as tx:
        assert world.service.blobs.missing(tx, world.ann, [digest]) == []
        aging = world.service.blobs.aging(tx, world.ann, [digest])
    world.reclaim(blobs)
    assert world.do(lambda tx: world.service.blobs.touch(tx, world.ann, aging)) == [digest]


def test_a_young_blob_needs_no_touch(world: World, blobs: DirectoryBlobs) -> None:
    digest = put(world, blobs, b"young")
    world.clock.advance(TOUCH_MS)
    assert world.do(lambda tx: world.service.blobs.aging(tx, world.ann, [digest])) == []


def test_a_job_s_capsule_stays_good_however_old_it_is(world: World, blobs: DirectoryBlobs) -> None:
    capsule, _ = a_capsule(world, blobs)
    source = {"kind": "capsule", "digest": capsule}
    job = world.do(
        lambda tx: world.service.jobs.create(
            tx, world.ann, {"name": "j", "kind": "code", "source": source}
        )
    )
    world.clock.advance(50 * DAY_MS)
    item = world.add(source=None, job=f"{job.entity}/{job.project}/j:latest")
    assert json.loads(item.spec)["source"]["digest"] == capsule


def test_a_job_is_refused_whose_capsule_was_not_uploaded(world: World) -> None:
    values = {"name": "j", "kind": "code", "source": {"kind": "capsule", "digest": "a" * 64}}
    with pytest.raises(Invalid, match="was not uploaded for ann"):
        world.do(lambda tx: world.service.jobs.create(tx, world.ann, values))


def test_a_short_disk_of_the_server_takes_and_gives_no_new_work(world: World) -> None:
    before = world.add(key="k")
    world.service.space.note(Room(free=10**9, total=10**12))
    with pytest.raises(StorageFull, match=r"1\.0 GB free, where 2\.0 GB stay free") as refused:
        world.add()
    assert refused.value.code is Code.STORAGE_FULL
    assert world.add(key="k").id == before.id  # what was acknowledged stays so
    assert world.lease().leases == []
    why = world.do(lambda tx: world.service.items.explain(tx, world.ann, before.id))
    assert why.reasons[0].code == "server_disk"
    world.service.space.note(Room(free=10**11, total=10**12))
    assert [grant.item.id for grant in world.lease().leases] == [before.id]


def test_a_retry_is_new_work_too(world: World) -> None:
    item = world.add()
    world.do(lambda tx: world.service.items.stop(tx, world.ann, item.id))
    world.service.space.note(Room(free=0, total=10**12))
    with pytest.raises(ShipwayError, match="no new work"):
        world.do(lambda tx: world.service.items.retry(tx, world.ann, item.id))


def test_an_agent_that_was_silent_for_a_month_is_forgotten(world: World) -> None:
    world.register("agent-two")
    item_id, _ = world.running()
    world.clock.advance(31 * DAY_MS)
    assert world.do(world.service.upkeep.forget_agents) == 1
    with world.store.read() as tx:
        assert [agent.id for agent in tx.agents.find()] == [world.item(ItemId(item_id)).lease_agent]


def test_a_capsule_that_cannot_be_read_stops_nothing(world: World, blobs: DirectoryBlobs) -> None:
    gone = Digest("e" * 64)
    world.do(lambda tx: world.service.blobs.admit(tx, world.ann, {gone: 1}))
    launched(world, gone)
    put(world, blobs, b"nobody's")
    world.clock.advance(KEPT_MS + 1)
    assert world.reclaim(blobs).count == 1


CAPSULE = Digest("c" * 64)


class ManyBlobs:
    """Stands for more old blobs than one round looks at."""

    def __init__(self, count: int) -> None:
        self.all = [(Digest(f"{at:064x}"), 2) for at in range(count)]
        self.asked: list[tuple[str, int]] = []

    def old(self, *, before: int, after: str, limit: int) -> list[tuple[Digest, int]]:
        """Return the next of them."""
        self.asked.append((after, limit))
        start = int(after, 16) + 1 if after else 0
        return self.all[start : start + limit]

    def get(self, digest: Digest) -> bytes:
        """Return the one capsule there is: it names the last blob."""
        if digest != CAPSULE:
            raise NotFound(digest)
        last = self.all[-1][0]
        return encode([Entry(path=b"main.py", mode=Mode.FILE, size=2, digest=last)])


def test_a_reclaim_goes_on_where_its_last_round_ended(world: World) -> None:
    """A capsule is read in each round: what it names may come in any of them."""
    many = ManyBlobs(GATHERED + 2)
    world.do(lambda tx: world.service.blobs.admit(tx, world.ann, {CAPSULE: 1}))
    launched(world, CAPSULE)
    made = world.service.upkeep.reclaim(many, is_dry_run=True)  # type: ignore[arg-type] # all that a dry run asks
    for step in made.steps():
        if isinstance(step, Looking):
            step.do()
        else:
            world.do(step.do)
    assert (made.count, made.bytes) == (GATHERED + 1, 2 * (GATHERED + 1))
    assert many.asked == [("", GATHERED), (f"{GATHERED - 1:064x}", GATHERED)]
