"""A machine with an agent: the real loop, link and journal in simulated processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

from shipway.agent.courier import Reply
from shipway.agent.effects import Mark, Record
from shipway.agent.events import Event
from shipway.agent.journal import Journal
from shipway.agent.lease import Lease
from shipway.agent.link import Link
from shipway.agent.loop import Loop
from shipway.agent.need import Stock, need_of
from shipway.agent.settle import settle
from shipway.agent.state import Settling
from shipway.agent.transport import Transport
from shipway.agent.work import Work
from shipway.domain.agent import RunAs
from shipway.plugins.runner import RunnerContext
from shipway.testing.simulate.courier import Drafts, Letter, SimulatedCourier
from shipway.testing.simulate.history import History, What
from shipway.testing.simulate.memory import AGAIN, ONCE
from shipway.testing.simulate.network import Answer
from shipway.testing.simulate.node import Machine, Node
from shipway.testing.simulate.runner import SimulatedRunner
from shipway.testing.simulate.supervisor import Supervisor
from shipway.testing.simulate.work import SimulatedWork

WAKE_MS = (0.05, 1.5)  # until a thread has the loop's attention
SYNC_MS = 20.0  # until the journal's marks are on the disk
Post = Callable[[Node, str, dict[str, Any], float, Answer], None]


class NotedJournal:
    """The real journal, with a word to the history for each mark."""

    def __init__(self, journal: Journal, note: Callable[[Record], None]) -> None:
        self._journal = journal
        self._note = note

    def write(self, records: Sequence[Record]) -> None:
        """Append records."""
        self._journal.write(records)
        for record in records:
            self._note(record)


class Site:
    """A machine with one agent and one supervisor, through all their lives."""

    def __init__(
        self, machine: Machine, *, slots: int, run_as: RunAs, folder: Path, post: Post,
        history: History,
    ) -> None:  # fmt: skip
        self.machine = machine
        self.slots = slots
        self._run_as = run_as
        self.agent = f"agent-{machine.name}"
        self.node = Node(machine.kernel, self.agent, machine)
        self.supervisor = Supervisor(
            Node(machine.kernel, f"supervisor-{machine.name}", machine),
            history,
            post=lambda route, body, ms, answer: post(
                self.supervisor.node, route, body, ms, answer
            ),
            agent=self.agent,
        )
        self.dooms: Callable[[Lease], bool] = lambda _: False
        self._path = folder / f"{machine.name}.journal"
        self._synced = 0
        self._post = post
        self._history = history
        self._loop: Loop | None = None
        self._journal: Journal | None = None
        self._inbox: list[Event | Reply | None] = []
        self._is_woken = False
        self._turns = 0
        self._room = -1
        self._is_settled = False

    def start(self) -> None:
        """Begin a life of the agent, with what the one before it left."""
        node, machine = self.node, self.machine
        node.start()
        self._history.note(node.name, What.UP)
        self._inbox, self._is_woken, self._room, self._is_settled = [], False, -1, False
        journal = self._journal = Journal(
            self._path, boot_id=f"boot-{machine.boots}", later=self._sync_later
        )
        kept = journal.open()
        self._synced = self._path.stat().st_size
        runner = SimulatedRunner(node, self.supervisor)
        work = SimulatedWork(node, runner, emit=self._hear, post=self._send, dooms=self.dooms)
        found = work.open(
            RunnerContext(
                home=self._path,
                attempts=self._path,
                agent=self.agent,
                slots=self.slots,
                base_url="",
                key_file=self._path,
                notify=work.notice,
            )
        )
        state, missed = settle(kept, found, slots=self.slots, now=machine.monotonic())
        for attempt in state.attempts.values():
            if attempt.handle is not None:
                work.adopt(attempt.lease, attempt.handle)
        link = Link(
            transport=cast(Transport, Drafts()),
            registration={
                "id": self.agent,
                "queues": [ONCE, AGAIN],
                "resources": ["local-process"],
                "run_as": self._run_as.value,
                "slots": self.slots,
                "facts": {"process": f"began at {machine.monotonic()}"},
            },
            emit=self._hear,
            boot_ms=machine.monotonic,
            now=machine.now,
            is_whole=journal.is_whole,
            courier=partial(SimulatedCourier, post=self._send),
        )
        self._loop = Loop(
            state=state,
            link=link,
            work=cast(Work, work),
            journal=cast(Journal, NotedJournal(journal, self._note_mark)),
            inbox=SimpleQueue(),
            boot_ms=machine.monotonic,
        )
        self._inbox += missed
        self._turn()

    def kill(self) -> None:
        """Let the agent die as by kill -9."""
        if self.node.is_up:
            self._history.note(self.node.name, What.DOWN)
            self.node.kill()
            self._close()

    def crash(self) -> None:
        """Let the whole machine lose its power."""
        self.kill()
        self._history.note(self.agent, What.REBOOT)
        self.supervisor.reboot()
        if self._path.exists():
            size = self._path.stat().st_size
            kept = self.machine.kernel.random.randint(min(self._synced, size), size)
            with self._path.open("r+b") as file:
                file.truncate(kept)
        self.machine.reboot()

    def suspend(self) -> None:
        """Let all programs stand still with their machine."""
        for seat in self.supervisor.seats.values():
            if seat.program is not None:
                seat.program.suspend()

    def wake(self) -> None:
        """Let them go on."""
        for seat in self.supervisor.seats.values():
            if seat.program is not None:
                seat.program.wake()

    def close(self) -> None:
        """Close what is open."""
        self._close()

    def _close(self) -> None:
        self._loop = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _hear(self, event: Event | Reply) -> None:
        """Put something into the loop's inbox, which wakes it."""
        self._inbox.append(event)
        if not self._is_woken:
            self._is_woken = True
            self.node.after(self.machine.kernel.between(*WAKE_MS), self._turn)

    def _turn(self) -> None:
        loop = self._loop
        assert loop is not None
        self._is_woken = False
        self._turns += 1
        batch, self._inbox = self._inbox, []
        reason = loop.turn(batch)
        assert reason is None, reason
        self._note_settled(loop)
        self._note_room(loop)
        turns = self._turns
        self.node.after(loop.pause_s() * 1000 + 0.5, lambda: self._tick(turns))

    def _tick(self, turns: int) -> None:
        if turns == self._turns:
            self._turn()

    def _send(self, letter: Letter, answer: Answer) -> None:
        body = letter.body
        if self._loop is not None:
            self._note_settled(self._loop)
        if letter.route == "lease":
            if body.get("held") is not None:
                held = [one["item"] for one in body["held"]]
                self._history.note(self.agent, What.SETTLING, held=held)
            elif body["limit"]:
                self._history.note(self.agent, What.ASKED, limit=body["limit"])
        self._post(self.node, letter.route, body, letter.timeout_ms, answer)

    def _note_mark(self, record: Record) -> None:
        item, _, attempt = record.key.rpartition(".")
        what = {Mark.LEASE: What.HELD, Mark.DONE: What.DROPPED}.get(record.mark)
        if what is not None:
            self._history.note(self.agent, what, item, int(attempt))
        if record.mark is Mark.GATE or (record.lease is not None and record.lease.is_started):
            self._history.note(self.agent, What.PASSED, item, int(attempt))

    def _note_settled(self, loop: Loop) -> None:
        """Note once in a life what the server said of the lives before."""
        if self._is_settled or loop.state.settling is Settling.UNASKED:
            return
        self._is_settled = True
        lost = [key for key, attempt in loop.state.attempts.items() if attempt.is_lost]
        self._history.note(self.agent, What.SETTLED, ending=lost)

    def _note_room(self, loop: Loop) -> None:
        now = need_of(loop.state, self.machine.monotonic(), held={}, stock=Stock()).room
        if now != self._room:
            self._room = now
            self._history.note(self.agent, What.ROOM, room=now)

    def _sync_later(self, call: Callable[[], None]) -> None:
        def sync() -> None:
            call()
            if self._path.exists():
                self._synced = self._path.stat().st_size

        self.node.after(SYNC_MS, sync)
