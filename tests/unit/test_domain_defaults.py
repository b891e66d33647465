"""What a row, a report or a note says where nobody said anything, and how errors are cut."""

from __future__ import annotations

import random

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.agent import room_in
from shipway.domain.attempt import Cause, Ending
from shipway.domain.disk import Room, in_words
from shipway.domain.errors import Code, Invalid, LaunchError, ShipwayError, WrongOffset
from shipway.domain.ids import (
    ItemId,
    KeyId,
    QueueId,
    RunId,
    UserName,
    is_digest,
    new_agent_id,
    new_item_id,
    new_key,
    new_key_id,
    new_run_id,
    new_token,
    new_tokens,
    split_key,
)
from shipway.domain.item import Event, Failure, FailureClass, Item, ItemFilter, Stage, State
from shipway.domain.job import Job, JobKind
from shipway.domain.lease import Move
from shipway.domain.macros import MACROS, fill
from shipway.domain.queue import OnLost, Queue
from shipway.domain.run import Run
from shipway.domain.spool import Note, NoteKind
from shipway.service.reports import Report, ReportResult


def an_item() -> Item:
    return Item(
        seq=1, id=ItemId("i1"), queue_id=QueueId(1), queue="q", project_queue="p", entity="ann",
        project="p", run_id=RunId("r1"), name=None, author="ann", submitted_by=UserName("ann"),
        sweep_id=None, priority=2, rank=2, resource="local-process", spec="{}",
        state=State.PENDING, created_at=0,
    )  # fmt: skip


def test_a_fresh_row_counts_from_nothing() -> None:
    item = an_item()
    assert (item.attempt, item.lost_count, item.retry_count, item.lease_term) == (0, 0, 0, 0)
    queue = Queue(id=QueueId(1), entity="e", project="p", name="q", resource="any")
    assert (queue.has_priorities, queue.is_critical_for_admins, queue.is_paused) == (False,) * 3
    assert (queue.on_lost, queue.on_lost_retries) == (OnLost.FAIL, 0)
    assert (queue.lost_after_s, queue.max_attempts) == (900, 6)
    assert (queue.created_at, queue.created_by) == (0, "")
    run = Run(seq=0, id=RunId("r"), entity="e", project="p", name=None, item_id=None, created_at=0)
    assert (run.config, run.summary, run.history_size) == ({}, {}, 0)
    job = Job(
        entity="e", project="p", name="n", version=3, aliases=(), kind=JobKind.GIT, source={},
    )  # fmt: skip
    assert (job.description, job.created_by, job.created_at) == ("", "", 0)
    assert job.address == "e/p/n:v3"
    assert ItemFilter().limit == 100


def test_what_is_not_said_is_nothing() -> None:
    ending = Ending(cause=Cause.EXIT)
    assert (ending.reason, ending.started_at, ending.ended_at, ending.log_size) == ("", 0, 0, 0)
    move = Move(items={}, event=Event.START, before=State.LEASED, after=State.RUNNING, now=1)
    assert (move.lease_now, move.unless_stopped, move.lost, move.retries) == (0, False, 0, 0)
    report = Report(item=ItemId("i"), token=new_token(random.Random(1)), event=Event.START)
    assert (report.log_sizes, report.at) == ({}, 0)
    result = ReportResult(item=ItemId("i"), event=Event.START, ok=True)
    assert (result.stop_requested, result.term_ms) == (False, 0)
    note = Note(kind=NoteKind.IDLE, is_idle=True, generation=1, cell=1, pid=1)
    assert (note.segment, note.index, note.text) == (0, 0, b"")
    actor = Actor(user=UserName("ann"), role=Role.MEMBER, entity="ann", key_id=KeyId("k"))
    assert (actor.attempt, actor.label) == (0, "ann")


def test_a_failure_comes_back_with_its_remedy() -> None:
    failure = Failure(
        stage=Stage.RUN, failure_class=FailureClass.LOST, reason="gone", exit_code=3, signal=9,
        log_tail=("a", "b"),
    )  # fmt: skip
    value = failure.to_json()
    assert value == {
        "stage": "run", "failure_class": "lost", "reason": "gone", "exit_code": 3, "signal": 9,
        "log_tail": ["a", "b"], "remedy": "run it again: shipway item retry ID",
    }  # fmt: skip
    assert Failure.from_json(value) == failure
    bare = Failure(stage=Stage.RUN, failure_class=FailureClass.EXIT, reason="x")
    assert Failure.from_json({"stage": "run", "failure_class": "exit", "reason": "x"}) == bare


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 197 + "..."),
        ([1], "[1]"),
    ],
)
def test_a_bad_value_is_shown_cut(value: object, shown: object) -> None:
    assert Invalid("m", field="f", value=value).details == {"field": "f", "value": shown}
    assert Invalid("m").details == {}


def test_errors_carry_their_code_and_details() -> None:
    assert ShipwayError("m").code is Code.INTERNAL
    assert ShipwayError("m", code=Code.TIMEOUT, details={"a": 1}).details == {"a": 1}
    wrong = WrongOffset(offset=3, size=5)
    assert wrong.message == "the chunk begins at 3, the stream has 5 bytes: send from 5"
    assert wrong.details == {"offset": 3, "size": 5}
    details = {"stage": "run", "failure_class": "exit", "exit_code": 3, "log_tail": ["a"]}
    failed = LaunchError("m", details=details)
    assert (failed.stage, failed.failure_class, failed.exit_code) == ("run", "exit", 3)
    assert failed.log_tail == ["a"]
    assert LaunchError("m").log_tail == []


def test_ids_have_their_lengths_and_begin_as_they_should() -> None:
    chance = random.Random(1)
    ids = [new_item_id(1_700_000_000_000 + at, chance) for at in range(3)]
    assert ids == sorted(ids)
    assert {len(one) for one in ids} == {26}
    assert len(new_token(chance)) == 24
    tokens = new_tokens(3, chance)
    assert [len(token) for token in tokens] == [24] * len(set(tokens)) == [24] * 3
    assert len(new_run_id(chance)) == 8
    assert len(new_key_id(chance)) == 10
    agent = new_agent_id(chance)
    assert agent.startswith("agent-")
    assert len(agent) == 18
    key = new_key("ab", chance)
    assert key.startswith("sw_ab-")
    assert split_key(key) == ("ab", key[6:])
    assert len(key) == 46


class Highest:
    """Chance at its end: every bit is set."""

    def getrandbits(self, k: int, /) -> int:
        """Return the largest number of so many bits."""
        return (1 << k) - 1


def test_the_largest_numbers_fit_into_their_ids() -> None:
    high = Highest()
    assert new_item_id((1 << 48) - 1, high) == "7" + "z" * 25
    assert new_item_id(1, high) == "0000000001" + "z" * 16
    assert new_agent_id(high) == "agent-" + "z" * 12
    assert new_token(high) == "z" * 24
    assert new_tokens(2, high) == ("z" * 24, "z" * 24)
    assert new_key_id(high) == "z" * 10
    assert new_key("a", high) == "sw_a-" + "z" * 40
    assert new_run_id(high) == "s27to3cv"


@pytest.mark.parametrize("key", ["", "sw_a", "sw_a-" + "0" * 39, "ab_a-" + "0" * 40])
def test_text_that_cannot_be_a_key_has_no_parts(key: str) -> None:
    assert split_key(key) is None


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n"])
def test_a_digest_is_exactly_sixty_four_hex_digits(text: str) -> None:
    assert not is_digest(text)
    assert is_digest("0" * 64)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_999, "1000.0 kB"),
        (1_000_000, "1.0 MB"),
        (1_500_000_000, "1.5 GB"),
    ],
)
def test_a_size_is_said_in_powers_of_ten(size: int, words: str) -> None:
    assert in_words(size) == words


def test_room_is_low_below_its_floor_alone() -> None:
    assert not Room(free=50, total=1_000).is_low
    assert Room(free=49, total=1_000).is_low
    assert Room(free=1, total=2).to_json() == {"free": 1, "total": 2}
    assert room_in({"disk": {"free": 1, "total": 2}}) == Room(free=1, total=2)
    for bad in (None, 3, {"free": 1}, {"free": "1", "total": 2}, {"free": 1, "total": None}):
        assert room_in({"disk": bad}) is None


def test_macros_are_filled_wherever_text_is() -> None:
    facts = {"project_name": "p", "run_name": None}
    assert fill({"${project_name}": ["${project_name}-${run_name}", 3, ("${run_id}",)]}, facts) == {
        "${project_name}": ["p-", 3, ["${run_id}"]]
    }
    assert len(MACROS) == 6
    for name in MACROS:
        assert fill(f"${{{name}}}", {name: "x"}) == "x"
