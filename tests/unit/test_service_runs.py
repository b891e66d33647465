"""Runs: who sees and writes them, and what they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Forbidden, Invalid, LeaseLost, NotFound
from shipway.domain.ids import Digest, ItemId
from shipway.domain.item import Event
from shipway.domain.run import PATH_LIMIT, Run, RunFile, RunState
from shipway.service.runs import ROWS_LIMIT, RunView, check_file, item_of_run
from tests.unit.conftest import World

DIGEST = Digest("d" * 64)


def view(world: World, item_id: ItemId, who: Actor | None = None) -> RunView:
    item, get = world.item(item_id), world.service.runs.get
    return world.do(lambda tx: get(tx, who or world.ann, item.entity, item.project, item.run_id))


def program(world: World, item_id: ItemId, attempt: int = 1) -> Actor:
    return replace(world.ann, role=Role.JOB, item_id=item_id, attempt=attempt)


def update(
    world: World, who: Actor, seen: RunView, config: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Run:  # fmt: skip
    runs = world.service.runs
    return world.do(lambda tx: runs.update(tx, who, seen, config=config, summary=summary))


def test_a_run_comes_to_be_with_its_lease(world: World) -> None:
    waiting = world.add(project="p")
    with pytest.raises(NotFound, match=f"yet: its item {waiting.id} waits in its queue"):
        view(world, waiting.id)
    grant = world.lease().leases[0]
    assert view(world, waiting.id).state is RunState.PENDING
    world.report(waiting.id, grant.token, Event.START)
    assert view(world, waiting.id).state is RunState.RUNNING
    world.report(waiting.id, grant.token, Event.FINISH, exit_code=0)
    assert view(world, waiting.id).state is RunState.FINISHED


def test_a_run_that_is_not_there_or_not_ones_own_reads_the_same(world: World) -> None:
    item_id, _ = world.running(project="p")
    get, run_id = world.service.runs.get, world.item(item_id).run_id
    with pytest.raises(NotFound, match=r"^there is no run ann/p/nope"):
        world.do(lambda tx: get(tx, world.ann, "ann", "p", "nope"))
    for stranger in (world.bob, program(world, ItemId("another"))):
        with pytest.raises(NotFound, match=rf"^there is no run ann/p/{run_id}"):
            view(world, item_id, stranger)
    assert view(world, item_id, program(world, item_id)).run.id == run_id
    assert view(world, item_id, world.root).run.id == run_id


def test_a_list_has_the_runs_that_came_to_be(world: World) -> None:
    first, _ = world.running(project="p")
    world.add(project="p")  # nobody leased it
    find = world.service.runs.find
    for who, entity in ((world.ann, None), (world.ann, "ann"), (world.root, None)):
        found = world.do(lambda tx: find(tx, who, entity=entity, project="p"))
        assert [one.run.item_id for one in found] == [first]
    assert world.do(lambda tx: find(tx, world.bob, entity=None, project=None)) == []
    assert world.do(lambda tx: find(tx, world.ann, entity=None, project=None, limit=0)) == []


def test_values_are_merged_key_by_key(world: World) -> None:
    item_id, _ = world.running()
    me = program(world, item_id)
    update(world, me, view(world, item_id), {"lr": 1, "n": 2}, {"loss": 3})
    changed = update(world, me, view(world, item_id), {"n": 4})
    assert (changed.config, changed.summary) == ({"lr": 1, "n": 4}, {"loss": 3})
    assert view(world, item_id).run == changed
    assert update(world, me, view(world, item_id), None, {"acc": 5}).summary == {
        "loss": 3,
        "acc": 5,
    }


def test_history_is_read_in_pages(world: World) -> None:
    item_id, _ = world.running()
    runs, me = world.service.runs, program(world, item_id)
    rows = [{"loss": at} for at in range(3)]
    seen = view(world, item_id)
    assert world.do(lambda tx: runs.add_history(tx, me, seen, rows)) == 3
    later = view(world, item_id)
    assert world.do(lambda tx: runs.add_history(tx, me, later, rows[:1])) == 4
    whole = world.do(lambda tx: runs.history(tx, world.ann, later))
    assert [row["loss"] for row in whole] == [0, 1, 2, 0]
    part = world.do(lambda tx: runs.history(tx, world.ann, later, after=1, limit=2))
    assert part == whole[1:3]


def test_a_report_of_history_has_a_limit(world: World) -> None:
    item_id, _ = world.running()
    runs, me, seen = world.service.runs, program(world, item_id), view(world, item_id)
    rows = [{"loss": 1}] * ROWS_LIMIT
    with pytest.raises(Invalid, match=f"at most {ROWS_LIMIT} rows a call") as refused:
        world.do(lambda tx: runs.add_history(tx, me, seen, [*rows, {}]))
    assert refused.value.details == {"field": "rows", "value": ROWS_LIMIT + 1}
    assert world.do(lambda tx: runs.add_history(tx, me, seen, rows)) == ROWS_LIMIT


def test_others_neither_see_nor_change_a_run(world: World) -> None:
    item_id, _ = world.running()
    runs, seen = world.service.runs, view(world, item_id)
    for read in (runs.history, runs.files):
        with pytest.raises(NotFound, match=r"^there is no run"):
            world.do(lambda tx: read(tx, world.bob, seen))
    for role in (Role.VIEWER, Role.AGENT):
        with pytest.raises(Forbidden, match=f"a key with the role {role} may not write to runs"):
            update(world, replace(world.ann, role=role), seen, {"a": 1})
    viewer = replace(world.ann, role=Role.VIEWER)
    with pytest.raises(Forbidden):
        world.do(lambda tx: runs.add_history(tx, viewer, seen, [{}]))
    assert update(world, world.ann, seen, {"a": 1}).config == {"a": 1}


def test_a_program_writes_to_its_own_attempt_while_that_is_held(world: World) -> None:
    item_id, token = world.running()
    seen = view(world, item_id)
    with pytest.raises(NotFound, match=r"^there is no run"):
        update(world, program(world, ItemId("another")), seen, {"a": 1})
    alone = replace(seen, item=None, run=replace(seen.run, item_id=None))
    with pytest.raises(NotFound, match=r"^there is no run"):
        update(world, program(world, item_id), alone, {"a": 1})
    with pytest.raises(LeaseLost, match=f"attempt 2 of item {item_id} has ended"):
        update(world, program(world, item_id, 2), seen, {"a": 1})
    world.report(item_id, token, Event.FINISH, exit_code=0)
    with pytest.raises(LeaseLost, match=f"attempt 1 of item {item_id} has ended"):
        update(world, program(world, item_id), view(world, item_id), {"a": 1})


@pytest.mark.parametrize("form", ["ann/p/{}", "ann/p/runs/{}", "/ann/p/runs/{}/"])
def test_a_run_is_named_in_two_forms(world: World, form: str) -> None:
    item = world.add(project="p")
    path = form.format(item.run_id)
    assert world.do(lambda tx: item_of_run(tx, world.ann, path)).id == item.id
    with pytest.raises(NotFound, match=rf"^there is no run ann/p/{item.run_id}"):
        world.do(lambda tx: item_of_run(tx, world.bob, path))


@pytest.mark.parametrize(
    "path", ["", "ann", "ann/p", "ann/p/x/r", "runs/ann/p/r", "ann/p/runs/r/x"]
)
def test_anything_else_is_no_run(world: World, path: str) -> None:
    with pytest.raises(Invalid, match="is no run: write entity/project/runs/id") as refused:
        world.do(lambda tx: item_of_run(tx, world.ann, path))
    assert refused.value.details == {"field": "uri", "value": path}


def test_a_run_that_is_missing_is_named_with_its_uri(world: World) -> None:
    with pytest.raises(NotFound, match=r"^there is no run ann/p/nope") as refused:
        world.do(lambda tx: item_of_run(tx, world.ann, "ann/p/nope"))
    assert refused.value.details == {"field": "uri", "value": "ann/p/nope"}


def test_a_saved_file_keeps_its_path_digest_and_size() -> None:
    assert check_file("a/b.txt", DIGEST, 0, at=5) == RunFile(
        path="a/b.txt", digest=DIGEST, size=0, at=5
    )
    longest = "a" * PATH_LIMIT
    assert check_file(longest, DIGEST, 7, at=5).path == longest


@pytest.mark.parametrize(
    ("path", "digest", "size", "field"),
    [
        ("", DIGEST, 1, "path"),
        (3, DIGEST, 1, "path"),
        ("/a", DIGEST, 1, "path"),
        ("a/../b", DIGEST, 1, "path"),
        ("a//b", DIGEST, 1, "path"),
        ("./a", DIGEST, 1, "path"),
        ("a\nb", DIGEST, 1, "path"),
        ("a" * (PATH_LIMIT + 1), DIGEST, 1, "path"),
        ("a", "d" * 63, 1, "digest"),
        ("a", None, 1, "digest"),
        ("a", DIGEST, -1, "size"),
        ("a", DIGEST, True, "size"),
        ("a", DIGEST, "1", "size"),
        ("a", DIGEST, 1.0, "size"),
    ],
)
def test_a_bad_file_is_refused_with_its_field(
    path: object, digest: object, size: object, field: str
) -> None:
    with pytest.raises(Invalid, match=f"^{field} ") as refused:
        check_file(path, digest, size, at=0)
    assert refused.value.details["field"] == field
