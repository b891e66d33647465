"""The verdict over a round of kills: what is right passes, and each broken promise is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shipway.testing.campaign.evidence import Evidence, Happened, Line, Row, Task
from shipway.testing.campaign.verdict import Violation, Wrong, judge, spent

KEPT, TRIED = "kept", "tried"  # an item that ran once, and one whose slot was killed once


def a_task(key: str, queue: str = "steady", **changes: Any) -> Task:
    task = Task(
        key=key, queue=queue, exit_code=0, nap_s=0.1, is_forked=False, is_stopped=False
    )  # fmt: skip
    return replace(task, **changes)


def a_row(id: str, queue: str = "steady", **changes: Any) -> Row:
    row = Row(
        id=id, key=f"key-{id}", queue=queue, state="finished", attempt=1, exit_code=0, failure={},
        token=None, agent=None,
    )  # fmt: skip
    return replace(row, **changes)


def happened(item: str, event: str, state: str, attempt: int, lease: str = "") -> Happened:
    data = {"lease": lease} if lease else {}
    return Happened(
        item=item, event=event, state=state, attempt=attempt, actor="a", at=0, data=data
    )


def an_attempt(item: str, number: int, end: str, state: str) -> list[Happened]:
    return [
        happened(item, "lease", "leased", number),
        happened(item, "start", "running", number, f"t{number}"),
        happened(item, end, state, number, f"t{number}"),
    ]


def line(item: str, attempt: int, word: str) -> Line:
    return Line(item=item, attempt=attempt, word=word, at=1.0, pid=2)


def evidence() -> Evidence:
    """Return a round in which all went well: one item ran once, the other again after a kill."""
    return Evidence(
        tasks={"key-kept": a_task("key-kept"), "key-tried": a_task("key-tried", "retried")},
        acks=[("key-kept", KEPT), ("key-kept", KEPT), ("key-tried", TRIED)],
        rows=[a_row(KEPT), a_row(TRIED, "retried", attempt=2)],
        events=[
            happened(KEPT, "enqueue", "pending", 0),
            *an_attempt(KEPT, 1, "finish", "finished"),
            happened(TRIED, "enqueue", "pending", 0),
            *an_attempt(TRIED, 1, "requeue", "pending"),
            *an_attempt(TRIED, 2, "finish", "finished"),
        ],
        lines=[
            *(line(KEPT, 1, word) for word in ("start", "end")),
            line(TRIED, 1, "start"),
            *(line(TRIED, 2, word) for word in ("start", "end")),
        ],
        logs={KEPT: b"kept 1 one\nkept 1 two\n"},
        seen_ended={KEPT: "finished"},
        killed={"tried.1": 1},
    )


def test_a_round_that_kept_every_promise_passes() -> None:
    assert judge(evidence()) == []
    assert spent(evidence()) == []


def with_rows(found: Evidence, *rows: Row) -> Evidence:
    changed = {row.id: row for row in rows}
    return replace(found, rows=[changed.get(row.id, row) for row in found.rows])


def with_events(found: Evidence, *events: Happened) -> Evidence:
    return replace(found, events=[*found.events, *events])


def with_lines(found: Evidence, *lines: Line) -> Evidence:
    return replace(found, lines=[*found.lines, *lines])


BROKEN: dict[str, tuple[Wrong, Callable[[Evidence], Evidence]]] = {
    "an acknowledged item is gone": (
        Wrong.LOST,
        lambda found: replace(found, rows=found.rows[1:]),
    ),
    "an add made two items": (
        Wrong.DOUBLED,
        lambda found: replace(found, acks=[*found.acks, ("key-kept", TRIED)]),
    ),
    "an item is there that nobody added": (
        Wrong.DOUBLED,
        lambda found: replace(found, rows=[*found.rows, a_row("stranger")]),
    ),
    "a right add was refused": (Wrong.REFUSED, lambda found: replace(found, refused=["no"])),
    "an item never ended": (
        Wrong.LOST,
        lambda found: with_rows(found, a_row(KEPT, state="running")),
    ),
    "an item failed of something else": (
        Wrong.LOST,
        lambda found: with_rows(
            found, a_row(KEPT, state="failed", failure={"failure_class": "agent"})
        ),
    ),
    "an item stopped by nobody": (
        Wrong.LOST,
        lambda found: with_rows(found, a_row(KEPT, state="stopped")),
    ),
    "an attempt started twice": (
        Wrong.DOUBLED,
        lambda found: with_lines(found, line(KEPT, 1, "start")),
    ),
    "an attempt ended twice": (
        Wrong.DOUBLED,
        lambda found: with_lines(found, line(KEPT, 1, "end")),
    ),
    "a program ran without a lease": (
        Wrong.DOUBLED,
        lambda found: with_lines(found, line(KEPT, 2, "start")),
    ),
    "a program ran again though nobody killed its slot": (
        Wrong.DOUBLED,
        lambda found: replace(found, killed={}),
    ),
    "an item was lost though nobody killed its slot": (
        Wrong.LOST,
        lambda found: replace(found, killed={}),
    ),
    "two programs lived at once": (
        Wrong.OVERLAP,
        lambda found: with_lines(found, line(TRIED, 2, "overlap")),
    ),
    "a finish that no program earned": (
        Wrong.STALE,
        lambda found: replace(found, lines=[one for one in found.lines if one.word != "end"]),
    ),
    "an exit code that is not the program's": (
        Wrong.STALE,
        lambda found: with_rows(
            found, a_row(KEPT, state="failed", exit_code=1, failure={"failure_class": "exit"})
        ),
    ),
    "a former lease's report was believed": (
        Wrong.STALE,
        lambda found: replace(found, stale_accepted=["kept"]),
    ),
    "a report carried another token": (
        Wrong.STALE,
        lambda found: with_events(found, happened(KEPT, "delete", "finished", 1, "t9")),
    ),
    "an event of a former attempt": (
        Wrong.STALE,
        lambda found: with_events(found, happened(TRIED, "delete", "finished", 1)),
    ),
    "an event after the end": (
        Wrong.TERMINAL,
        lambda found: with_events(found, happened(KEPT, "stop_request", "finished", 1)),
    ),
    "an end that a client saw was changed": (
        Wrong.TERMINAL,
        lambda found: replace(found, seen_ended={KEPT: "stopped"}),
    ),
    "a row that is not what its events say": (
        Wrong.TERMINAL,
        lambda found: with_rows(found, a_row(KEPT, state="failed")),
    ),
    "a move that is not in the table": (
        Wrong.STATES,
        lambda found: with_events(found, happened(KEPT, "start", "running", 1)),
    ),
    "a process outlived its attempt": (
        Wrong.ORPHAN,
        lambda found: replace(found, survivors=["kept.1 has 7"]),
    ),
    "a log that its program did not print": (
        Wrong.LOG,
        lambda found: replace(found, logs={KEPT: b"kept 1 one\n"}),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_named(name: str) -> None:
    wrong, break_it = BROKEN[name]
    assert wrong in {one.wrong for one in judge(break_it(evidence()))}


def lost(queue: str, retries: int, *, is_killed: bool = True) -> Evidence:
    """Return a round whose only item was lost so often, and then for good."""
    events = [happened("x", "enqueue", "pending", 0)]
    for number in range(1, retries + 1):
        events += an_attempt("x", number, "requeue", "pending")
    events += an_attempt("x", retries + 1, "give_up", "failed")
    row = a_row(
        "x", queue, state="failed", attempt=retries + 1, exit_code=None,
        failure={"failure_class": "lost"},
    )  # fmt: skip
    marks = {f"x.{number}": 1 for number in range(1, retries + 2)}
    return Evidence(
        tasks={"key-x": a_task("key-x", queue)},
        acks=[("key-x", "x")],
        rows=[row],
        events=events,
        lines=[line("x", number, "start") for number in range(1, retries + 2)],
        killed=marks if is_killed else {},
    )


def kinds(found: list[Violation]) -> set[Wrong]:
    return {one.wrong for one in found}


def test_a_killed_slot_may_lose_an_item_of_a_queue_that_never_retries() -> None:
    assert judge(lost("steady", 0)) == []
    assert Wrong.LOST in kinds(judge(lost("steady", 0, is_killed=False)))


def test_an_item_is_retried_as_often_as_its_queue_says() -> None:
    assert Wrong.DOUBLED in kinds(judge(lost("steady", 1)))
    assert Wrong.LOST in kinds(judge(lost("retried", 2)))
    assert judge(lost("retried", 3)) == []
    assert spent(lost("retried", 3)) == ["x"]
