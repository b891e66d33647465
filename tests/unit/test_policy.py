"""Rules of waiting and of loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.agent import Agent, AgentState, RunAs
from shipway.domain.disk import Room
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
    return base._replace(**changes)


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
    again = item._replace(retry_count=1, attempt=2)
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


def sentence(item: Item, *agents: Agent, queue: Queue | None = None, ahead: int = 0) -> str:
    return str(explain(item, queue or a_queue(), agents, ahead=ahead, now=NOW))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": State.FINISHED}, "It finished with exit code 0."),
        ({"state": State.FINISHED, "deleted_at": NOW}, "It was deleted."),
        ({"state": State.STOPPED, "stop_requested_by": "bob"}, "It was stopped by bob."),
        (
            {"state": State.FAILED, "failure": Failure(
                stage=Stage.RUN, failure_class=FailureClass.EXIT, reason="exit code 3")},
            "It failed: exit code 3.",
        ),
        (
            {"state": State.LEASED, "lease_agent": "a1", "leased_at": NOW - 5_000},
            (
                "Agent a1 prepares it: it fetches the source and makes the environment, "
                "for 5 s so far."
            ),
        ),
        (
            {"state": State.RUNNING, "lease_agent": "a1", "started_at": NOW - 119_999},
            "It runs on agent a1, for 119 s so far.",
        ),
        (
            {"state": State.RUNNING, "lease_agent": "a1", "started_at": NOW - 120_000,
             "stop_requested_at": NOW, "stop_requested_by": "bob"},
            "It runs on agent a1, for 2 min so far. bob asked for its end.",
        ),
        (
            {"state": State.RUNNING, "lease_agent": "a1", "started_at": NOW - 7_199_999},
            "It runs on agent a1, for 119 min so far.",
        ),
        (
            {"state": State.RUNNING, "lease_agent": "a1", "started_at": NOW - 7_200_000},
            "It runs on agent a1, for 2 h so far.",
        ),
        (
            {"state": State.RUNNING, "lease_agent": "a1", "started_at": None},
            "It runs on agent a1, for 0 s so far.",
        ),
        (
            {"state": State.RUNNING, "lease_agent": "a1", "started_at": NOW + 9_000},
            "It runs on agent a1, for 0 s so far.",
        ),
    ],
)  # fmt: skip
def test_how_an_item_stands_is_a_sentence(changes: dict[str, Any], said: str) -> None:
    assert sentence(an_item(**changes)) == said
    assert explain(an_item(**changes), a_queue(), [], ahead=3, now=NOW).position is None
    assert explain(an_item(**changes), a_queue(), [], ahead=3, now=NOW).ahead == 0


def test_why_an_item_waits_is_said_with_what_to_do() -> None:
    item, agent = an_item(), an_agent()
    assert sentence(item, agent) == "It is next: an agent is about to take it."
    assert sentence(item, agent, ahead=1) == "1 item of the same queue will be taken before it."
    assert sentence(item, agent, ahead=2) == "2 items of the same queue will be taken before it."
    assert sentence(item) == (
        "No agent serves queue 'default' now; start one: shipway agent -q default"
    )
    assert sentence(item, agent, queue=a_queue(is_paused=True)) == (
        "Queue 'default' is paused; 'shipway queue resume default' starts it."
    )
    assert sentence(an_item(attempt=1), agent) == "It waits again after 1 attempt."
    assert sentence(an_item(attempt=2), agent) == "It waits again after 2 attempts."
    assert sentence(an_item(resource="moon"), an_agent(resources=("b", "a"))) == (
        "No agent of queue 'default' offers the resource 'moon' (offered: a, b)."
    )
    assert sentence(an_item(resource="moon"), an_agent(resources=())) == (
        "No agent of queue 'default' offers the resource 'moon' (offered: none)."
    )
    lacks = {"lacks": {"local-container": "no docker or podman\n was found.", "odd": 7}}
    image, without = an_item(resource="local-container"), an_agent(facts=lacks)
    other = an_agent(id=AgentId("a2"), hostname="hut", facts={"lacks": {"local-container": "off"}})
    mend = "'shipway doctor' there says how to mend it; then start that agent anew."
    assert sentence(image, without, an_agent(facts={"lacks": "odd"}), other) == (
        "No live agent of queue 'default' can run an image: agent a1 (box) says: no docker or "
        f"podman was found; agent a2 (hut) says: off. {mend}"
    )
    assert sentence(image, *[without] * 7).endswith(f"was found; and 2 more. {mend}")
    assert "offers the resource 'odd'" in sentence(an_item(resource="odd"), without)
    able = an_agent(resources=("local-container",))
    assert sentence(image, without, able) == "It is next: an agent is about to take it."
    assert "says" not in sentence(item, without)
    assert sentence(item, an_agent(user=UserName("bob"))) == (
        "The agents of queue 'default' run only their own users' items, and none of them is "
        "ann's; an agent with run_as 'shared' would take it."
    )
    assert sentence(item, an_agent(state=AgentState.DRAINING)) == (
        "Every agent that could take it is draining or about to end; "
        "this lets one go on: shipway agents drain --undo a1"
    )


def test_a_draining_agent_that_could_not_run_it_is_not_named() -> None:
    other = an_agent(id=AgentId("bobs"), user=UserName("bob"), state=AgentState.DRAINING)
    mine = an_agent(id=AgentId("mine"), state=AgentState.DRAINING)
    assert sentence(an_item(), other, mine).endswith("drain --undo mine")


def test_full_agents_are_named_up_to_five() -> None:
    full = [an_agent(hostname=f"h{at}", slots=1, used_slots=1) for at in range(6)]
    assert sentence(an_item(), *full[:2]) == ("Every slot is taken: h0 (1 of 1), h1 (1 of 1).")
    assert "h4 (1 of 1)." in sentence(an_item(), *full)
    assert "h5" not in sentence(an_item(), *full)
    free = an_agent(slots=2, used_slots=1)
    unlimited = an_agent(slots=-1, used_slots=100)
    assert "is next" in sentence(an_item(), full[0], free)
    assert "is next" in sentence(an_item(), unlimited)


def test_a_server_without_room_is_the_first_reason() -> None:
    short = Room(free=10**9, total=10**12)
    alone = explain(an_item(), a_queue(), [an_agent()], ahead=0, now=NOW, short=short)
    assert [reason.code for reason in alone.reasons] == ["server_disk"]
    assert str(alone) == (
        "The server's disk has 1.0 GB free, where 2.0 GB stay free: "
        "nothing new is given out until there is room."
    )
    behind = explain(an_item(), a_queue(), [an_agent()], ahead=2, now=NOW, short=short)
    assert [reason.code for reason in behind.reasons] == ["server_disk", "behind"]
    assert (behind.position, behind.ahead) == (3, 2)


def test_agents_short_of_disk_are_named_where_they_could_run_it() -> None:
    facts = {"disk": {"free": 10**9, "total": 10**12}}
    short = [an_agent(hostname=f"h{at}", facts=facts) for at in range(6)]
    said = sentence(an_item(), *short)
    assert said.startswith(
        "Every agent that could take it has too little free disk for new work: "
        "h0 (1.0 GB free, where 2.0 GB stay free), h1 "
    )
    assert "h4" in said
    assert "h5" not in said
    other = an_agent(hostname="bobs", user=UserName("bob"), facts=facts)
    assert "bobs" not in sentence(an_item(), other, short[0])


@pytest.mark.parametrize(("silent_ms", "code"), [(59_999, "next"), (60_000, "no_agent")])
def test_an_agent_is_away_after_a_minute(silent_ms: int, code: str) -> None:
    agent = an_agent(seen_at=NOW - silent_ms)
    said = explain(an_item(), a_queue(), [agent], ahead=0, now=NOW)
    assert [reason.code for reason in said.reasons] == [code]


def test_a_loss_says_why_and_counts() -> None:
    leased = an_item(state=State.LEASED, attempt=6, lost_count=LOST_LIMIT)
    gone = after_loss(leased, a_queue(max_attempts=100), why="no word")
    assert (gone.event, gone.lost, gone.retries) == (Event.GIVE_UP, 1, 0)
    assert gone.failure is not None
    assert gone.failure.failure_class is FailureClass.AGENT
    assert gone.failure.reason == "6 leases came to nothing: no word"
    poison = after_loss(an_item(state=State.LEASED, lost_count=2), a_queue(max_attempts=3), why="x")
    assert poison.failure is not None
    assert poison.failure.reason == "3 attempts, the limit: x"
    early = after_loss(an_item(state=State.LEASED, lost_count=1), a_queue(max_attempts=3), why="x")
    assert early.event is Event.REQUEUE
    running = after_loss(an_item(state=State.RUNNING), a_queue(), why="x")
    assert (running.event, running.lost, running.retries) == (Event.GIVE_UP, 0, 0)
    assert running.failure is not None
    assert running.failure.stage is Stage.AGENT
    assert running.failure.reason == "its agent was lost while it ran: x"


def test_retries_end_at_the_attempt_limit() -> None:
    queue = a_queue(on_lost=OnLost.RETRY, on_lost_retries=100, max_attempts=3)
    one_left = an_item(state=State.RUNNING, lost_count=1)
    assert after_loss(one_left, queue, why="x") == Loss(event=Event.REQUEUE, retries=1)
    none_left = an_item(state=State.RUNNING, lost_count=1, retry_count=1)
    assert after_loss(none_left, queue, why="x").event is Event.GIVE_UP


def test_a_return_ends_at_either_limit() -> None:
    failure = Failure(stage=Stage.SOURCE, failure_class=FailureClass.SOURCE, reason="no network")
    queue = a_queue(max_attempts=3)

    def returned(said: Failure | None = failure, **changes: Any) -> Event:
        item = an_item(state=State.LEASED, **changes)
        return after_return(item, queue, said).event

    assert returned(lost_count=1) is Event.REQUEUE
    assert returned(lost_count=2) is Event.GIVE_UP
    assert returned(lost_count=1, retry_count=1) is Event.GIVE_UP
    assert returned(None, lost_count=9) is Event.REQUEUE
    assert returned(stop_requested_at=NOW) is Event.STOP
    many = a_queue(max_attempts=100)
    at_limit = an_item(state=State.LEASED, lost_count=LOST_LIMIT)
    assert after_return(at_limit, many, failure).event is Event.GIVE_UP
    below = an_item(state=State.LEASED, lost_count=LOST_LIMIT - 1)
    assert after_return(below, many, failure).event is Event.REQUEUE
