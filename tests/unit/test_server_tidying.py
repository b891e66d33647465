"""The server's own upkeep goes on by itself, in short steps."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from shipway.blobs.directory import DirectoryBlobs
from shipway.domain.disk import Room
from shipway.domain.ids import Digest
from shipway.domain.tombstone import KEPT_MS
from shipway.server.disk import folders_of, room_of
from shipway.server.settings import Settings
from shipway.server.tidying import FIRST_S, PURGE_S, Tidying
from tests.unit.conftest import World

T = TypeVar("T")
WIDE = Room(free=10**11, total=10**12)


class Edge:
    """What tidying needs of an edge, without threads."""

    def __init__(self, world: World, blobs: DirectoryBlobs) -> None:
        self.world = world
        self.blobs = blobs
        self.service = world.service
        self.writes = 0

    async def run(self, work: Callable[[], T]) -> T:
        return work()

    async def read(self, work: Callable[[Any], T]) -> T:
        with self.world.store.read() as tx:
            return work(tx)

    async def write(self, work: Callable[[Any], T]) -> T:
        self.writes += 1
        return self.world.do(work)


@pytest.fixture
def edge(world: World, tmp_path: Path) -> Edge:
    blobs = DirectoryBlobs(tmp_path / "blobs", free_floor=0, sync=lambda _: None)
    blobs.open()
    return Edge(world, blobs)


def tidying(edge: Edge, *, room: Room = WIDE, holds: bool = True) -> Tidying:
    return Tidying(edge, holds_upkeep=lambda: holds, room=lambda: room)  # type: ignore[arg-type] # all that it needs


def an_old_blob(edge: Edge) -> Digest:
    digest = Digest(hashlib.sha256(b"old").hexdigest())
    edge.blobs.put(digest, b"old")
    os.utime(edge.blobs._path(digest), (1, 1))
    return digest


def test_deleted_items_and_unused_blobs_go_when_it_is_time(edge: Edge, world: World) -> None:
    digest = an_old_blob(edge)
    item = world.add()
    world.do(lambda tx: world.service.items.delete(tx, world.ann, item.id))
    world.clock.advance(KEPT_MS + 1)
    made = tidying(edge)
    asyncio.run(made.turn(PURGE_S - 1))
    assert world.do(world.service.upkeep.to_purge) == 1
    asyncio.run(made.turn(PURGE_S))
    assert world.do(world.service.upkeep.to_purge) == 0
    assert edge.blobs.has(digest)
    asyncio.run(made.turn(FIRST_S))
    assert not edge.blobs.has(digest)
    an_old_blob(edge)
    asyncio.run(made.turn(FIRST_S + PURGE_S))
    assert edge.blobs.has(digest)  # once a day


def test_of_several_servers_one_does_it(edge: Edge) -> None:
    digest = an_old_blob(edge)
    asyncio.run(tidying(edge, holds=False).turn(FIRST_S))
    assert edge.writes == 0
    assert edge.blobs.has(digest)


def test_every_server_looks_at_its_own_disk(edge: Edge) -> None:
    asyncio.run(tidying(edge, room=Room(free=1, total=10**12), holds=False).turn(1))
    assert edge.service.space.short is not None
    asyncio.run(tidying(edge, holds=False).turn(1))
    assert edge.service.space.short is None


def test_the_disk_of_database_and_blobs_is_looked_at(tmp_path: Path) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path}/a/shipway.db", blobs=tmp_path / "b")
    assert folders_of(settings) == [tmp_path / "b", tmp_path / "a"]
    assert room_of([tmp_path]).total > 0
