"""What outlives the servers: their database's file, and blobs."""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import NotFound
from shipway.domain.ids import KEY_SECRET_LENGTH, Digest, KeyId, UserName
from shipway.schemas import check, shipped
from shipway.service.ports import Tx
from shipway.service.wiring import Service
from shipway.store.open import open_store
from shipway.store.sqlite import Durability
from shipway.testing.clock import ManualClock
from shipway.testing.memory_incoming import MemoryIncoming
from shipway.testing.simulate.node import BEGAN_AT

ANN = Actor(user=UserName("ann"), role=Role.MEMBER, entity="ann", key_id=KeyId("kann"))
ONCE = "default"  # its items fail when their agent is lost
AGAIN = "again"  # its items wait again then
LOST_AFTER_S = 30
RETRIES = 2
MAX_ATTEMPTS = 4
LOCKS = (Digest("a" * 64), Digest("b" * 64))  # blobs that an agent may pin as an item's lock


class BlobsInMemory:
    """Blobs that no crash takes away: they are written before their rows."""

    def __init__(self) -> None:
        self.by_digest: dict[str, bytes] = {}

    def put(self, digest: Digest, data: bytes) -> None:
        """Store bytes."""
        assert hashlib.sha256(data).hexdigest() == digest
        self.by_digest[digest] = data

    def put_many(self, blobs: Mapping[Digest, bytes]) -> None:
        """Store several."""
        for digest, data in blobs.items():
            self.put(digest, data)

    def get(self, digest: Digest) -> bytes:
        """Return bytes."""
        if digest not in self.by_digest:
            raise NotFound(f"there is no blob {digest}")
        return self.by_digest[digest]

    def begin(self, size: int) -> MemoryIncoming:  # noqa: ARG002 - there is room
        """Begin a blob whose digest comes with its end."""
        return MemoryIncoming(self.put)

    def parts(self, digest: Digest) -> Iterator[bytes]:
        """Return bytes, in one piece."""
        return iter([self.get(digest)])

    def has(self, digest: Digest) -> bool:
        """Tell whether they are there."""
        return digest in self.by_digest

    def delete(self, digest: Digest) -> None:
        """Delete them."""
        self.by_digest.pop(digest, None)

    def old(self, *, before: int, after: str, limit: int) -> list[tuple[Digest, int]]:  # noqa: ARG002 - the port's signature
        """Return none: nothing is old here."""
        return []

    def drop(self, digests: Iterable[Digest], *, before: int) -> int:  # noqa: ARG002 - the port's signature
        """Delete nothing."""
        return 0

    def all(self) -> Iterable[Digest]:
        """Yield every digest."""
        return [Digest(digest) for digest in self.by_digest]


def home() -> Path:
    """Return where files are kept in memory, if this machine has such a place."""
    shared = Path("/dev/shm")  # noqa: S108 - a file system in memory, not a name to guess
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


def new_database(folder: Path) -> Path:
    """Make a database with ann, her two queues and nothing else."""
    path = folder / "shipway.db"
    path.write_bytes(_template())
    return path


@cache
def _template() -> bytes:
    folder = Path(tempfile.mkdtemp(prefix="shipway-simulate-", dir=home()))
    try:
        path = folder / "shipway.db"
        url = f"sqlite:///{path}"
        store = open_store(url, migrate=True, durability=Durability.OFF, is_threaded=False)
        with closing(store):
            store.write(_people)
            store.writer.drain()
        return path.read_bytes()
    finally:
        shutil.rmtree(folder)


def _people(tx: Tx) -> None:
    chance = random.Random(7)
    clock = ManualClock(now=BEGAN_AT)
    service = Service.build(clock=clock, random=chance, schemas=shipped(), check=check)
    key = service.keys.bootstrap(tx, "root")
    root = service.keys.authenticate(tx, key)
    service.keys.create_user(tx, root, name="ann", role=Role.MEMBER.value)
    service.keys.adopt(tx, ANN.user, f"sw_{ANN.key_id}-{'0' * KEY_SECRET_LENGTH}")
    settings = {"lost_after_s": LOST_AFTER_S, "max_attempts": MAX_ATTEMPTS}
    queues = service.queues
    queues.update(tx, ANN, queues.named(tx, ANN, ONCE), settings)
    retried = {**settings, "on_lost": f"retry:{RETRIES}"}
    tx.blobs.add(ANN.entity, dict.fromkeys(LOCKS, 1), now=BEGAN_AT)
    queues.create(tx, ANN, name=AGAIN, resource="local-process", settings=retried)
