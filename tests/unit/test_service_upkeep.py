"""What a server does by itself: expiry in parts, logs sealed into one, agents forgotten."""

from __future__ import annotations

import hashlib
import zlib

from shipway.domain.console import STDOUT, ConsoleLine, pack, unpack
from shipway.domain.ids import Digest, ItemId
from shipway.domain.item import Event, State
from shipway.domain.run import ConsoleChunk
from shipway.domain.tombstone import KEPT_MS
from shipway.service.ports import LogChunk
from shipway.service.tracked_runs import RunAsk
from shipway.service.upkeep import (
    AGENTS_KEPT_MS,
    CONSOLE_CHUNKS,
    GRACE_MS,
    LATE_MS,
    TICK_MS,
    Seal,
    sealed,
    sealed_console,
)
from tests.unit.conftest import World


def a_chunk(item_id: ItemId, offset: int, data: bytes) -> tuple[LogChunk, bytes]:
    stored = zlib.compress(data)
    digest = Digest(hashlib.sha256(stored).hexdigest())
    return LogChunk(
        item_id=item_id, attempt=1, name="program", offset=offset, length=len(data),
        digest=digest, first_at=offset + 1, last_at=offset + 2,
    ), stored  # fmt: skip


def test_an_ended_log_of_several_chunks_is_to_be_sealed(world: World) -> None:
    item_id, token = world.running()
    parts = [a_chunk(item_id, 0, b"a"), a_chunk(item_id, 1, b"bc"), a_chunk(item_id, 3, b"def")]
    for chunk, _ in parts:
        world.do(lambda tx, c=chunk: world.service.logs.append(tx, world.ann, c, token))
    assert world.do(world.service.upkeep.to_seal) == []
    world.report(item_id, token, Event.FINISH, exit_code=0)
    (seal,) = world.do(world.service.upkeep.to_seal)
    assert [chunk.offset for chunk in seal.chunks] == [0, 1, 3]
    chunk, data = sealed(seal, [stored for _, stored in parts])
    assert zlib.decompress(data) == b"abcdef"
    assert chunk == LogChunk(
        item_id=item_id, attempt=1, name="program", offset=0, length=6,
        digest=Digest(hashlib.sha256(data).hexdigest()), first_at=1, last_at=5,
    )  # fmt: skip


def test_one_chunk_sealed_is_itself() -> None:
    chunk, stored = a_chunk(ItemId("i"), 0, b"abc")
    again, data = sealed(Seal(chunks=[chunk]), [stored])
    assert (again.length, zlib.decompress(data)) == (3, b"abc")


def test_a_start_gives_every_lease_a_full_new_term(world: World) -> None:
    assert world.do(world.service.upkeep.start) == 0
    world.running()
    assert world.do(world.service.upkeep.start) == 1


def test_a_tick_is_late_after_its_limit(world: World) -> None:
    world.running()
    world.clock.advance(TICK_MS + LATE_MS)
    assert world.do(world.service.upkeep.tick) == 0
    world.clock.advance(TICK_MS + LATE_MS + 1)
    assert world.do(world.service.upkeep.tick) == 1


def test_an_expired_lease_is_told_with_its_agent(world: World) -> None:
    item = world.add()
    world.lease()
    ended = world.pass_time(30_000 + GRACE_MS + 2_000)
    assert [(moved.id, moved.state) for moved in ended] == [(item.id, State.PENDING)]
    events = world.do(lambda tx: world.service.items.events(tx, world.ann, item.id))
    assert (events[-1].event, events[-1].actor) == ("requeue", "upkeep")


def test_a_loss_after_the_gate_says_which_agent_did_not_renew(world: World) -> None:
    item_id, _ = world.running()
    world.pass_time(900_000 + GRACE_MS + 2_000)
    failure = world.item(item_id).failure
    assert failure is not None
    assert failure.reason == (
        "its agent was lost while it ran: agent agent-one did not renew its lease"
    )


def test_a_follower_takes_lease_time_over(world: World) -> None:
    world.clock.advance(500)
    world.do(world.service.upkeep.tick)
    before = world.service.leases._lease_time.now()
    world.do(lambda tx: tx.clock.advance(7))
    world.do(world.service.upkeep.follow)
    assert world.service.leases._lease_time.now() == before + 7


def test_agents_without_work_are_forgotten_after_a_month(world: World) -> None:
    upkeep = world.service.upkeep
    world.clock.advance(AGENTS_KEPT_MS)
    assert world.do(upkeep.silent_agents) == 0
    assert world.do(upkeep.forget_agents) == 0
    world.clock.advance(1)
    assert world.do(upkeep.silent_agents) == 1
    assert world.do(upkeep.forget_agents) == 1
    assert world.do(upkeep.silent_agents) == 0


def test_an_agent_that_holds_an_item_is_not_counted_as_silent(world: World) -> None:
    world.running()
    world.clock.advance(AGENTS_KEPT_MS + 1)
    assert world.do(world.service.upkeep.silent_agents) == 0


def test_what_a_purge_would_clear_is_counted(world: World) -> None:
    item_id, token = world.running()
    world.report(item_id, token, Event.FINISH, exit_code=0)
    world.do(lambda tx: world.service.items.delete(tx, world.ann, item_id))
    upkeep = world.service.upkeep
    assert world.do(upkeep.to_purge) == 0
    world.clock.advance(KEPT_MS + 1)
    assert world.do(upkeep.to_purge) == 1
    while world.do(upkeep.purge):
        pass
    assert world.do(upkeep.to_purge) == 0


def a_console(world: World, lines: int, run_id: str = "r1") -> int:
    """Let ann's client send so many lines, a chunk each; return its run's seq."""
    asked = RunAsk(project="demo", id=run_id, is_begun=True)
    run = world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, asked))[0].run
    for number in range(lines):
        world.do(lambda tx, line=number: tx.consoles.add(run.seq, a_line(line)[0]))
    return run.seq


def a_line(number: int, *texts: str, first: int | None = None) -> tuple[ConsoleChunk, bytes]:
    first = number if first is None else first
    data = pack([ConsoleLine(stream=STDOUT, at=0, text=text) for text in texts or ("x",)])
    return ConsoleChunk(
        number=number, first_line=first, line_count=len(texts) or 1,
        digest=Digest(f"{number:064x}"), at=number,
    ), data  # fmt: skip


def test_consoles_of_many_chunks_are_to_be_made_one(world: World) -> None:
    a_console(world, CONSOLE_CHUNKS, "r1")
    seq = a_console(world, CONSOLE_CHUNKS + 1, "r2")
    ((found, chunks),) = world.do(world.service.upkeep.long_consoles)
    assert found == seq
    assert [chunk.number for chunk in chunks] == list(range(CONSOLE_CHUNKS + 1))


def test_a_console_made_one_chunk_has_the_last_of_each_line_and_its_holes() -> None:
    parts = [a_line(3, "a", "b", first=2), a_line(4, "B", first=3), a_line(5, "c", first=6)]
    chunk, data = sealed_console([part for part, _ in parts], [stored for _, stored in parts])
    texts = [None if line is None else line.text for line in unpack(data)]
    assert texts == ["a", "B", None, None, "c"]
    assert chunk == ConsoleChunk(
        number=5, first_line=2, line_count=5, at=5,
        digest=Digest(hashlib.sha256(data).hexdigest()),
    )  # fmt: skip
