"""A server: the real application over the real service and store, below simulated HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec

from shipway.client.failures import error_of
from shipway.domain.errors import Code, ShipwayError
from shipway.domain.item import ItemEvent
from shipway.schemas import check, shipped
from shipway.server.access_log import AccessLog
from shipway.server.app import Application
from shipway.server.edge import Edge
from shipway.server.gate import Gate
from shipway.server.polls import LeasePolls
from shipway.server.settings import Settings
from shipway.service.wiring import Service
from shipway.testing.simulate.database import SPOKEN, Database, Spoken, Witness
from shipway.testing.simulate.event_loop import NodeLoop
from shipway.testing.simulate.history import History, What
from shipway.testing.simulate.memory import BlobsInMemory
from shipway.testing.simulate.network import Answer, Call
from shipway.testing.simulate.node import Node
from shipway.testing.simulate.routes import Line, dispatch, tokens_of

HEAR_MS = (1.0, 1_000.0)  # until one server knows of another's commit


class ServerNode:
    """One of the servers on a database, through all its lives."""

    def __init__(
        self, node: Node, path: Path, blobs: BlobsInMemory, witness: Witness, history: History
    ) -> None:
        self.node = node
        self._path = path
        self._blobs = blobs
        self._witness = witness
        self._history = history
        self._edge: Edge | None = None  # once it is ready
        self._loop: NodeLoop | None = None
        self.database: Database | None = None
        self.others: Sequence[ServerNode] = ()
        self.holder: Callable[[], ServerNode | None] = lambda: self
        self.faults: list[BaseException] = []

    def start(self) -> None:
        """Begin a life: nothing is answered before upkeep has begun."""
        node = self.node
        node.start()
        self._history.note(node.name, What.UP)
        self._loop = loop = NodeLoop(node, self.faults)
        database = self.database = Database(
            self._path, node, self._witness, holds_upkeep=lambda: self.holder() is self
        )
        edge = Edge(
            settings=Settings(database="", blobs=self._path),
            base_url="http://server",
            boot_id=f"{node.name}.{node.life}",
            store=database,
            blobs=self._blobs,
            service=Service.build(
                clock=node.machine, random=node.kernel.random, schemas=shipped(), check=check
            ),
            clock=node.machine,
        )
        edge.polls = LeasePolls(monotonic=loop.time)
        database.subscribe(self._tell_others)
        application = Application(
            edge=edge,
            gate=cast(Gate, None),
            access=cast(AccessLog, None),
            holds_upkeep=database.holds_upkeep,
        )
        loop.create_task(self._begin(application, edge))

    def kill(self) -> None:
        """End at once; what is not committed is gone."""
        if not self.node.is_up:
            return
        self._history.note(self.node.name, What.DOWN)
        self.node.kill()
        self._edge = None
        if self.database is not None:
            self.database.close()
            self.database = None

    def handle(self, call: Call, answer: Answer) -> Callable[[], None]:
        """Serve one request; return what to call when its connection is gone."""
        edge, loop = self._edge, self._loop
        if edge is None or loop is None:
            answer(None, ShipwayError("it is not ready", code=Code.UNREACHABLE))
            return _nothing
        line = Line()
        loop.create_task(self._serve(edge, call, line, answer))
        return line.leave

    async def _begin(self, application: Application, edge: Edge) -> None:
        await application.start()
        self._edge = edge

    async def _serve(self, edge: Edge, call: Call, line: Line, answer: Answer) -> None:
        SPOKEN.set(self._spoken(call))
        stopped = {id for id, row in self._witness.rows.items() if row.stop_requested_at}
        try:
            response = await dispatch(edge, call, line)
            value: Any = msgspec.json.decode(response.body)
        except ShipwayError as error:
            answer(None, error_of(error.code, error.message, error.details))
        except Exception as error:  # noqa: BLE001 - the outermost frame: a fault of shipway's own
            self.faults.append(error)
            answer(None, ShipwayError(str(error), code=Code.INTERNAL))
        else:
            self._watch_gate(value, stopped)
            answer(value, None)

    def _spoken(self, call: Call) -> Spoken | None:
        tokens = tokens_of(call)
        if tokens is None:
            return None
        agent = str(call.body.get("agent", ""))
        return Spoken(tokens=tokens, agent=agent, since=self.node.kernel.now)

    def _watch_gate(self, value: Any, stopped: set[str]) -> None:
        """Write down each yes of the gate to what was stopped before it was asked."""
        for result in value.get("results") or ():
            if result["event"] == "start" and result["ok"] and result["item"] in stopped:
                self._history.note(self.node.name, What.ALLOWED, result["item"])

    def _tell_others(self, events: Sequence[ItemEvent]) -> None:
        for other in self.others:
            database = other.database
            if other is not self and database is not None:
                ms = self.node.kernel.between(*HEAR_MS)
                other.node.after(ms, partial(database.hear, events))


def _nothing() -> None:
    """Do nothing: there is nobody who waits."""
