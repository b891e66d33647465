"""Carries calls between nodes: late, twice, in any order, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from shipway.domain.errors import Code, ShipwayError
from shipway.testing.simulate.kernel import Kernel
from shipway.testing.simulate.node import Node

DELAY_MS = (0.1, 2.0)  # of most messages
SLOW_MS = (2.0, 1_500.0)  # of some in bad weather
NOTICE_MS = (0.2, 20.0)  # until the end of a connection is noticed
CAUGHT_UP_MS = 800.0  # until what waited for a healed line has arrived

Answer = Callable[[Any, ShipwayError | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, as often as it is sent."""

    sender: str
    route: str
    body: dict[str, Any]
    timeout_ms: float


class Server(Protocol):
    """A node that answers calls."""

    node: Node

    def handle(self, call: Call, answer: Answer) -> Callable[[], None]:
        """Begin to answer; return what to call when the caller has gone."""


@dataclass(slots=True, kw_only=True)
class Weather:
    """How bad the lines are at present."""

    loss: float = 0.0  # of requests, and of answers
    duplicate: float = 0.0
    slow: float = 0.0


class Network:
    """All lines; each direction of each can be cut."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.weather = Weather()
        self._cuts: dict[tuple[str, str], int] = {}
        self._held: dict[tuple[str, str], list[Callable[[], None]]] = {}

    def cut(self, source: str, target: str) -> None:
        """Let nothing through from one to the other."""
        self._cuts[source, target] = self._cuts.get((source, target), 0) + 1

    def heal(self, source: str, target: str) -> None:
        """Let through again; what was sent meanwhile arrives soon."""
        line = source, target
        self._cuts[line] -= 1
        if self._cuts[line] > 0:
            return
        del self._cuts[line]
        for deliver in self._held.pop(line, ()):
            self._kernel.after(self._kernel.between(0, CAUGHT_UP_MS), deliver)

    def call(self, sender: Node, server: Server, call: Call, answer: Answer) -> None:
        """Send a request; the sender hears exactly once what became of it, unless it dies."""
        _Exchange(self, self._kernel, sender=sender, server=server, call=call, answer=answer).send()

    def carry(self, source: str, target: str, deliver: Callable[[], None]) -> None:
        """Carry one message."""
        kernel = self._kernel
        if (source, target) in self._cuts:
            self._held.setdefault((source, target), []).append(deliver)
            return
        is_slow = self.weather.slow and kernel.chance() < self.weather.slow
        kernel.after(kernel.between(*(SLOW_MS if is_slow else DELAY_MS)), deliver)

    def is_lost(self) -> bool:
        """Tell whether the connection of a message breaks."""
        return bool(self.weather.loss) and self._kernel.chance() < self.weather.loss

    def is_doubled(self) -> bool:
        """Tell whether a request is sent twice, as on a kept connection that was just closed."""
        return bool(self.weather.duplicate) and self._kernel.chance() < self.weather.duplicate


class _Exchange:
    """One call from its sending to what the sender hears."""

    def __init__(
        self, network: Network, kernel: Kernel, *, sender: Node, server: Server, call: Call,
        answer: Answer,
    ) -> None:  # fmt: skip
        self._network = network
        self._kernel = kernel
        self._sender = sender
        self._server = server
        self._call = call
        self._answer = answer
        self._life = sender.life
        self._is_over = False
        self._leave: list[Callable[[], None]] = []

    def send(self) -> None:
        self._sender.deaths.append(self._go)
        self._sender.after(self._call.timeout_ms, lambda: self._end(None, "timed out"))
        for _ in range(2 if self._network.is_doubled() else 1):
            if self._network.is_lost():
                self._notice("the connection broke")
            else:
                self._network.carry(self._sender.name, self._server.node.name, self._arrive)

    def _arrive(self) -> None:
        server = self._server.node
        if not server.is_up:
            self._notice("connection refused")
            return
        server.deaths.append(lambda: self._notice("connection reset"))
        server.after(0, self._handle)

    def _handle(self) -> None:
        leave = self._server.handle(self._call, self._reply)
        self._leave.append(leave)
        if self._is_over or self._sender.life != self._life:
            self._go()

    def _reply(self, value: Any, error: ShipwayError | None) -> None:
        if self._network.is_lost():
            self._notice("the connection broke")
            return
        server = self._server.node
        self._network.carry(server.name, self._sender.name, lambda: self._hear(value, error))

    def _hear(self, value: Any, error: ShipwayError | None) -> None:
        if self._sender.life == self._life:
            self._sender.after(0, lambda: self._end(value, error))

    def _notice(self, reason: str) -> None:
        ms = self._kernel.between(*NOTICE_MS)
        if self._sender.life == self._life:
            self._sender.after(ms, lambda: self._end(None, reason))

    def _end(self, value: Any, error: ShipwayError | str | None) -> None:
        if self._is_over or self._sender.life != self._life:
            return
        self._is_over = True
        self._go()
        if isinstance(error, str):
            error = ShipwayError(f"no answer: {error}", code=Code.UNREACHABLE)
        self._answer(value, error)

    def _go(self) -> None:
        """Let the server notice that nobody listens any more, over a line that is not cut."""
        leaves, self._leave = self._leave, []
        server = self._server.node
        for leave in leaves:
            self._network.carry(self._sender.name, server.name, partial(server.after, 0, leave))
