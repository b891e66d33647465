"""Puts one history's nodes together, lets them run, and lets go wrong what the plan says."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from shipway.agent.lease import Lease
from shipway.domain.agent import RunAs
from shipway.domain.errors import ShipwayError
from shipway.domain.item import TERMINAL
from shipway.testing.simulate.agent import Site
from shipway.testing.simulate.client import Client
from shipway.testing.simulate.database import Witness
from shipway.testing.simulate.fate import Fate
from shipway.testing.simulate.history import History, What
from shipway.testing.simulate.kernel import Kernel
from shipway.testing.simulate.memory import BlobsInMemory, home, new_database
from shipway.testing.simulate.network import Answer, Call, Network
from shipway.testing.simulate.node import Machine, Node
from shipway.testing.simulate.plan import Plan
from shipway.testing.simulate.rows import Row, Table
from shipway.testing.simulate.server import ServerNode

PATIENCE_MS = 400_000.0  # after the last fault; what has not ended by then never will
LOOK_MS = 250.0  # between two looks whether it is over
ENDED = frozenset(state.value for state in TERMINAL)


class World:
    """One history while it is made."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.kernel = kernel = Kernel(plan.seed)
        self.history = history = History(lambda: kernel.now)
        self.network = Network(kernel)
        self._folder = Path(tempfile.mkdtemp(prefix="shipway-simulate-", dir=home()))
        self._path = new_database(self._folder)
        self._eyes = sqlite3.connect(self._path, isolation_level=None)
        self.table = Table(self._eyes)
        self.witness = Witness(history)
        self.blobs = BlobsInMemory()
        self.servers = [self._server(number) for number in range(plan.servers)]
        for server in self.servers:
            server.others = self.servers
            server.holder = self._holder
        self.sites = [self._site(n, slots) for n, slots in enumerate(plan.sites)]
        people = Machine(kernel, "people")
        self.client = Client(Node(kernel, "client", people), history, self.post)
        self.fate = Fate(self.servers, self.sites, self.network, kernel, history)
        self.scripts = {task.number: task.script for task in plan.tasks}

    def run(self) -> None:
        """Let it happen."""
        for server in self.servers:
            server.start()
        self.client.node.start()
        for site in self.sites:
            self.kernel.after(self.kernel.between(5, 200), partial(self.fate.start, site))
        for task in self.plan.tasks:
            self.client.add(task)
        for act in self.plan.acts:
            self.client.act(act)
        for fault in self.plan.faults:
            self.fate.bring(fault)
        quiet = max((fault.at + fault.for_ms for fault in self.plan.faults), default=0.0)
        self.kernel.after(quiet, lambda: self.history.note("fate", What.QUIET))
        self.kernel.run(quiet)
        was_over = False  # twice in a row: what was on its way may have begun something new
        while not (was_over and self.is_over()) and self.kernel.now < quiet + PATIENCE_MS:
            was_over = self.is_over()
            self.kernel.run(self.kernel.now + LOOK_MS)

    def close(self) -> None:
        """End everything."""
        for site in self.sites:
            site.close()
        for server in self.servers:
            server.kill()
        self._eyes.close()
        shutil.rmtree(self._folder)

    def log(self, item: str, attempt: int) -> tuple[bytes, bool]:
        """Return what the servers have of a log, and whether its chunks fit together."""
        data, is_whole = b"", True
        for start, length, digest in self.table.chunks(item, attempt):
            piece = zlib.decompress(self.blobs.by_digest[digest])
            is_whole = is_whole and start == len(data) and length == len(piece)
            data += piece
        return data, is_whole

    def number(self, row: Row) -> int:
        """Return the number of the task that an item came from."""
        return int(json.loads(row.spec)["entry_point"][1])

    def post(
        self, sender: Node, route: str, body: dict[str, Any], timeout_ms: float, answer: Answer
    ) -> None:
        """Send a request to one of the servers."""
        up = [server for server in self.servers if server.node.is_up] or self.servers
        server = up[0] if len(up) == 1 else self.kernel.random.choice(up)
        call = Call(sender=sender.name, route=route, body=body, timeout_ms=timeout_ms)
        self.history.note(sender.name, What.CALL, body.get("item", ""), route=route)

        def hear(value: Any, error: ShipwayError | None) -> None:
            said = "ok" if error is None else error.code.value
            self.history.note(sender.name, What.ANSWER, route=route, said=said)
            answer(value, error)

        self.network.call(sender, server, call, hear)

    def is_over(self) -> bool:
        """Tell whether nothing is left to be done."""
        if self.client.open or any(row.state not in ENDED for row in self.witness.rows.values()):
            return False
        return not any(
            seat.is_live for site in self.sites for seat in site.supervisor.seats.values()
        )

    def _holder(self) -> ServerNode | None:
        """Return the server that holds upkeep: the first that lives, stopped or not."""
        return next((server for server in self.servers if server.node.is_up), None)

    def _server(self, number: int) -> ServerNode:
        name = f"server{number}"
        node = Node(self.kernel, name, Machine(self.kernel, name))
        return ServerNode(node, self._path, self.blobs, self.witness, self.history)

    def _site(self, number: int, slots: int) -> Site:
        machine = Machine(self.kernel, f"m{number}")
        site = Site(
            machine,
            slots=slots,
            run_as=RunAs.SELF if number % 2 else RunAs.SHARED,
            folder=self._folder,
            post=self.post,
            history=self.history,
        )
        site.supervisor.scripts = lambda request: self.scripts[int(request.argv[1])]
        site.supervisor.when_killing = self._crash(site)
        site.dooms = self._doom(site)
        return site

    def _crash(self, site: Site) -> Callable[[], None]:
        return lambda: self.fate.crash_machine(site, self.kernel.between(500, 3_000))

    def _doom(self, site: Site) -> Callable[[Lease], bool]:
        def dooms(lease: Lease) -> bool:
            is_doomed = self.scripts[int(lease.spec["entry_point"][1])].kills_builder
            if is_doomed:
                site.node.after(50, self._crash(site))
            return is_doomed

        return dooms
