"""What a reclaim leaves alone: whatever a row leads to, on whatever page that row stands."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable

import pytest

from shipway.blobs.directory import DirectoryBlobs
from shipway.domain.capsule import digest_of
from shipway.domain.ids import Digest
from shipway.domain.item import Item
from shipway.domain.run import ConsoleChunk, Run, RunFile
from shipway.domain.tombstone import KEPT_MS
from shipway.service.ports import LogChunk, Tx
from shipway.service.reclaim import PAGE, names_in
from shipway.service.tracked_runs import RunAsk, StreamReport
from tests.unit.conftest import World

Save = Callable[[Tx, Item, Run, int, Digest], None]


def add_file(tx: Tx, item: Item, run: Run, number: int, digest: Digest) -> None:
    tx.runs.add_file(run.seq, RunFile(path=f"f{number:04}", digest=digest, size=1, at=1))


def add_chunk(tx: Tx, item: Item, run: Run, number: int, digest: Digest) -> None:
    chunk = LogChunk(
        item_id=item.id, attempt=1, name="program", offset=number, length=1, digest=digest,
        first_at=1, last_at=1,
    )  # fmt: skip
    assert tx.logs.append(chunk)


def add_lines(tx: Tx, item: Item, run: Run, number: int, digest: Digest) -> None:
    chunk = ConsoleChunk(number=number, first_line=number, line_count=1, digest=digest, at=1)
    tx.consoles.add(run.seq, chunk)


def put(world: World, blobs: DirectoryBlobs, data: bytes) -> Digest:
    digest = digest_of(data)
    blobs.put(digest, data)
    os.utime(blobs._path(digest), (0, 0))
    world.do(lambda tx: world.service.blobs.admit(tx, world.ann, {digest: len(data)}))
    return digest


@pytest.mark.parametrize("save", [add_file, add_chunk, add_lines])
def test_what_a_row_of_a_later_page_leads_to_stays(
    world: World, blobs: DirectoryBlobs, save: Save
) -> None:
    kept, last, gone = (put(world, blobs, data) for data in (b"first", b"last", b"nobody's"))
    item = world.add()

    def fill(tx: Tx) -> None:
        run = tx.runs.get(item.entity, item.project, item.run_id)
        assert run is not None
        digests = [kept, *[Digest("e" * 64)] * (PAGE - 1), last]
        for number, digest in enumerate(digests):
            save(tx, item, run, number, digest)

    world.do(fill)
    world.clock.advance(KEPT_MS + 1)
    done = world.reclaim(blobs)
    assert (done.count, done.bytes) == (1, len(b"nobody's"))
    assert [blobs.has(digest) for digest in (kept, last, gone)] == [True, True, False]


def test_what_a_client_s_run_printed_stays(world: World, blobs: DirectoryBlobs) -> None:
    lines = put(world, blobs, b"lines")
    ask = RunAsk(project="demo", id="r1", is_begun=True)
    view, _ = world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, ask))
    chunk = ConsoleChunk(number=0, first_line=0, line_count=1, digest=lines, at=1)
    report = StreamReport(console=chunk)
    world.do(lambda tx: world.service.tracked.report(tx, world.ann, view, report))
    world.clock.advance(2 * KEPT_MS)
    assert world.reclaim(blobs).count == 0
    assert blobs.has(lines)


def test_more_blobs_than_one_step_deletes_all_go(world: World, blobs: DirectoryBlobs) -> None:
    class Forgotten:
        """Stands for a folder with more old blobs than one step takes."""

        def __init__(self) -> None:
            names = (hashlib.sha256(str(at).encode()).hexdigest() for at in range(PAGE + 1))
            self.left = {Digest(name): 2 for name in names}
            self.parts: list[int] = []

        def old(self, *, before: int, after: str, limit: int) -> list[tuple[Digest, int]]:
            assert (before, after, limit > PAGE) == (world.clock.now() - KEPT_MS, "", True)
            return sorted(self.left.items())

        def drop(self, digests: list[Digest], *, before: int) -> int:
            self.parts.append(len(digests))
            return sum(self.left.pop(digest) for digest in digests)

    many = Forgotten()
    done = world.reclaim(many)  # type: ignore[arg-type] # all that it asks for
    assert (done.count, done.bytes, many.left) == (PAGE + 1, 2 * (PAGE + 1), {})
    assert many.parts == [PAGE, 1]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps({"digest": "a" * 64}), ["a" * 64]),
        (f"{'1' * 64} {'b' * 64}", ["1" * 64, "b" * 64]),
        ("a" * 65, []),
        ("a" * 63, []),
        ("A" * 64, []),
        ("", []),
    ],
)
def test_a_digest_is_told_from_longer_and_shorter_words(text: str, found: list[str]) -> None:
    assert names_in(text) == found
