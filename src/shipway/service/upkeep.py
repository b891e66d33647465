"""Periodic chores: lease time, expired leases, logs to seal, what nobody needs any more."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shipway.domain.artifact import ArtifactState
from shipway.domain.console import overlay, pack
from shipway.domain.ids import Digest, ItemId
from shipway.domain.lease import Moved
from shipway.domain.run import ConsoleChunk, Run
from shipway.domain.sweep import SweepAgent
from shipway.domain.tombstone import KEPT_MS
from shipway.service.artifacts import Artifacts
from shipway.service.lease_time import LeaseTime
from shipway.service.leases import Leases
from shipway.service.ports import Blobs, Clock, LogChunk, Tx
from shipway.service.reclaim import Reclaim
from shipway.service.sweep_agents import SweepAgents
from shipway.service.tracked_runs import TrackedRuns

TICK_MS = 1_000
LATE_MS = 5_000  # a tick later than this gives every lease a full new term
GRACE_MS = 10_000  # after its deadline a lease is still not given to another
EXPIRY_LIMIT = 100  # leases ended in one transaction
SEAL_BYTES = 16 << 20  # of one log before compression; a larger one stays in chunks
SEAL_LIMIT = 20  # logs sealed in one round
CONSOLE_CHUNKS = 64  # a client's console of more is made one chunk,
SEALED_CHUNKS = 256  # of at most so many at once
PURGED_ITEMS = 20  # tombstones cleared in one transaction,
PURGED_ROWS = 200  # with at most so many of their rows
AGENTS_KEPT_MS = 30 * 24 * 3_600_000  # an agent that nobody heard of


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """A log to be made one blob: its chunks in order."""

    chunks: Sequence[LogChunk]


class Upkeep:
    """What the server does by itself, each call one transaction's work."""

    def __init__(
        self,
        *,
        clock: Clock,
        leases: Leases,
        lease_time: LeaseTime,
        tracked: TrackedRuns,
        artifacts: Artifacts,
        sweep_agents: SweepAgents,
    ) -> None:
        self._artifacts = artifacts
        self._clock = clock
        self._leases = leases
        self._lease_time = lease_time
        self._tracked = tracked
        self._sweep_agents = sweep_agents

    def start(self, tx: Tx) -> int:
        """Begin: take lease time up where it stood, with a full new term for every lease."""
        self._lease_time.set(tx.clock.now())
        self._tracked.extend(tx)
        self._sweep_agents.extend(tx)
        return tx.leases.renew_all(lease_now=self._lease_time.now())

    def tick(self, tx: Tx) -> int:
        """Move lease time on; a late tick first gives every lease a full new term."""
        elapsed = self._lease_time.since_tick()
        self._lease_time.go_on(tx.clock.advance(elapsed), by_ms=elapsed)
        if elapsed > TICK_MS + LATE_MS:
            self._tracked.extend(tx)
            self._sweep_agents.extend(tx)
            return tx.leases.renew_all(lease_now=self._lease_time.now())
        return 0

    def follow(self, tx: Tx) -> None:
        """Take lease time over from the server that moves it."""
        self._lease_time.set(tx.clock.now())

    def expire(self, tx: Tx) -> list[Moved]:
        """End leases that nobody renewed, by their queues' rules."""
        before = self._lease_time.now() - GRACE_MS
        ended = []
        for item in tx.leases.expired(before=before, limit=EXPIRY_LIMIT):
            why = f"agent {item.lease_agent} did not renew its lease"
            moved = self._leases.lose(tx, item, why=why, actor="upkeep")
            if moved is not None:
                ended.append(moved)
        return ended

    def give_up_runs(self, tx: Tx) -> list[Run]:
        """Let runs that their clients left without a word have crashed; return them."""
        return self._tracked.give_up(tx)

    def give_up_workers(self, tx: Tx) -> list[SweepAgent]:
        """Let the runs of sweeps' silent workers be given to others; return those workers."""
        return self._sweep_agents.give_up(tx)

    def purge(self, tx: Tx) -> int:
        """Remove a part of what long deleted items still have; return the steps taken, 0 at last.

        The tombstone stays, and with it the idempotency key.
        """
        before = self._clock.now() - KEPT_MS
        steps = 0
        for tombstone in tx.tombstones.due(before=before, limit=PURGED_ITEMS):
            removed = tx.tombstones.clear(tombstone, limit=PURGED_ROWS - steps)
            steps += 1 + removed
            if steps >= PURGED_ROWS:
                break  # what is left of it goes with the next part
            tx.tombstones.close(tombstone, now=self._clock.now())
        return steps or self._purge_artifacts(tx, before=before)

    def forget_agents(self, tx: Tx) -> int:
        """Forget agents that were not heard of for a month; return how many."""
        before = self._clock.now() - AGENTS_KEPT_MS
        return tx.agents.forget(before=before, limit=PURGED_ROWS)

    def silent_agents(self, tx: Tx) -> int:
        """Count the agents that would be forgotten."""
        before = self._clock.now() - AGENTS_KEPT_MS
        held = {agent.id for agent in tx.agents.find() if tx.leases.held_by(agent.id)}
        return sum(a.seen_at < before and a.id not in held for a in tx.agents.find())

    def reclaim(self, blobs: Blobs, *, is_dry_run: bool = False) -> Reclaim:
        """Return what finds and deletes stored blobs that nothing leads to."""
        return Reclaim(blobs, before=self._clock.now() - KEPT_MS, is_dry_run=is_dry_run)

    def to_purge(self, tx: Tx) -> int:
        """Count the deleted items that a purge would clear."""
        before = self._clock.now() - KEPT_MS
        return tx.tombstones.count(before=before) + tx.artifact_purges.count(before=before)

    def _purge_artifacts(self, tx: Tx, *, before: int) -> int:
        """Delete what has lived, or nobody committed, and clear a part of what went long ago."""
        steps, now = self._artifacts.expire(tx, limit=PURGED_ITEMS), self._clock.now()
        for left in tx.artifacts.abandoned(before=before, limit=PURGED_ITEMS):
            tx.artifacts.amend(replace(left, state=ArtifactState.DELETED, deleted_at=before - 1))
        for seq in tx.artifact_purges.due(before=before, limit=PURGED_ITEMS):
            steps += 1 + tx.artifact_purges.clear(seq, limit=PURGED_ROWS - steps)
            if steps >= PURGED_ROWS:
                break  # what is left of it goes with the next part
            tx.artifact_purges.close(seq, now=now)
        return steps

    def long_consoles(self, tx: Tx) -> list[tuple[int, list[ConsoleChunk]]]:
        """Return consoles of many chunks, by their runs' seqs."""
        seqs = tx.consoles.long(chunks=CONSOLE_CHUNKS, limit=SEAL_LIMIT)
        return [(seq, tx.consoles.chunks(seq, limit=SEALED_CHUNKS)) for seq in seqs]

    def to_seal(self, tx: Tx) -> list[Seal]:
        """Return ended logs of more than one chunk."""
        return [
            Seal(chunks=_all_chunks(tx, item_id, attempt, name))
            for item_id, attempt, name in tx.logs.unsealed(limit=SEAL_LIMIT, size_limit=SEAL_BYTES)
        ]


def sealed_console(
    chunks: Sequence[ConsoleChunk], pieces: Sequence[bytes]
) -> tuple[ConsoleChunk, bytes]:
    """Make one chunk and its blob's bytes from those of a console."""
    lines = overlay(zip(chunks, pieces, strict=True))
    first, end = min(lines), max(lines) + 1
    data = pack([lines.get(number) for number in range(first, end)])
    last = chunks[-1]
    chunk = ConsoleChunk(
        number=last.number,
        first_line=first,
        line_count=end - first,
        digest=Digest(hashlib.sha256(data).hexdigest()),
        at=last.at,
    )
    return chunk, data


def sealed(seal: Seal, pieces: Sequence[bytes]) -> tuple[LogChunk, bytes]:
    """Make one chunk and its blob's bytes from all the blobs of a log."""
    first, last = seal.chunks[0], seal.chunks[-1]
    data = zlib.compress(b"".join(zlib.decompress(piece) for piece in pieces), 6)
    chunk = LogChunk(
        item_id=first.item_id,
        attempt=first.attempt,
        name=first.name,
        offset=0,
        length=last.offset + last.length,
        digest=Digest(hashlib.sha256(data).hexdigest()),
        first_at=first.first_at,
        last_at=last.last_at,
    )
    return chunk, data


def _all_chunks(tx: Tx, item_id: ItemId, attempt: int, name: str) -> list[LogChunk]:
    chunks: list[LogChunk] = []
    after = 0
    while batch := tx.logs.chunks(item_id, attempt, name, after=after, limit=1_000):
        chunks += batch
        after = batch[-1].offset + batch[-1].length
    return chunks
