"""Files of runs that travel by signed addresses: who may store which, and until when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.errors import Forbidden, Invalid, LeaseLost, NotFound
from shipway.domain.ids import Digest, ItemId, Token
from shipway.domain.item import Event
from shipway.domain.run import Run, RunFile
from shipway.service.run_files import FILES_LIMIT
from shipway.service.runs import RunView
from shipway.service.tracked_runs import RunAsk
from tests.unit.conftest import World

DIGEST = Digest("d" * 64)


def a_run(world: World) -> RunView:
    asked = RunAsk(project="demo", id="r1", is_begun=True)
    return world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, asked))[0]


def a_job(world: World) -> tuple[Actor, RunView, ItemId, Token]:
    """Let a program of ann's run; return what its own key makes it, and its run."""
    item_id, token = world.running(run_id="r1", project="demo")
    job = replace(world.ann, role=Role.JOB, item_id=item_id, attempt=1)
    view = world.do(lambda tx: world.service.tracked.get(tx, job, "ann", "demo", "r1"))
    return job, view, item_id, token


def grant(world: World, actor: Actor, view: RunView, *paths: str) -> int:
    return world.do(lambda tx: world.service.run_files.grant(tx, actor, view, paths))


def add(world: World, run: Run, *, attempt: int, path: str = "a.txt") -> list[RunFile]:
    def work(tx: object) -> None:
        world.service.run_files.add(
            tx, run, path=path, digest=DIGEST, size=3, md5="m", attempt=attempt
        )  # fmt: skip

    world.do(work)
    return world.do(lambda tx: world.service.run_files.of_run(tx, run))


def test_a_stored_file_is_the_run_s_and_its_entity_s(world: World) -> None:
    view = a_run(world)
    assert grant(world, world.ann, view, "a.txt", "b/c.txt") == 0, "a person has no attempt"
    world.clock.advance(5)
    stored = RunFile(path="a.txt", digest=DIGEST, size=3, at=world.clock.now(), md5="m")
    assert add(world, view.run, attempt=0) == [stored]
    assert world.do(lambda tx: tx.blobs.size("ann", DIGEST)) == 3
    assert world.do(lambda tx: tx.blobs.size("bob", DIGEST)) is None


def test_files_are_granted_to_those_who_may_write_to_the_run(world: World) -> None:
    view = a_run(world)
    with pytest.raises(NotFound, match="there is no run"):
        grant(world, world.bob, view, "a.txt")
    with pytest.raises(Forbidden, match="viewer may not write to runs"):
        grant(world, replace(world.ann, role=Role.VIEWER), view, "a.txt")
    assert grant(world, world.root, view, "a.txt") == 0


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../a", "a//b", "a\n"])
def test_a_path_that_leaves_the_run_is_refused(world: World, path: str) -> None:
    view = a_run(world)
    with pytest.raises(Invalid, match=r"is not a relative path without '\.\.'") as refused:
        grant(world, world.ann, view, "good.txt", path)
    assert refused.value.details == {"field": "files", "value": path}


def test_so_many_files_are_granted_at_once_and_no_more(world: World) -> None:
    view = a_run(world)
    assert grant(world, world.ann, view, *["a"] * FILES_LIMIT) == 0
    with pytest.raises(Invalid, match=f"at most {FILES_LIMIT} files a call") as refused:
        grant(world, world.ann, view, *["a"] * (FILES_LIMIT + 1))
    assert refused.value.details == {"field": "files", "value": FILES_LIMIT + 1}


def test_a_program_s_grant_ends_with_its_attempt(world: World) -> None:
    job, view, item_id, token = a_job(world)
    attempt = grant(world, job, view, "a.txt")
    assert attempt == 1
    assert [file.path for file in add(world, view.run, attempt=attempt)] == ["a.txt"]
    with pytest.raises(LeaseLost, match="attempt 2 of run r1 has ended"):
        add(world, view.run, attempt=2, path="late.txt")
    assert world.report(item_id, token, Event.FINISH, exit_code=0).ok
    with pytest.raises(LeaseLost, match="attempt 1 of run r1 has ended"):
        add(world, view.run, attempt=attempt, path="late.txt")
    people = add(world, view.run, attempt=0, path="note.txt")
    assert [file.path for file in people] == ["a.txt", "note.txt"], "people add files later too"


def test_an_attempt_s_grant_is_no_good_for_a_run_without_an_item(world: World) -> None:
    view = a_run(world)
    with pytest.raises(LeaseLost, match="attempt 1 of run r1 has ended"):
        add(world, view.run, attempt=1)
