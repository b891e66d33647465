"""What a server acknowledged: the facts that nothing may take back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from random import Random
from typing import Any

# Where a loaded home has its files; the server makes all the folders above them.
DATABASE = "data/rows/shipway.db"
BLOBS = "data/files/blobs"
LOG_LIMIT = 64 << 10  # bytes of one log


@dataclass(frozen=True, slots=True)
class Added:
    """An item is queued under an idempotency key."""

    item: str
    key: str


@dataclass(frozen=True, slots=True)
class Moved:
    """An event of an item's history."""

    item: str
    attempt: int
    event: str


@dataclass(frozen=True, slots=True)
class Logged:
    """So many bytes of `log_of(item)` are stored."""

    item: str
    attempt: int
    size: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The blob with this digest is stored."""

    digest: str


Fact = Added | Moved | Logged | Stored

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Added, Moved, Logged, Stored)}


def dump(fact: Fact) -> bytes:
    """Return a fact as one line."""
    return json.dumps([type(fact).__name__, asdict(fact)]).encode() + b"\n"


def load(line: bytes) -> Fact:
    """Read a line back."""
    kind, values = json.loads(line)
    fact: Fact = _KINDS[kind](**values)
    return fact


@lru_cache(maxsize=4096)
def log_of(item: str) -> bytes:
    """Return the bytes that an item's log begins with; every item has others."""
    return Random(item).randbytes(LOG_LIMIT)


def digest_of(data: bytes) -> str:
    """Return the name of some bytes."""
    return hashlib.sha256(data).hexdigest()
