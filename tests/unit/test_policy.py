"""Rules of waiting and of loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.agent import Agent, AgentState, RunAs
from shipway.domain.ids import AgentId, ItemId, QueueId, RunId, UserName
from shipway.domain.item import Event, Failure, FailureClass, Item, Stage, State
from shipway.domain.policy import Loss, after_loss, after_return, explain
from shipway.domain.queue import LOST_LIMIT, OnLost, Queue

NOW = 1_700_000_000_000


def an_item(**changes: Any) -> Item:
    base = Item(
        seq=1, id=ItemId("i1"), queue_id=QueueId(1), queue="default",
        project_queue="model-registry", entity="ann", project="p",
        run_id=RunId("r1"), name=None, author="ann",
        submitted_by=UserName("ann"), sweep_id=None, priority=2, rank=2, resource="local-process",
        spec="{}", state=State.PENDING, created_at=NOW,
    )  # fmt: skip
    return replace(base, **changes)


def a_queue(**changes: Any) -> Queue:
    base = Queue(
        id=QueueId(1), entity="ann", project="model-registry", name="default", resource="any"
    )
    return replace(base, **changes)


def an_agent(**changes: Any) -> Agent:
    base = Agent(
        id=AgentId("a1"), user=UserName("ann"), hostname="box", version="1",
        state=AgentState.ACTIVE, queue_ids=(QueueId(1),), queues=("default",),
        resources=("local-process",), run_as=RunAs.SELF, slots=2, used_slots=0,
        created_at=NOW, seen_at=NOW,
    )  # fmt: skip
    return replace(base, **changes)


def test_lost_before_the_gate_waits_again() -> None:
    loss = after_loss(an_item(state=State.LEASED, attempt=1), a_queue(), why="x")
    assert (loss.event, loss.lost) == (Event.REQUEUE, 1)


def test_lost_too_often_before_the_gate_fails_with_stage_agent() -> None:
    item = an_item(state=State.LEASED, attempt=LOST_LIMIT + 1, lost_count=LOST_LIMIT)
    loss = after_loss(item, a_queue(max_attempts=100), why="x")
    assert loss.event is Event.GIVE_UP
    assert loss.failure is not None
    assert loss.failure.stage is Stage.AGENT


def test_poison_ends_at_the_attempt_limit() -> None:
    item = an_item(state=State.LEASED, attempt=9, lost_count=2)
    loss = after_loss(item, a_queue(max_attempts=3), why="x")
    assert loss.failure is not None
    assert loss.failure.failure_class is FailureClass.POISON


def test_lost_while_running_fails_unless_the_queue_retries() -> None:
    item = an_item(state=State.RUNNING, attempt=1)
    failed = after_loss(item, a_queue(), why="x")
    assert failed.failure is not None
    assert failed.failure.failure_class is FailureClass.LOST
    retried = after_loss(item, a_queue(on_lost=OnLost.RETRY, on_lost_retries=1), why="x")
    assert (retried.event, retried.retries) == (Event.REQUEUE, 1)
    again = replace(item, retry_count=1, attempt=2)
    last = after_loss(again, a_queue(on_lost=OnLost.RETRY, on_lost_retries=1), why="x")
    assert last.event is Event.GIVE_UP


@pytest.mark.parametrize("state", [State.LEASED, State.RUNNING])
def test_a_stop_request_turns_a_loss_into_stopped(state: State) -> None:
    item = an_item(state=state, attempt=1, stop_requested_at=NOW)
    assert after_loss(item, a_queue(), why="x").event is Event.STOP


def test_a_returned_lease_waits_again_until_its_attempts_are_used_up() -> None:
    failure = Failure(stage=Stage.SOURCE, failure_class=FailureClass.SOURCE, reason="no network")
    early = after_return(an_item(state=State.LEASED, attempt=1), a_queue(), failure)
    assert early.event is Event.REQUEUE
    assert early.lost == 1
    late = after_return(an_item(state=State.LEASED, attempt=9, lost_count=5), a_queue(), failure)
    assert (late.event, late.failure) == (Event.GIVE_UP, failure)
    unused = an_item(state=State.LEASED, attempt=60)
    assert after_return(unused, a_queue(), None) == Loss(event=Event.REQUEUE)
    assert after_loss(unused, a_queue(), why="x") == Loss(event=Event.REQUEUE, lost=1)


def test_explain_names_what_keeps_an_item() -> None:
    def codes(item: Item, queue: Queue, agents: list[Agent], ahead: int = 0) -> list[str]:
        said = explain(item, queue, agents, ahead=ahead, now=NOW)
        return [reason.code for reason in said.reasons]

    item, queue = an_item(), a_queue()
    assert codes(item, queue, []) == ["no_agent"]
    assert codes(item, queue, [an_agent(seen_at=NOW - 100_000)]) == ["no_agent"]
    assert codes(an_item(resource="local-container"), queue, [an_agent()]) == ["resource"]
    assert codes(item, queue, [an_agent(user=UserName("bob"))]) == ["run_as"]
    assert codes(item, queue, [an_agent(user=UserName("bob"), run_as=RunAs.SHARED)]) == ["next"]
    assert codes(item, queue, [an_agent(state=AgentState.DRAINING)]) == ["draining"]
    assert codes(item, queue, [an_agent(used_slots=2)]) == ["full"]
    short = an_agent(facts={"disk": {"free": 10**9, "total": 10**12}})
    assert codes(item, queue, [short]) == ["disk"]
    assert codes(item, queue, [short, an_agent()]) == ["next"]
    roomy = an_agent(facts={"disk": {"free": 10**11, "total": 10**12}})
    assert codes(item, queue, [roomy]) == ["next"]
    assert codes(item, queue, [replace(short, state=AgentState.DRAINING)]) == ["draining"]
    assert codes(item, queue, [an_agent()], ahead=3) == ["behind"]
    assert codes(item, replace(queue, is_paused=True), [an_agent()]) == ["paused"]
    assert codes(an_item(state=State.RUNNING, started_at=NOW), queue, []) == ["running"]


def test_a_short_disk_is_named_with_its_numbers() -> None:
    short = an_agent(facts={"disk": {"free": 10**9, "total": 10**12}})
    said = str(explain(an_item(), a_queue(), [short], ahead=0, now=NOW))
    assert "box (1.0 GB free, where 2.0 GB stay free)" in said
    assert "shipway gc" in said


def test_explain_is_a_sentence_with_a_position() -> None:
    said = explain(an_item(), a_queue(), [an_agent()], ahead=3, now=NOW)
    assert str(said) == "3 items of the same queue will be taken before it."
    assert said.position == 4
