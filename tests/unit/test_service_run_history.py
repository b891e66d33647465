"""What runs logged: pages of steps, rows of some keys, samples, and what a second sync adds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from shipway.domain.ids import Digest
from shipway.domain.run import ConsoleChunk, Run, StreamLine
from shipway.service.run_history import ROWS_LIMIT, Spec, evenly
from shipway.service.tracked_runs import RunAsk, StreamReport
from tests.unit.conftest import World


def a_run(world: World) -> Run:
    asked = RunAsk(project="demo", id="r1", is_begun=True)
    return world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, asked))[0].run


def now(world: World) -> Run:
    get = world.service.tracked.get
    return world.do(lambda tx: get(tx, world.ann, "ann", "demo", "r1")).run


def lines(rows: Iterable[tuple[int, dict[str, Any]]], *, first: int = 0) -> list[StreamLine]:
    """Number rows, each with its step, as a client does."""
    return [
        StreamLine(number=number, step=step, text=json.dumps({"_step": step, **values}))
        for number, (step, values) in enumerate(rows, first)
    ]


def log(
    world: World, *, history: Sequence[StreamLine] = (), system: Sequence[StreamLine] = (),
    console: ConsoleChunk | None = None,
) -> None:  # fmt: skip
    def work(tx: Any) -> None:
        view = world.service.tracked.get(tx, world.ann, "ann", "demo", "r1")
        said = StreamReport(history=history, system=system, console=console)
        world.service.tracked.report(tx, world.ann, view, said)

    world.do(work)


def of_keys(world: World, *keys: str, limit: int = 100, **steps: int) -> list[dict[str, Any]]:
    run, spec = now(world), Spec(keys=keys, limit=limit, **steps)
    return world.do(lambda tx: world.service.history.of_keys(tx, run, spec))


def page(world: World, min_step: int | None, max_step: int | None) -> list[int]:
    run, pages = now(world), world.service.history.page
    texts = world.do(lambda tx: pages(tx, run, min_step=min_step, max_step=max_step))
    return [json.loads(text)["_step"] for text in texts]


def test_a_page_holds_the_rows_from_a_step_to_before_another(world: World) -> None:
    a_run(world)
    log(world, history=lines((step, {}) for step in range(4)))
    assert page(world, None, None) == [0, 1, 2, 3]
    assert page(world, 1, 3) == [1, 2]
    assert page(world, 0, 1) == [0]


def test_rows_of_keys_are_those_that_have_all_of_them_and_nothing_else(world: World) -> None:
    a_run(world)
    rows = [(0, {"x": 1, "y": 1}), (1, {"x": 2}), (2, {"y": 3}), (3, {"x": 4, "y": 4, "z": 4})]
    log(world, history=lines(rows))
    assert of_keys(world, "x", "y") == [{"x": 1, "y": 1}, {"x": 4, "y": 4}]
    assert of_keys(world, "x", "_step") == [
        {"x": 1, "_step": 0}, {"x": 2, "_step": 1}, {"x": 4, "_step": 3},
    ]  # fmt: skip
    assert of_keys(world, "none") == []
    assert of_keys(world)[1] == {"_step": 1, "x": 2}, "without keys: whole rows"


def test_rows_of_keys_keep_to_their_steps_and_their_number(world: World) -> None:
    a_run(world)
    log(world, history=lines((step, {"x": step}) for step in range(10)))
    assert of_keys(world, "x", min_step=3, max_step=5) == [{"x": 3}, {"x": 4}]
    assert of_keys(world, "x", min_step=0, max_step=1) == [{"x": 0}]
    assert of_keys(world, "x", min_step=5, max_step=5) == []
    assert of_keys(world, "x", limit=4) == [{"x": 0}, {"x": 3}, {"x": 6}, {"x": 9}]


def test_rows_of_keys_are_found_behind_the_first_page(world: World) -> None:
    run = a_run(world)
    steps = [*range(ROWS_LIMIT - 1), *[ROWS_LIMIT - 1] * 3, ROWS_LIMIT]
    found = lines((step, {"x": 1} if step >= ROWS_LIMIT - 2 else {}) for step in steps)
    world.do(lambda tx: tx.streams.add_history(run.seq, found))
    last = ROWS_LIMIT - 1  # a step whose rows lie on both pages: each is there once
    assert [row["_step"] for row in of_keys(world, "x", "_step")] == [
        last - 1, last, last, last, last + 1,
    ]  # fmt: skip


def many_of_one_step(world: World) -> None:
    """Let a run have a page full of step 0, and a row of step 1."""
    run = a_run(world)
    row = '{"_step": 0}'
    found = [StreamLine(number=number, step=0, text=row) for number in range(ROWS_LIMIT)]
    found += lines([(1, {})], first=ROWS_LIMIT)
    world.do(lambda tx: tx.streams.add_history(run.seq, found))


def test_a_step_of_very_many_rows_does_not_hide_the_next(world: World) -> None:
    many_of_one_step(world)
    assert of_keys(world, "_step", limit=ROWS_LIMIT)[-1] == {"_step": 1}


def test_a_row_without_a_whole_step_is_found_by_its_keys_too(world: World) -> None:
    a_run(world)
    texts = ['{"x": 1}', '{"_step": "one", "x": 2}', '{"_step": 2, "x": 3}']
    odd = [StreamLine(number=at, step=at, text=text) for at, text in enumerate(texts)]
    log(world, history=odd)
    assert of_keys(world, "x") == [{"x": 1}, {"x": 2}, {"x": 3}]


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (-1, []), (0, []), (1, [4]), (2, [0, 4]), (3, [0, 2, 4]), (4, [0, 1, 3, 4]),
        (5, [0, 1, 2, 3, 4]), (6, [0, 1, 2, 3, 4]),
    ],
)  # fmt: skip
def test_rows_are_left_out_evenly_the_last_one_never(limit: int, kept: list[int]) -> None:
    rows = [{"x": number} for number in range(5)]
    assert [row["x"] for row in evenly(rows, limit)] == kept


def test_samples_are_spread_and_end_with_the_last(world: World) -> None:
    a_run(world)
    rows = lines((step, {}) for step in range(9))
    log(world, history=rows, system=rows)
    history, run = world.service.history, now(world)
    for sample in (history.sample, history.system):
        texts = world.do(lambda tx, sample=sample: sample(tx, run, limit=3))
        assert [json.loads(text)["_step"] for text in texts] == [0, 4, 8]
        assert len(world.do(lambda tx, sample=sample: sample(tx, run, limit=100))) == 9
    assert world.do(lambda tx: history.system_size(tx, run)) == 9
    last = world.do(lambda tx: history.last_system(tx, run))
    assert last is not None
    assert json.loads(last)["_step"] == 8


def test_the_last_row_and_the_next_line_are_told(world: World) -> None:
    run, history = a_run(world), world.service.history
    assert world.do(lambda tx: history.last(tx, run)) is None
    assert world.do(lambda tx: history.last_step(tx, run)) == -1
    assert world.do(lambda tx: history.next_line(tx, run)) == 0
    assert world.do(lambda tx: history.last_system(tx, run)) is None
    log(world, history=lines([(5, {"x": 1}), (5, {"x": 2}), (5, {"x": 3}), (4, {"x": 4})]))
    run = now(world)
    assert world.do(lambda tx: history.last(tx, run)) == '{"_step": 5, "x": 3}'
    assert world.do(lambda tx: history.last_step(tx, run)) == 5
    assert world.do(lambda tx: history.next_line(tx, run)) == 4


def test_a_console_is_told_in_the_order_of_its_coming(world: World) -> None:
    run, history = a_run(world), world.service.history
    assert world.do(lambda tx: history.console_size(tx, run)) == 0
    for first in (0, 2, 1):
        chunk = ConsoleChunk(
            number=0, first_line=first, line_count=2, digest=Digest(f"{first}" * 64), at=first
        )
        log(world, console=chunk)
    chunks = world.do(lambda tx: history.console(tx, run))
    assert [(chunk.number, chunk.first_line) for chunk in chunks] == [(0, 0), (1, 2), (2, 1)]
    assert world.do(lambda tx: history.console_size(tx, run)) == 4


def again(world: World, *rows: tuple[int, dict[str, Any]]) -> int:
    """Let a client send rows under new numbers; return how many the run has then."""
    log(world, history=lines(rows, first=10 * now(world).history_size))
    return now(world).history_size


def test_a_second_sync_adds_only_what_is_new(world: World) -> None:
    a_run(world)
    log(world, history=lines([(0, {"x": 0}), (2, {"x": 2}), (4, {"x": 4})]))
    assert again(world, (0, {"x": 0})) == 3, "the first step is looked at"
    assert again(world, (4, {"x": 4})) == 3, "the last step is looked at"
    assert again(world, (0, {"x": 0}), (2, {"x": 2}), (4, {"x": 4})) == 3
    assert again(world, (3, {"x": 3})) == 4, "a step between"
    assert again(world, (4, {"x": 4}), (5, {"x": 5})) == 5
    assert again(world, (5, {"x": 6})) == 6, "another row of a known step"


def test_a_second_sync_gets_past_a_step_of_very_many_rows(world: World) -> None:
    many_of_one_step(world)
    assert again(world, (0, {}), (1, {}), (1, {"x": 1})) == ROWS_LIMIT + 2
