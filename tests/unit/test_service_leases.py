"""Leasing, reporting, losing: what a token may do, and what is left when it is old."""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from shipway.domain.agent import AgentState
from shipway.domain.errors import Code, Invalid, LeaseLost, Unauthenticated, WrongOffset
from shipway.domain.ids import Digest, ItemId, Token
from shipway.domain.item import Event, Failure, FailureClass, Stage, State
from shipway.service.keys import job_key
from shipway.service.leases import Starts
from shipway.service.logs import parse_records
from shipway.service.ports import LogChunk, Tx
from shipway.service.reports import Report
from tests.unit.conftest import SOURCE

if TYPE_CHECKING:
    from tests.unit.conftest import World

EXIT = Failure(stage=Stage.RUN, failure_class=FailureClass.EXIT, reason="exit code 3", exit_code=3)


def a_chunk(item_id: ItemId, data: bytes, *, offset: int = 0, name: str = "program") -> LogChunk:
    packed = zlib.compress(data)
    digest = Digest(hashlib.sha256(packed).hexdigest())
    return LogChunk(
        item_id=item_id, attempt=1, name=name, offset=offset, length=len(data), digest=digest,
        first_at=1, last_at=2,
    )  # fmt: skip


def test_an_item_goes_to_one_agent_only(world: World) -> None:
    world.register("agent-two")
    item = world.add()
    assert [grant.item.id for grant in world.lease(limit=5).leases] == [item.id]
    assert world.lease("agent-two", limit=5).leases == []


def test_an_agent_takes_its_own_users_items_only(world: World) -> None:
    world.add(world.root, queue_entity="ann", entity="ann")
    assert world.lease().leases == []
    world.register("agent-one", run_as="shared")
    assert len(world.lease().leases) == 1


def test_the_main_path(world: World) -> None:
    item_id, token = world.running()
    assert world.item(item_id).state is State.RUNNING
    result = world.report(item_id, token, Event.FINISH, exit_code=0)
    assert (result.ok, result.state) == (True, State.FINISHED)
    item = world.item(item_id)
    assert (item.exit_code, item.lease_token) == (0, None)
    events = world.do(lambda tx: tx.events.of_item(item_id))
    assert [event.event for event in events] == ["enqueue", "lease", "start", "finish"]


def test_a_repeated_report_is_ok_and_changes_nothing(world: World) -> None:
    item_id, token = world.running()
    assert world.report(item_id, token, Event.START).ok
    world.report(item_id, token, Event.FAIL, exit_code=3, failure=EXIT)
    before = world.item(item_id)
    world.clock.advance(5)
    assert world.report(item_id, token, Event.FAIL, exit_code=3, failure=EXIT).ok
    assert world.item(item_id) == before


def test_another_report_after_the_end_is_refused(world: World) -> None:
    item_id, token = world.running()
    world.report(item_id, token, Event.FINISH, exit_code=0)
    result = world.report(item_id, token, Event.FAIL, failure=EXIT)
    assert (result.ok, result.code) == (False, Code.LEASE_LOST)
    assert world.item(item_id).state is State.FINISHED


def test_a_stale_token_changes_nothing(world: World) -> None:
    item_id, token = world.running()
    stale = Token("0" * 24)
    before = world.item(item_id)
    for event in (Event.START, Event.FINISH, Event.FAIL, Event.REQUEUE, Event.STOP):
        result = world.report(item_id, stale, event)
        assert (result.ok, result.code) == (False, Code.LEASE_LOST)
    for chunk in (a_chunk(item_id, b"x"), a_chunk(item_id, b"{}\n", name="records")):
        with pytest.raises(LeaseLost):
            world.do(lambda tx, c=chunk: world.service.logs.append(tx, world.ann, c, stale))
    renewed = world.do(
        lambda tx: world.service.leases.renew(tx, world.ann, world.agent, {item_id: stale})
    )
    assert renewed.lost == [item_id]
    assert world.item(item_id) == before
    assert token == before.lease_token


def test_reports_of_one_call_stand_alone_whatever_they_share(world: World) -> None:
    ends = [world.running() for _ in range(5)]
    world.do(lambda tx: world.service.items.stop(tx, world.ann, ends[1][0]))
    stale = Token("0" * 24)
    said = [
        Report(item=ends[0][0], token=ends[0][1], event=Event.FINISH, exit_code=0),
        Report(item=ends[1][0], token=ends[1][1], event=Event.FINISH, exit_code=0),
        Report(item=ends[2][0], token=stale, event=Event.FINISH, exit_code=0),
        Report(item=ends[3][0], token=ends[3][1], event=Event.FAIL, exit_code=3, failure=EXIT),
        Report(item=ends[0][0], token=ends[0][1], event=Event.FINISH, exit_code=0),
        Report(item=ends[4][0], token=ends[4][1], event=Event.FINISH, exit_code=0),
        Report(item=ends[4][0], token=stale, event=Event.FINISH, exit_code=0),
    ]
    results = world.do(lambda tx: world.service.leases.report(tx, world.ann, world.agent, said))
    assert [(result.item, result.event) for result in results] == [
        (report.item, report.event) for report in said
    ]
    finished, stopped, failed = State.FINISHED, State.STOPPED, State.FAILED
    assert [(result.ok, result.state) for result in results] == [
        (True, finished), (True, stopped), (False, None), (True, failed), (True, finished),
        (True, finished), (False, None),
    ]  # fmt: skip
    assert world.item(ends[2][0]).state is State.RUNNING
    assert world.item(ends[3][0]).failure == EXIT
    for item, token in ends[:1] + ends[4:]:
        names = [event.event for event in world.do(lambda tx, i=item: tx.events.of_item(i))]
        assert names == ["enqueue", "lease", "start", "finish"]
        assert world.report(item, token, Event.FINISH, exit_code=0).ok


def test_a_start_and_an_end_may_come_in_one_call(world: World) -> None:
    first, second = world.running(), world.add().id
    grant = world.lease().leases[0]
    said = [
        Report(item=first[0], token=first[1], event=Event.FINISH, exit_code=0),
        Report(item=second, token=grant.token, event=Event.START),
        Report(item=second, token=grant.token, event=Event.FINISH, exit_code=0),
    ]
    results = world.do(lambda tx: world.service.leases.report(tx, world.ann, world.agent, said))
    assert [(result.ok, result.state) for result in results] == [
        (True, State.FINISHED), (True, State.RUNNING), (True, State.FINISHED),
    ]  # fmt: skip


def ready(limit: int, *sources: Mapping[str, Any]) -> Starts:
    return Starts(limit=limit, sources=sources or (SOURCE,))


def test_a_lease_passes_the_start_gate_for_a_source_that_is_ready(world: World) -> None:
    ids = [world.add().id for _ in range(3)]
    cold = world.add(source={**SOURCE, "commit": "b" * 40}).id
    grants = world.lease(limit=9, starts=ready(2, {"kind": "git"}, dict(reversed(SOURCE.items()))))
    assert [(grant.item.id, grant.is_started, grant.term_ms) for grant in grants.leases] == [
        (ids[0], True, 900_000), (ids[1], True, 900_000), (ids[2], False, 30_000),
        (cold, False, 30_000),
    ]  # fmt: skip
    assert [world.item(item).state for item in ids[1:]] == [State.RUNNING, State.LEASED]
    events = world.do(lambda tx: tx.events.of_item(ids[0]))
    assert [(event.event, event.state, event.attempt) for event in events] == [
        ("enqueue", State.PENDING, 0), ("lease", State.LEASED, 1), ("start", State.RUNNING, 1),
    ]  # fmt: skip
    result = world.report(ids[0], grants.leases[0].token, Event.FINISH, exit_code=0)
    assert (result.ok, result.state) == (True, State.FINISHED)


def test_no_lease_starts_for_an_agent_that_could_not_start_it(world: World) -> None:
    world.add()
    world.add(run_config={"source": SOURCE}, source={**SOURCE, "commit": "b" * 40})
    assert not world.lease(starts=ready(0)).leases[0].is_started
    assert not world.lease(starts=ready(1)).leases[0].is_started


def test_a_stop_before_the_lease_lets_nothing_start(world: World) -> None:
    item = world.add()
    world.do(lambda tx: world.service.items.stop(tx, world.ann, item.id))
    assert world.lease(starts=ready(1)).leases == []
    assert world.item(item.id).state is State.STOPPED


def test_a_stop_after_a_lease_that_started_is_told(world: World) -> None:
    world.add()
    grant = world.lease(starts=ready(1)).leases[0]
    world.do(lambda tx: world.service.items.stop(tx, world.ann, grant.item.id))
    result = world.report(grant.item.id, grant.token, Event.START)
    assert (result.ok, result.stop_requested) == (False, True)
    assert [stop.item for stop in world.lease(limit=0).stops] == [grant.item.id]
    assert world.report(grant.item.id, grant.token, Event.STOP).state is State.STOPPED


def test_a_late_start_of_a_lease_that_started_is_answered_as_a_repeated_one(world: World) -> None:
    world.add()
    grant = world.lease(starts=ready(1)).leases[0]
    before = world.item(grant.item.id)
    for _ in range(2):
        result = world.report(grant.item.id, grant.token, Event.START)
        assert (result.ok, result.state, result.term_ms) == (True, State.RUNNING, 900_000)
    assert world.item(grant.item.id) == before
    world.report(grant.item.id, grant.token, Event.FINISH, exit_code=0)
    result = world.report(grant.item.id, grant.token, Event.START)
    assert (result.ok, result.code) == (False, Code.LEASE_LOST)


def test_what_started_with_its_lease_may_be_given_back(world: World) -> None:
    item = world.add()
    grant = world.lease(starts=ready(1)).leases[0]
    assert world.report(item.id, grant.token, Event.REQUEUE).state is State.PENDING
    assert world.lease().leases[0].item.attempt == 2


def test_a_stop_is_obeyed_at_the_start_gate(world: World) -> None:
    world.add()
    grant = world.lease().leases[0]
    world.do(lambda tx: world.service.items.stop(tx, world.ann, grant.item.id))
    result = world.report(grant.item.id, grant.token, Event.START)
    assert (result.ok, result.stop_requested) == (False, True)
    assert world.report(grant.item.id, grant.token, Event.STOP).state is State.STOPPED


def test_a_stop_decides_what_the_end_is_called(world: World) -> None:
    item_id, token = world.running()
    world.do(lambda tx: world.service.items.stop(tx, world.ann, item_id, grace_s=1))
    stops = world.lease(limit=0).stops
    assert [(ask.item, ask.grace_s) for ask in stops] == [(item_id, 1)]
    assert world.report(item_id, token, Event.FINISH, exit_code=0).state is State.STOPPED
    assert world.item(item_id).exit_code == 0


def test_an_unrenewed_lease_is_given_to_another_only_after_term_and_grace(world: World) -> None:
    item = world.add()
    world.lease()
    assert world.pass_time(39_000) == []
    assert [ended.id for ended in world.pass_time(3_000)] == [item.id]
    again = world.lease().leases[0]
    assert (again.item.id, again.item.attempt, again.item.lost_count) == (item.id, 2, 1)


def test_renewing_keeps_a_lease(world: World) -> None:
    world.add()
    grant = world.lease().leases[0]
    for _ in range(10):
        world.pass_time(10_000)
        answer = world.do(
            lambda tx: world.service.leases.renew(
                tx, world.ann, world.agent, {grant.item.id: grant.token}
            )
        )
        assert answer.renewed == {grant.item.id: 30_000}


def test_an_item_lost_while_running_fails_with_class_lost(world: World) -> None:
    item_id, token = world.running()
    world.pass_time(900_000 + 12_000)
    item = world.item(item_id)
    assert item.state is State.FAILED
    assert item.failure is not None
    assert item.failure.failure_class is FailureClass.LOST
    assert world.report(item_id, token, Event.FINISH, exit_code=0).ok is False
    assert world.item(item_id).state is State.FAILED


def test_a_late_tick_gives_every_lease_a_full_new_term(world: World) -> None:
    item_id, _ = world.running()
    world.clock.advance(3_600_000)  # the server slept for an hour
    world.do(world.service.upkeep.tick)
    assert world.do(world.service.upkeep.expire) == []
    assert world.item(item_id).state is State.RUNNING


def test_a_wall_clock_jump_ends_nothing(world: World) -> None:
    item_id, _ = world.running()
    world.clock.jump(86_400_000)
    assert world.pass_time(5_000) == []
    world.clock.jump(-2 * 86_400_000)
    assert world.pass_time(5_000) == []
    assert world.item(item_id).state is State.RUNNING


def test_an_item_that_kills_agents_is_given_up(world: World) -> None:
    item = world.add()
    for _ in range(6):
        assert len(world.lease().leases) == 1
        world.pass_time(45_000)
    assert world.lease().leases == []
    ended = world.item(item.id)
    assert ended.state is State.FAILED
    assert ended.failure is not None
    assert ended.failure.stage is Stage.AGENT


def test_an_agent_that_comes_back_keeps_what_it_knows(world: World) -> None:
    first, second = world.add(), world.add()
    grants = world.lease(limit=2).leases
    known = {first.id: grants[0].token, ItemId("x" * 26): Token("t")}
    answer = world.lease(limit=0, held=known)
    assert answer.lost == ["x" * 26]
    assert world.item(first.id).state is State.LEASED
    assert world.item(second.id).state is State.PENDING


def test_a_draining_agent_gets_nothing_new(world: World) -> None:
    world.add()
    ask = world.service.agents.ask
    world.do(lambda tx: ask(tx, world.ann, world.agent, AgentState.DRAINING))
    answer = world.lease(limit=4)
    assert (answer.leases, answer.is_draining) == ([], True)


def test_a_paused_queue_gives_nothing(world: World) -> None:
    world.add()
    queue = world.do(lambda tx: world.service.queues.named(tx, world.ann, "default"))
    world.do(lambda tx: world.service.queues.set_paused(tx, world.ann, queue, is_paused=True))
    assert world.lease().leases == []


def test_log_chunks_are_taken_once_and_in_order(world: World) -> None:
    item_id, token = world.running()
    append = world.service.logs.append
    first, second = a_chunk(item_id, b"one"), a_chunk(item_id, b"two", offset=3)
    assert world.do(lambda tx: append(tx, world.ann, first, token)) == 3
    for wrong in (first, a_chunk(item_id, b"x", offset=9)):
        with pytest.raises(WrongOffset) as refused:
            world.do(lambda tx, c=wrong: append(tx, world.ann, c, token))
        assert refused.value.details["size"] == 3
    assert world.do(lambda tx: append(tx, world.ann, second, token)) == 6


def test_records_and_their_offset_are_one_transaction(world: World) -> None:
    item_id, token = world.running(project="p")
    data = (
        b'{"kind":"config","values":{"lr":0.1}}\n'
        b'{"kind":"history","step":1,"at":5,"values":{"loss":NaN}}\n'
        b'{"kind":"summary","values":{"best":Infinity}}\n'
    )
    chunk = a_chunk(item_id, data, name="records")
    records = parse_records(data, at=1)
    for _ in range(2):  # the second is the same chunk sent again
        with contextlib.suppress(WrongOffset):
            world.do(lambda tx: world.service.logs.records(tx, world.ann, chunk, token, records))
    run_id = world.item(item_id).run_id
    view = world.do(lambda tx: world.service.runs.get(tx, world.ann, "ann", "p", run_id))
    assert (view.run.config["lr"], view.run.summary["best"]) == (0.1, float("inf"))
    rows = world.do(lambda tx: world.service.runs.history(tx, world.ann, view))
    assert [row["_step"] for row in rows] == [1]
    assert rows[0]["loss"] != rows[0]["loss"]  # NaN


def test_a_job_key_dies_with_its_attempt(world: World) -> None:
    world.add()
    grant = world.lease().leases[0]
    authenticate = world.service.keys.authenticate
    actor = world.do(lambda tx: authenticate(tx, grant.job_key))
    assert (actor.item_id, actor.attempt) == (grant.item.id, 1)
    world.report(grant.item.id, grant.token, Event.START)
    world.report(grant.item.id, grant.token, Event.FINISH, exit_code=0)
    with pytest.raises(Unauthenticated):
        world.do(lambda tx: authenticate(tx, grant.job_key))


def test_a_given_back_lease_waits_again_uncounted(world: World) -> None:
    world.add()
    grant = world.lease().leases[0]
    assert world.report(grant.item.id, grant.token, Event.REQUEUE).state is State.PENDING
    assert world.item(grant.item.id).lost_count == 0


def test_a_failure_before_the_gate_keeps_its_stage(world: World) -> None:
    world.add()
    grant = world.lease().leases[0]
    failure = Failure(stage=Stage.BUILD, failure_class=FailureClass.BUILD, reason="no such package")
    world.report(grant.item.id, grant.token, Event.FAIL, failure=failure)
    assert world.item(grant.item.id).failure == failure


def test_a_program_that_is_over_writes_no_more_by_a_remembered_key(world: World) -> None:
    item_id, token = world.running()
    item = world.item(item_id)
    key = job_key(item_id, item.attempt, token)
    job = world.do(lambda tx: world.service.keys.authenticate(tx, key))
    world.report(item_id, token, Event.FINISH, exit_code=0)
    runs = world.service.runs

    def write(tx: Tx) -> None:
        view = runs.get(tx, job, item.entity, item.project, item.run_id)
        runs.update(tx, job, view, config={}, summary={"late": 1})

    with pytest.raises(LeaseLost):
        world.do(write)


def test_the_log_of_a_lost_attempt_is_not_called_complete(world: World) -> None:
    item_id, token = world.running()
    chunk = a_chunk(item_id, b"half")
    world.do(lambda tx: world.service.logs.append(tx, world.ann, chunk, token))
    world.pass_time(911_000)
    view = world.do(
        lambda tx: world.service.logs.view(
            tx, world.ann, item_id, name="program", attempt=None, offset=0
        )
    )
    assert (view.is_ended, view.is_complete) == (True, False)


def test_an_item_that_always_goes_back_after_the_gate_is_given_up(world: World) -> None:
    item = world.add()
    for attempt in range(1, 7):
        (grant,) = world.lease().leases
        assert grant.item.attempt == attempt
        assert world.report(item.id, grant.token, Event.START).ok
        world.report(item.id, grant.token, Event.REQUEUE, failure=EXIT)
    assert world.item(item.id).state is State.FAILED


def test_items_that_wait_do_not_hide_runs(world: World) -> None:
    item_id, _ = world.running()
    for _ in range(3):
        world.add()
    found = world.do(
        lambda tx: world.service.runs.find(tx, world.ann, entity=None, project=None, limit=2)
    )
    assert [view.run.item_id for view in found] == [item_id]


def test_a_bad_record_is_shown_though_it_is_cut_within_a_character() -> None:
    line = '{"kind": "config", "values": ["' + "é" * 200 + '"]}\n'
    for indent in ("", " "):
        with pytest.raises(Invalid, match="no values"):
            parse_records((indent + line).encode(), at=1)
