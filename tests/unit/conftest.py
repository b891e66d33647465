"""A service over a real store in memory, with time and chance in the test's hand."""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from shipway.blobs.directory import DirectoryBlobs
from shipway.domain.actor import Actor, Role
from shipway.domain.artifact import ArtifactState, ArtifactView, ManifestKind
from shipway.domain.ids import AgentId, Digest, ItemId, KeyId, Token, UserName
from shipway.domain.item import Event, Failure, Item
from shipway.domain.launch_spec import Draft
from shipway.domain.manifest import Manifest, md5_of
from shipway.schemas import check, shipped
from shipway.service.artifact_uploads import FileAsk, Sender, read_plan, store_whole
from shipway.service.artifacts import ArtifactAsk
from shipway.service.leases import LeaseAnswer, LeaseAsk
from shipway.service.ports import Blobs, Tx
from shipway.service.reclaim import Looking, Reading, Reclaim
from shipway.service.reports import Report, ReportResult
from shipway.service.wiring import Service
from shipway.store.open import open_store
from shipway.store.sqlite import Durability
from shipway.testing.clock import ManualClock

T = TypeVar("T")
SOURCE = {"kind": "git", "url": "https://example.org/a.git", "commit": "a" * 40, "ref": "main"}


class World:
    """One server's service with two people, an agent, and shorthands for what they do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.chance = random.Random(7)  # goes on after a restart: ids and tokens never come again
        self._open()
        self.admin_key = self.do(lambda tx: self.service.keys.bootstrap(tx, "root"))
        self.root = self.do(lambda tx: self.service.keys.authenticate(tx, self.admin_key))
        self.ann = self.person("ann")
        self.bob = self.person("bob")
        self.do(self.service.upkeep.start)
        self.agent = self.register("agent-one")

    def restart(self) -> None:
        """Let the server die and another one come; what was committed is there."""
        self.store.close()
        self._open()
        self.do(self.service.upkeep.start)

    def _open(self) -> None:
        self.store = open_store(
            f"sqlite:///{self.folder}/shipway.db",
            migrate=True,
            durability=Durability.OFF,
            is_threaded=False,
        )
        self.service = Service.build(
            clock=self.clock, random=self.chance, schemas=shipped(), check=check
        )

    def do(self, work: Callable[[Tx], T]) -> T:
        """Run one transaction."""
        future = self.store.write(work)
        self.store.writer.drain()
        return future.result(0)

    def person(self, name: str, role: Role = Role.MEMBER) -> Actor:
        """Add a user with a `default` queue."""
        self.do(lambda tx: self.service.keys.create_user(tx, self.root, name=name, role=role.value))
        return Actor(user=UserName(name), role=role, entity=name, key_id=KeyId(f"k{name}"))

    def register(self, agent_id: str, actor: Actor | None = None, **values: Any) -> AgentId:
        """Register an agent of ann's."""
        said = {"id": agent_id, "queues": ["default"], "resources": ["local-process"], **values}
        self.do(lambda tx: self.service.agents.register(tx, actor or self.ann, said))
        return AgentId(agent_id)

    def add(self, actor: Actor | None = None, *, key: str | None = None, **draft: Any) -> Item:
        """Add an item, ann's unless said."""
        made = Draft.from_json({"source": SOURCE, **draft})
        added = self.do(lambda tx: self.service.items.enqueue(tx, actor or self.ann, [(made, key)]))
        return added[0][0]

    def item(self, item_id: ItemId) -> Item:
        """Return an item as it is now."""
        return self.do(lambda tx: self.service.items.get(tx, self.root, item_id))

    def lease(self, agent: str = "agent-one", limit: int = 1, **ask: Any) -> LeaseAnswer:
        """Let an agent ask for work."""
        asked = LeaseAsk(agent=AgentId(agent), limit=limit, **ask)
        return self.do(lambda tx: self.service.leases.lease(tx, self.ann, asked))

    def report(
        self, item_id: ItemId, token: Token, event: Event, *, exit_code: int | None = None,
        failure: Failure | None = None, agent: str = "agent-one",
    ) -> ReportResult:  # fmt: skip
        """Let an agent report."""
        said = Report(item=item_id, token=token, event=event, exit_code=exit_code, failure=failure)
        results = self.do(
            lambda tx: self.service.leases.report(tx, self.ann, AgentId(agent), [said])
        )
        return results[0]

    def running(self, **draft: Any) -> tuple[ItemId, Token]:
        """Add an item and bring it past the start gate."""
        self.add(**draft)
        grant = self.lease().leases[0]
        assert self.report(grant.item.id, grant.token, Event.START).ok
        return grant.item.id, grant.token

    def reclaim(self, blobs: Blobs, *, is_dry_run: bool = False) -> Reclaim:
        """Delete what nothing leads to, step by step as a server does."""
        made = self.service.upkeep.reclaim(blobs, is_dry_run=is_dry_run)
        for step in made.steps():
            if isinstance(step, Looking):
                step.do()
            elif isinstance(step, Reading):
                with self.store.read() as tx:
                    step.do(tx)
            else:
                self.do(step.do)
        return made

    def pass_time(self, ms: int) -> list[Item]:
        """Let time pass as a server sees it: a tick and a look each second."""
        ended: list[Item] = []
        while ms > 0:
            step = min(ms, 1_000)
            self.clock.advance(step)
            self.do(self.service.upkeep.tick)
            ended += self.do(self.service.upkeep.expire)
            ms -= step
        return ended


class Maker:
    """Logs artifacts as a client does."""

    def __init__(self, world: World, blobs: DirectoryBlobs) -> None:
        self.world = world
        self.blobs = blobs

    def stored(self, data: bytes) -> Digest:
        digest = Digest(hashlib.sha256(data).hexdigest())
        self.blobs.put(digest, data)
        return digest

    def begin(self, files: Mapping[str, str], actor: Actor | None = None, **ask: Any) -> Any:
        """Announce an artifact of these files; return its version and manifest."""
        manifest = Manifest(manifest_of(files))
        asked = ArtifactAsk(**{
            "entity": None, "project": "demo", "type": "dataset", "name": "data",
            "digest": manifest.digest(), **ask,
        })  # fmt: skip
        who = actor or self.world.ann
        view = self.world.do(lambda tx: self.world.service.artifacts.create(tx, who, asked))
        return view, manifest

    def send(
        self, view: ArtifactView, files: Mapping[str, str], *, sender: Sender | None = None,
        actor: Actor | None = None, kind: ManifestKind = ManifestKind.FULL, base: int | None = None,
    ) -> None:  # fmt: skip
        """Send files and manifest."""
        seq, who, uploads = view.artifact.seq, actor or self.world.ann, self.uploads
        by = sender or Sender()
        asks = [
            FileAsk(artifact=seq, path=path, md5=md5_of(text.encode()))
            for path, text in files.items()
        ]
        wanted = self.world.do(lambda tx: uploads.grant(tx, who, asks))
        for ask, is_wanted in zip(asks, wanted, strict=True):
            if is_wanted:
                data = files[ask.path].encode()
                digest = self.stored(data)
                self.world.do(lambda tx, a=ask, d=digest, n=data: uploads.add_file(  # type: ignore[misc] # bound now
                    tx, seq, digest=d, size=len(n), md5=a.md5, sender=by
                ))  # fmt: skip
        data = Manifest(manifest_of(files)).encode()
        row = self.world.do(
            lambda tx: uploads.announce(tx, who, seq, kind=kind, md5=md5_of(data), base=base)
        )
        digest = self.stored(data)
        self.world.do(lambda tx: uploads.add_manifest(
            tx, seq, manifest=row.seq, digest=digest, size=len(data), sender=by
        ))  # fmt: skip

    def commit(self, view: ArtifactView, actor: Actor | None = None) -> ArtifactView:
        """Commit what came."""
        who, do = actor or self.world.ann, self.world.do
        plan = do(lambda tx: self.uploads.plan(tx, who, view.artifact.seq))
        if plan.view.artifact.state is ArtifactState.COMMITTED:
            return plan.view
        manifest = read_plan(self.blobs, plan)
        resolved = do(lambda tx: self.uploads.resolve(tx, plan, manifest))
        do(lambda tx: self.uploads.touch(tx, plan, resolved.aging))
        whole = store_whole(self.blobs, plan, manifest, resolved)
        return do(lambda tx: self.uploads.commit(tx, who, plan, whole))

    def log(self, files: Mapping[str, str], actor: Actor | None = None, **ask: Any) -> ArtifactView:
        """Log an artifact from its beginning to its end."""
        view, _ = self.begin(files, actor, **ask)
        if view.artifact.state is ArtifactState.COMMITTED:
            found: ArtifactView = view
            return found
        self.send(view, files, actor=actor)
        return self.commit(view, actor)

    def named(self, name: str) -> ArtifactView | None:
        """Return what ann finds under a name."""
        service, ann = self.world.service.artifacts, self.world.ann
        return self.world.do(lambda tx: service.named(tx, ann, "ann", "demo", name))

    @property
    def uploads(self) -> Any:
        return self.world.service.artifact_uploads


def manifest_of(files: Mapping[str, str]) -> dict[str, Any]:
    contents = {
        path: {"digest": md5_of(text.encode()), "size": len(text)} for path, text in files.items()
    }
    return {"version": 1, "contents": contents}


@pytest.fixture
def world() -> Iterator[World]:
    shm = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - memory, not a shared name
    folder = Path(tempfile.mkdtemp(dir=shm))
    made = World(folder)
    try:
        yield made
    finally:
        made.store.close()
        shutil.rmtree(folder)


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    made = DirectoryBlobs(tmp_path / "blobs", free_floor=0, sync=lambda _: None)
    made.open()
    return made


@pytest.fixture
def maker(world: World, blobs: DirectoryBlobs) -> Maker:
    return Maker(world, blobs)
