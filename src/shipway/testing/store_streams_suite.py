"""What every store must do with runs whose own clients report; a test class inherits it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from shipway.domain.errors import Exists
from shipway.domain.ids import UserName
from shipway.domain.item import Item
from shipway.domain.run import ConsoleChunk, Run, RunFacts, RunState, StreamLine
from shipway.service.ports import Store, Tx
from shipway.testing.store_samples import (
    ENTITY,
    PROJECT,
    a_digest,
    a_queue,
    a_run,
    an_item,
    write,
)

FAR = 1 << 40


def a_tracked_run(number: int = 1) -> Run:
    """Make a run that a client of its own began."""
    facts = RunFacts(tags=("a", "b"), group="g", notes="\N{ROCKET}", client={"t": {"1": [2]}})
    return a_run(
        number, state=RunState.RUNNING, facts=facts, created_by=UserName("ada"), heard_at=5,
        deadline=300,
    )  # fmt: skip


def lines(numbers: Iterable[int], text: str = "x") -> list[StreamLine]:
    """Make lines whose steps are ten times their numbers."""
    return [
        StreamLine(number=number, step=10 * number, text=json.dumps({"n": number, "v": text}))
        for number in numbers
    ]


def numbers(rows: Iterable[str]) -> list[int]:
    """Return the numbers that lines were made of."""
    return [json.loads(row)["n"] for row in rows]


class TrackedRunSuite:
    """Runs whose own clients say how they stand."""

    def test_a_tracked_run_reads_back_as_it_was_and_as_it_became(self, store: Store) -> None:
        stored = write(store, lambda tx: tx.runs.insert(a_tracked_run()))
        changed = replace(
            stored, name="new", facts=RunFacts(host="h"), state=RunState.FAILED, exit_code=3,
            heard_at=9, deadline=None, stop_requested_at=8,
        )  # fmt: skip
        with store.read() as tx:
            assert tx.runs.get(ENTITY, PROJECT, stored.id) == stored
        write(store, lambda tx: tx.tracked.amend(changed))
        with store.read() as tx:
            assert tx.runs.get(ENTITY, PROJECT, stored.id) == changed

    def test_a_run_goes_on_under_another_item(self, store: Store) -> None:
        queue = write(store, lambda tx: tx.queues.insert(a_queue(entity=ENTITY)))
        first = an_item(queue)
        run = write(store, lambda tx: tx.runs.insert(a_run()))
        write(store, lambda tx: tx.items.insert(first))
        second = an_item(queue, 2, run_id=first.run_id)
        taken = store.write(lambda tx: tx.items.insert(second)).exception(30)
        assert isinstance(taken, Exists)

        def hand_over(tx: Tx) -> Item:
            tx.tracked.hand_over(run, second.id)
            return tx.items.insert(second)

        stored = write(store, hand_over)
        with store.read() as tx:
            assert tx.runs.get(ENTITY, PROJECT, run.id) == replace(run, item_id=second.id)
            assert tx.items.by_run(ENTITY, PROJECT, run.id) == stored
            assert tx.items.get(first.id) is not None
        third = an_item(queue, 3, run_id=first.run_id)
        late = store.write(lambda tx: tx.tracked.hand_over(run, third.id)).exception(30)
        assert isinstance(late, Exists), "another server gave it a new item meanwhile"
        with store.read() as tx:
            assert tx.items.by_run(ENTITY, PROJECT, run.id) == stored

    def test_the_silent_are_those_past_their_deadline(self, store: Store) -> None:
        run = write(store, lambda tx: tx.runs.insert(a_tracked_run()))
        write(store, lambda tx: tx.runs.insert(a_run(2)))
        with store.read() as tx:
            assert tx.tracked.silent(before=300, limit=9) == []
            assert tx.tracked.silent(before=301, limit=9) == [run]
        write(store, lambda tx: tx.tracked.extend(deadline=500))
        with store.read() as tx:
            assert tx.tracked.silent(before=500, limit=9) == []
            assert len(tx.tracked.silent(before=501, limit=9)) == 1

    def test_runs_of_a_project_come_in_pages_without_deleted_ones(self, store: Store) -> None:
        runs = [
            write(store, lambda tx, n=number: tx.runs.insert(a_tracked_run(n)))  # type: ignore[misc] # bound now
            for number in range(3)
        ]
        write(store, lambda tx: tx.runs.insert(replace(a_run(9), project="Other")))
        write(store, lambda tx: tx.tracked.amend(replace(runs[1], deleted_at=7)))
        hidden = replace(a_tracked_run(9), is_hidden=True)
        assert write(store, lambda tx: tx.runs.insert(hidden)).is_hidden
        with store.read() as tx:
            assert tx.tracked.of_project("ADA", "DEMO", limit=1) == [runs[0]]
            rest = tx.tracked.of_project(ENTITY, PROJECT, after_seq=runs[0].seq, limit=9)
            assert rest == [runs[2]]
            assert tx.tracked.of_project(ENTITY, PROJECT, limit=9, is_newest_first=True) == [
                runs[2], runs[0],
            ]  # fmt: skip
            before = tx.tracked.of_project(
                ENTITY, PROJECT, after_seq=runs[2].seq, limit=1, is_newest_first=True
            )
            assert before == [runs[0]]
            assert tx.tracked.count("ADA", "DEMO") == 2
            found = tx.tracked.projects(ENTITY, limit=9)
            assert [name for name, _ in found] == ["Other", PROJECT]
            assert found[1][1] == runs[0].created_at
            assert runs[1] not in tx.runs.find(entity=None, project=None, before_seq=None, limit=9)

    def test_a_deleted_run_s_rows_go_in_parts_and_its_id_stays_used(self, store: Store) -> None:
        run = write(store, lambda tx: tx.runs.insert(a_tracked_run()))
        chunk = ConsoleChunk(number=0, first_line=0, line_count=5, digest=a_digest(1), at=1)
        write(store, lambda tx: tx.streams.add_history(run.seq, lines(range(3))))
        write(store, lambda tx: tx.streams.add_system(run.seq, lines(range(2))))
        write(store, lambda tx: tx.consoles.add(run.seq, chunk))
        write(store, lambda tx: tx.tracked.amend(replace(run, deleted_at=7)))
        with store.read() as tx:
            assert tx.tombstones.due(before=7, limit=9) == []
            (due,) = tx.tombstones.due(before=8, limit=9)
            assert tx.tombstones.count(before=8) == 1
        parts = [write(store, lambda tx: tx.tombstones.clear(due, limit=4)) for _ in range(3)]
        assert parts == [4, 2, 0]
        write(store, lambda tx: tx.tombstones.close(due, now=9))
        with store.read() as tx:
            assert tx.tombstones.due(before=8, limit=9) == []
            left = tx.runs.get(ENTITY, PROJECT, run.id)
            assert left is not None
            assert (left.facts, left.history_size) == (RunFacts(), 0)

    def test_the_first_secret_stands(self, store: Store) -> None:
        assert write(store, lambda tx: tx.tracked.secret("s", "one")) == "one"
        assert write(store, lambda tx: tx.tracked.secret("s", "two")) == "one"


class StreamSuite:
    """Lines that clients number by themselves, and repeat."""

    def test_repeated_lines_and_holes_change_nothing_else(self, store: Store) -> None:
        run = write(store, lambda tx: tx.runs.insert(a_tracked_run()))
        for part in (lines([0, 1]), lines([1, 2], "late"), lines([6, 7]), lines([0, 4]), []):
            write(store, lambda tx, part=part: tx.streams.add_history(run.seq, part))  # type: ignore[misc] # bound now
        with store.read() as tx:
            rows = tx.streams.history(run.seq, min_step=0, max_step=FAR, limit=9)
            assert numbers(rows) == [0, 1, 2, 4, 6, 7]
            assert json.loads(rows[1])["v"] == "x", "the first one stands"
            assert tx.streams.next_line(run.seq, history_size=6) == 8
            assert tx.streams.last_step(run.seq) == 70
            found = tx.runs.get(ENTITY, PROJECT, run.id)
            assert found is not None
            assert found.history_size == 6
            assert len(tx.runs.history(run.seq, after=2, limit=9)) == 4, "places have no gaps"

    def test_lines_go_beside_rows_of_other_writers(self, store: Store) -> None:
        run = write(store, lambda tx: tx.runs.insert(a_run()))
        write(store, lambda tx: tx.runs.add_history(run.seq, [{"n": -1, "_step": 15}, {"n": -2}]))
        write(store, lambda tx: tx.streams.add_history(run.seq, lines([0, 1, 2])))
        with store.read() as tx:
            rows = tx.streams.history(run.seq, min_step=0, max_step=FAR, limit=9)
            assert numbers(rows) == [0, -2, 1, -1, 2]

    def test_a_page_is_of_steps(self, store: Store) -> None:
        run = write(store, lambda tx: tx.runs.insert(a_tracked_run()))
        write(store, lambda tx: tx.streams.add_history(run.seq, lines(range(10))))
        with store.read() as tx:
            page = tx.streams.history(run.seq, min_step=20, max_step=50, limit=9)
            assert numbers(page) == [2, 3, 4]
            assert numbers(tx.streams.history(run.seq, min_step=0, max_step=FAR, limit=2)) == [0, 1]

    def test_a_sample_is_spread_and_has_the_last(self, store: Store) -> None:
        run = write(store, lambda tx: tx.runs.insert(a_tracked_run()))
        write(store, lambda tx: tx.streams.add_history(run.seq, lines(range(100))))
        write(store, lambda tx: tx.streams.add_system(run.seq, lines(range(30))))
        write(store, lambda tx: tx.streams.add_system(run.seq, lines([29, 30], "late")))
        with store.read() as tx:
            found = numbers(tx.streams.sample(run.seq, size=100, limit=9))
            assert found[0] == 0
            assert found[-1] == 99
            assert len(found) == 9
            every = tx.streams.sample(run.seq, size=100, limit=100)
            assert numbers(every) == list(range(100))
            assert tx.streams.sample(run.seq, size=100, limit=0) == []
            assert tx.streams.system_size(run.seq) == 31
            assert numbers(tx.streams.sample_system(run.seq, limit=1)) == [30]

    def test_a_console_is_its_chunks_in_the_order_in_which_they_came(self, store: Store) -> None:
        run = write(store, lambda tx: tx.runs.insert(a_tracked_run()))
        first = ConsoleChunk(number=0, first_line=0, line_count=5, digest=a_digest(1), at=1)
        later = ConsoleChunk(number=1, first_line=3, line_count=1, digest=a_digest(2), at=2)
        for chunk in (first, later):
            write(store, lambda tx, chunk=chunk: tx.consoles.add(run.seq, chunk))  # type: ignore[misc] # bound now
        with store.read() as tx:
            assert tx.consoles.chunks(run.seq, limit=9) == [first, later]
            assert tx.consoles.size(run.seq) == 5
            reached = tx.references.console(after=(-1, -1), limit=9)
            assert [digest for _, _, digest in reached] == [first.digest, later.digest]
            assert tx.consoles.long(chunks=1, limit=9) == [run.seq]
            assert tx.consoles.long(chunks=2, limit=9) == []
        sealed = ConsoleChunk(number=1, first_line=0, line_count=5, digest=a_digest(3), at=3)
        write(store, lambda tx: tx.consoles.seal(run.seq, sealed))
        write(store, lambda tx: tx.consoles.add(run.seq, first))
        with store.read() as tx:
            assert tx.consoles.chunks(run.seq, limit=9) == [sealed, replace(first, number=2)]
