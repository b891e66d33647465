"""Runs of clients: who may change, stop, delete and list them, and what is kept of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Forbidden, Invalid, NotFound
from shipway.domain.ids import Digest, ItemId, Token
from shipway.domain.item import Event
from shipway.domain.run import ConsoleChunk, RunState, StreamLine
from shipway.service.ports import Tx
from shipway.service.runs import RunView
from shipway.service.tracked_runs import (
    ALERTS_LIMIT,
    FACT_LIMIT,
    TAGS_LIMIT,
    TEXT_LIMIT,
    RunAsk,
    StreamReport,
)
from shipway.service.wiring import Service
from tests.unit.conftest import World


def upsert(world: World, actor: Actor | None = None, **ask: Any) -> tuple[RunView, bool]:
    asked = RunAsk(**{"project": "demo", "id": "r1", **ask})
    return world.do(lambda tx: world.service.tracked.upsert(tx, actor or world.ann, asked))


def begun(world: World, **ask: Any) -> RunView:
    return upsert(world, is_begun=True, **ask)[0]


def now(world: World, run_id: str = "r1") -> RunView:
    get = world.service.tracked.get
    return world.do(lambda tx: get(tx, world.ann, "ann", "demo", run_id))


def report(world: World, actor: Actor | None = None, **said: Any) -> RunView:
    who, view = actor or world.ann, now(world)
    world.do(lambda tx: world.service.tracked.report(tx, who, view, StreamReport(**said)))
    return now(world)


def stop(world: World, actor: Actor | None = None) -> RunView:
    view = now(world)
    world.do(lambda tx: world.service.tracked.stop(tx, actor or world.ann, view))
    return now(world)


def delete(world: World, run_id: str = "r1") -> None:
    view = now(world, run_id)
    world.do(lambda tx: world.service.tracked.delete(tx, world.ann, view))


def ids(world: World, actor: Actor | None = None, **page: Any) -> list[str]:
    listed = world.service.tracked.of_project
    return world.do(
        lambda tx: [view.run.id for view in listed(tx, actor or world.ann, "ann", "demo", **page)]
    )


def a_job(world: World, run_id: str = "r1") -> tuple[Actor, ItemId, Token]:
    item_id, token = world.running(run_id=run_id, project="demo")
    return replace(world.ann, role=Role.JOB, item_id=item_id, attempt=1), item_id, token


WRITERS = {Role.ADMIN, Role.MEMBER}
Call = Callable[[Service, Tx, Actor, RunView], Any]
USE_CASES: dict[str, tuple[str, set[Role], Call]] = {
    "make": ("make runs", WRITERS, lambda s, tx, who, view: s.tracked.upsert(tx, who, RunAsk())),
    "change": ("write to runs", WRITERS, lambda s, tx, who, view: s.tracked.upsert(
        tx, who, RunAsk(project="demo", id="r1"))),
    "report": ("write to runs", WRITERS, lambda s, tx, who, view: s.tracked.report(
        tx, who, view, StreamReport())),
    "alert": ("write to runs", WRITERS, lambda s, tx, who, view: s.tracked.alert(
        tx, who, view, title="t", text="", level="INFO")),
    "stop": ("stop runs", WRITERS, lambda s, tx, who, view: s.tracked.stop(tx, who, view)),
    "delete": ("delete runs", WRITERS, lambda s, tx, who, view: s.tracked.delete(tx, who, view)),
    "list": ("list runs", {*WRITERS, Role.VIEWER}, lambda s, tx, who, view: list(
        s.tracked.of_project(tx, who, "ann", "demo"))),
    "count": ("list runs", {*WRITERS, Role.VIEWER}, lambda s, tx, who, view: s.tracked.count(
        tx, who, "ann", "demo")),
}  # fmt: skip


@pytest.mark.parametrize("name", USE_CASES)
def test_a_use_case_of_runs_is_for_its_roles_alone(world: World, name: str) -> None:
    view = begun(world)
    what, allowed, call = USE_CASES[name]
    for role in set(Role) - {Role.JOB}:
        actor = replace(world.ann, role=role)
        if role in allowed:
            world.do(lambda tx, who=actor: call(world.service, tx, who, view))
            continue
        with pytest.raises(Forbidden, match=f"a key with the role {role} may not {what}"):
            world.do(lambda tx, who=actor: call(world.service, tx, who, view))


@pytest.mark.parametrize("name", ["change", "report", "alert", "list", "count"])
def test_runs_of_another_entity_are_not_there(world: World, name: str) -> None:
    view, (_, _, call) = begun(world), USE_CASES[name]
    bob = replace(world.bob, entity="bob")
    if name == "change":
        asked = RunAsk(entity="ann", project="demo", id="r1")
        with pytest.raises(NotFound, match="there is no entity 'ann' that you may write to"):
            world.do(lambda tx: world.service.tracked.upsert(tx, bob, asked))
        return
    with pytest.raises(NotFound, match=r"there is no (run|entity 'ann')$"):
        world.do(lambda tx: call(world.service, tx, bob, view))


def test_a_program_neither_stops_nor_deletes_its_run_nor_makes_another(world: World) -> None:
    (job, _, _), view = a_job(world), now(world)
    for name in ("stop", "delete", "list", "count"):
        what, _, call = USE_CASES[name]
        with pytest.raises(Forbidden, match=f"role job may not {what}"):
            world.do(lambda tx, call=call: call(world.service, tx, job, view))
    for run_id in ("r2", None):
        with pytest.raises(Forbidden, match="writes to the program's own run only"):
            upsert(world, job, id=run_id)
    assert now(world).state is RunState.RUNNING


def test_a_new_run_is_what_its_client_asks_for(world: World) -> None:
    facts = {name: name for name in ("description", "notes", "group", "job_type", "host")}
    facts |= {"program": "p.py", "repo": "r", "commit": "c", "tags": ["a", "b"], "client": {"v": 1}}
    view, is_new = upsert(
        world, name="one", facts=facts, config={"lr": 1}, summary={"x": 2}, entity="ANN"
    )
    run = view.run
    assert (is_new, run.entity, run.project, run.id, run.name) == (True, "ann", "demo", "r1", "one")
    assert (run.created_by, run.created_at, view.user) == ("ann", world.clock.now(), "ann")
    assert (run.config, run.summary) == ({"lr": 1}, {"x": 2})
    said = run.facts.to_json()
    assert said | {"tags": list(run.facts.tags)} == facts
    assert not upsert(world)[1]
    plain, is_new = upsert(world, id=None, project=None)
    assert (is_new, plain.run.project) == (True, "uncategorized")
    assert (plain.run.config, plain.run.summary, plain.run.facts.to_json()) == ({}, {}, {})


def test_an_admin_s_run_of_another_entity_is_written_as_that_one_writes_itself(
    world: World,
) -> None:
    run = upsert(world, world.root, entity="ANN")[0].run
    assert (run.entity, run.created_by) == ("ann", "root")


def test_a_run_is_pending_until_its_client_begins(world: World) -> None:
    view = upsert(world, is_pending=True)[0]
    assert (view.state, view.run.heard_at, view.run.deadline) == (RunState.PENDING, None, None)
    assert upsert(world, config={"lr": 1})[0].state is RunState.PENDING, "changed by a person"
    world.clock.advance(5)
    view = begun(world)
    assert (view.state, view.run.heard_at) == (RunState.RUNNING, world.clock.now())
    assert view.run.config == {"lr": 1}, "none said: none changed"
    assert upsert(world, id="r2")[0].state is RunState.RUNNING, "made by its own program"


def test_what_a_client_does_not_say_stays(world: World) -> None:
    begun(world, name="one", facts={"notes": "n"}, config={"a": 1}, summary={"b": 1})
    run = begun(world, facts={"notes": None, "group": "g"}).run
    assert (run.name, run.facts.notes, run.facts.group) == ("one", "n", "g")
    assert (run.config, run.summary) == ({"a": 1}, {"b": 1})
    run = begun(world, name="two", config={}, summary={}).run
    assert (run.name, run.config, run.summary) == ("two", {}, {})


def test_an_ended_run_is_changed_without_going_on(world: World) -> None:
    begun(world)
    ended = report(world, is_complete=True, exit_code=3)
    assert (ended.state, ended.exit_code, ended.run.deadline) == (RunState.FAILED, 3, None)
    changed = upsert(world, facts={"notes": "later"})[0]
    assert (changed.state, changed.run.facts.notes) == (RunState.FAILED, "later")
    back = begun(world)
    assert (back.state, back.exit_code) == (RunState.RUNNING, None)


def test_an_end_that_is_told_twice_is_one(world: World) -> None:
    begun(world)
    stop(world)
    for _ in range(2):
        view = report(world, is_complete=True, exit_code=255)
        assert (view.state, view.exit_code) == (RunState.STOPPED, 255)
        assert view.is_stop_requested
    assert report(world, is_complete=True).run.state is RunState.FINISHED
    assert not report(world).is_stop_requested, "it goes on as if nobody had asked"


def test_a_stop_is_noted_once_and_not_for_a_run_that_has_ended(world: World) -> None:
    begun(world)
    first = stop(world).run.stop_requested_at
    assert first == world.clock.now()
    world.clock.advance(5)
    assert stop(world).run.stop_requested_at == first
    assert report(world).run.stop_requested_at == first, "its client goes on for a while"
    begun(world, id="r1")
    report(world, is_complete=True)
    begun(world)
    assert report(world, is_complete=True).run.stop_requested_at is None
    assert stop(world).run.stop_requested_at is None


def test_a_summary_replaces_the_one_before(world: World) -> None:
    begun(world, config={"lr": 1})
    assert report(world, summary={"a": 1}).run.summary == {"a": 1}
    run = report(world, summary={"b": 2}).run
    assert (run.summary, run.config) == ({"b": 2}, {"lr": 1})
    assert report(world).run.summary == {"b": 2}
    assert report(world, summary={}).run.summary == {}


def test_a_launched_run_s_values_are_merged_and_its_state_left_alone(world: World) -> None:
    job, item_id, token = a_job(world)
    upsert(world, job, config={"lr": 1}, summary={"a": 1}, is_begun=True)
    world.clock.advance(5)
    upsert(world, job, config={"bs": 2}, is_begun=True, facts={"notes": "n"})
    run = now(world).run
    assert (run.config, run.summary) == ({"lr": 1, "bs": 2}, {"a": 1})
    assert (run.heard_at, run.facts.notes) == (world.clock.now(), "n")
    world.clock.advance(5)
    view = report(world, job, summary={"b": 2}, is_complete=True, exit_code=1)
    assert (view.run.config, view.run.summary) == ({"lr": 1, "bs": 2}, {"a": 1, "b": 2})
    assert (view.run.heard_at, view.run.deadline) == (world.clock.now(), None)
    assert (view.run.state, view.run.exit_code) == (None, None), "its item says it"
    assert world.report(item_id, token, Event.FINISH, exit_code=0).ok
    assert (now(world).state, now(world).exit_code) == (RunState.FINISHED, 0)


def test_the_console_of_a_launched_run_is_its_item_s_log(world: World) -> None:
    chunk = ConsoleChunk(number=0, first_line=0, line_count=1, digest=Digest("c" * 64), at=1)
    line = StreamLine(number=0, step=0, text="{}")
    job, _, _ = a_job(world)
    run = report(world, job, console=chunk, system=[line], history=[line]).run
    assert world.do(lambda tx: tx.consoles.chunks(run.seq, limit=9)) == []
    assert world.do(lambda tx: tx.streams.system_size(run.seq)) == 1
    assert run.history_size == 1
    own = begun(world, id="r2").run
    view = now(world, "r2")
    said = StreamReport(console=chunk)
    world.do(lambda tx: world.service.tracked.report(tx, world.ann, view, said))
    assert world.do(lambda tx: tx.consoles.chunks(own.seq, limit=9)) == [chunk]


def test_alerts_are_kept_with_their_time_the_newest_ones(world: World) -> None:
    begun(world, facts={"notes": "n"})
    alert = world.service.tracked.alert
    for number in range(ALERTS_LIMIT + 1):
        world.clock.advance(1)
        view = now(world)
        world.do(
            lambda tx, view=view, title=f"t{number}": alert(
                tx, world.ann, view, title=title, text="why", level="WARN"
            )
        )
    facts = now(world).run.facts
    titles = [kept["title"] for kept in facts.alerts]
    assert titles == [f"t{number}" for number in range(1, ALERTS_LIMIT + 1)]
    assert facts.alerts[-1] == {
        "title": f"t{ALERTS_LIMIT}", "text": "why", "level": "WARN", "at": world.clock.now(),
    }  # fmt: skip
    assert facts.notes == "n"
    view = now(world)
    for values, field in (
        ({"title": "t" * (FACT_LIMIT + 1), "text": ""}, "title"),
        ({"title": "t", "text": "t" * (TEXT_LIMIT + 1)}, "description"),
    ):
        with pytest.raises(Invalid) as refused:
            world.do(lambda tx, v=values: alert(tx, world.ann, view, level="INFO", **v))
        assert refused.value.details["field"] == field


@pytest.mark.parametrize(
    ("name", "limit"),
    [("notes", TEXT_LIMIT), ("description", TEXT_LIMIT), ("group", FACT_LIMIT)],
)
def test_a_fact_is_a_text_of_bearable_length(world: World, name: str, limit: int) -> None:
    begun(world, facts={name: "x" * limit})
    for value in ("x" * (limit + 1), 3):
        with pytest.raises(Invalid, match=f"{name} must be text of at most {limit}") as refused:
            begun(world, facts={name: value})
        assert refused.value.details["field"] == name


@pytest.mark.parametrize(
    ("field", "value"), [("id", "a/b"), ("project", "a/b"), ("name", "two\nlines")]
)
def test_a_name_that_is_none_is_refused_by_its_field(world: World, field: str, value: str) -> None:
    with pytest.raises(Invalid) as refused:
        upsert(world, **{field: value})
    assert refused.value.details["field"] == field


def test_tags_are_so_many_texts(world: World) -> None:
    tags = [f"t{number}" for number in range(TAGS_LIMIT)]
    assert begun(world, facts={"tags": tags}).run.facts.tags == tuple(tags)
    with pytest.raises(Invalid, match=f"at most {TAGS_LIMIT} tags") as refused:
        begun(world, facts={"tags": [*tags, "more"]})
    assert refused.value.details == {"field": "tags", "value": TAGS_LIMIT + 1}
    with pytest.raises(Invalid, match="tags must be text") as refused:
        begun(world, facts={"tags": [1]})
    assert refused.value.details["field"] == "tags"


def test_a_deleted_run_takes_nothing_more_and_never_crashes(world: World) -> None:
    begun(world)
    view = now(world)
    delete(world)
    gone = world.do(lambda tx: tx.runs.get("ann", "demo", view.run.id))
    assert gone is not None
    assert (gone.deleted_at, gone.deadline) == (world.clock.now(), None)
    deleted = replace(view, run=gone)
    with pytest.raises(NotFound, match="there is no run ann/demo/r1"):
        world.do(lambda tx: world.service.tracked.report(tx, world.ann, deleted, StreamReport()))
    with pytest.raises(Invalid, match="run ann/demo/r1 was deleted") as refused:
        upsert(world)
    assert refused.value.details == {"field": "id", "value": "r1"}
    assert ids(world) == []


def test_a_deleted_launched_run_takes_its_item_along(world: World) -> None:
    _, item_id, token = a_job(world)
    assert world.report(item_id, token, Event.FINISH, exit_code=0).ok
    delete(world)
    with pytest.raises(NotFound):
        now(world)
    item = world.do(lambda tx: tx.items.get(item_id))
    assert item is not None
    assert item.deleted_at == world.clock.now()
