"""A service over a real store in memory, with time and chance in the test's hand."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from shipway.domain.actor import Actor, Role
from shipway.domain.ids import AgentId, ItemId, KeyId, Token, UserName
from shipway.domain.item import Event, Failure, Item
from shipway.domain.launch_spec import Draft
from shipway.schemas import check, shipped
from shipway.service.leases import LeaseAnswer, LeaseAsk
from shipway.service.ports import Tx
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
