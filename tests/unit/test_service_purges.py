"""What nobody committed and what was deleted long ago is cleared, a part at a time."""

from __future__ import annotations

from shipway.domain.artifact import Artifact, ArtifactState, Part
from shipway.domain.item import Event
from shipway.domain.tombstone import KEPT_MS
from shipway.service.artifacts import ArtifactAsk
from shipway.service.ports import Tx
from shipway.service.tracked_runs import SILENT_MS, RunAsk
from shipway.service.upkeep import LATE_MS, PURGED_ROWS, TICK_MS
from tests.unit.conftest import World


def announced(world: World, name: str = "data") -> Artifact:
    """Let ann's client announce an artifact that it does not commit."""
    asked = ArtifactAsk(
        entity=None, project="demo", type="dataset", name=name, digest=f"digest of {name}"
    )
    return world.do(lambda tx: world.service.artifacts.create(tx, world.ann, asked)).artifact


def now(world: World, artifact: Artifact) -> Artifact:
    found = world.do(lambda tx: tx.artifacts.get(artifact.seq))
    assert found is not None
    return found


def remove(world: World, artifact: Artifact) -> None:
    view = world.do(lambda tx: world.service.artifacts.get(tx, world.ann, artifact.seq))
    world.do(lambda tx: world.service.artifacts.remove(tx, view))


def use(world: World, artifact: Artifact, times: int) -> None:
    """Let so many runs use an artifact."""

    def work(tx: Tx) -> None:
        for number in range(times):
            asked = RunAsk(project="demo", id=f"{artifact.seq}-{number}")
            run = world.service.tracked.upsert(tx, world.ann, asked)[0].run
            tx.artifact_links.link(run.seq, Part.INPUT, artifact.seq, used_as=None, at=1)

    world.do(work)


def test_an_artifact_that_nobody_commits_goes_after_a_week(world: World) -> None:
    upkeep, artifact = world.service.upkeep, announced(world)
    world.clock.advance(KEPT_MS)
    assert world.do(upkeep.purge) == 0
    assert now(world, artifact).state is ArtifactState.PENDING
    world.clock.advance(1)
    assert world.do(upkeep.purge) > 0
    assert now(world, artifact).state is ArtifactState.DELETED
    assert world.do(upkeep.to_purge) == 0, "at once with all that it had"
    assert world.do(upkeep.purge) == 0


def test_a_deleted_artifact_is_cleared_after_a_week(world: World) -> None:
    upkeep, artifact = world.service.upkeep, announced(world)
    use(world, artifact, 1)
    remove(world, artifact)
    world.clock.advance(KEPT_MS)
    assert (world.do(upkeep.to_purge), world.do(upkeep.purge)) == (0, 0)
    world.clock.advance(1)
    assert world.do(upkeep.to_purge) == 1
    assert world.do(upkeep.purge) > 0
    users = world.do(lambda tx: tx.artifact_links.runs_of(artifact.seq, Part.INPUT, limit=9))
    assert list(users) == []
    assert (world.do(upkeep.to_purge), world.do(upkeep.purge)) == (0, 0)


def test_deleted_artifacts_are_cleared_in_parts(world: World) -> None:
    upkeep, artifacts = world.service.upkeep, [announced(world, name) for name in "ab"]
    for artifact in artifacts:
        use(world, artifact, PURGED_ROWS // 2 + 20)
        remove(world, artifact)
    world.clock.advance(KEPT_MS + 1)
    parts = []
    while part := world.do(upkeep.purge):
        parts.append(part)
        assert world.do(upkeep.to_purge) == (1 if len(parts) == 1 else 0)
    assert parts[0] == PURGED_ROWS + 1, "its own rows, and what was left for another's"
    assert len(parts) == 2


def test_deleted_items_and_artifacts_are_counted_together(world: World) -> None:
    item_id, token = world.running()
    world.report(item_id, token, Event.FINISH, exit_code=0)
    world.do(lambda tx: world.service.items.delete(tx, world.ann, item_id))
    remove(world, announced(world))
    world.clock.advance(KEPT_MS + 1)
    assert world.do(world.service.upkeep.to_purge) == 2
    while world.do(world.service.upkeep.purge):
        pass
    assert world.do(world.service.upkeep.to_purge) == 0


def test_a_late_tick_gives_every_run_a_new_term(world: World) -> None:
    asked = RunAsk(project="demo", id="r1", is_begun=True)
    world.do(lambda tx: world.service.tracked.upsert(tx, world.ann, asked))
    upkeep = world.service.upkeep
    world.clock.advance(SILENT_MS + 1)
    assert SILENT_MS > TICK_MS + LATE_MS
    world.do(upkeep.tick)
    assert world.do(upkeep.give_up_runs) == []
    world.pass_time(SILENT_MS)
    assert world.do(upkeep.give_up_runs) == []
    world.pass_time(1)
    assert len(world.do(upkeep.give_up_runs)) == 1
