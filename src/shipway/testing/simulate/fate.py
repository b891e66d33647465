"""Lets things go wrong, and heal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shipway.testing.simulate.agent import Site
from shipway.testing.simulate.history import History, What
from shipway.testing.simulate.kernel import Kernel
from shipway.testing.simulate.network import Network, Weather
from shipway.testing.simulate.node import Node
from shipway.testing.simulate.plan import Fault, Ill
from shipway.testing.simulate.server import ServerNode

JUMP_MS = 86_400_000  # a day
RESTART_MS = (10.0, 2_000.0)  # until a killed agent is started again
Span = tuple[Callable[[], None], Callable[[], None]]  # what begins a fault, what ends it
STORM = Weather(loss=0.2, duplicate=0.25, slow=0.3)


class Fate:
    """Everything that can go wrong with the nodes and lines of one history."""

    def __init__(
        self, servers: Sequence[ServerNode], sites: Sequence[Site], network: Network,
        kernel: Kernel, history: History,
    ) -> None:  # fmt: skip
        self._servers = servers
        self._sites = sites
        self._network = network
        self._kernel = kernel
        self._history = history
        self._storms = 0
        self._held: dict[str, int] = {}  # pauses of a node that are not over
        self._of_servers: dict[Ill, Callable[[ServerNode], Span]] = {
            Ill.CRASH_SERVER: self._crash_server,
            Ill.PAUSE_SERVER: self._pause_server,
            Ill.DEAF: self._deafen,
        }
        self._of_sites: dict[Ill, Callable[[Site], Span]] = {
            Ill.CRASH_AGENT: self._crash_agent,
            Ill.PAUSE_AGENT: self._pause_agent,
            Ill.PAUSE_SUPERVISOR: self._pause_supervisor,
            Ill.PAUSE_BOTH: self._pause_both,
            Ill.HANG: self._hang,
            Ill.CRASH_SUPERVISOR: self._crash_supervisor,
            Ill.CRASH_SLOT: self._crash_slot,
            Ill.SUSPEND: self._suspend,
            Ill.CRASH_MACHINE: self._crash_machine,
            Ill.CUT_TO: self._cut_to,
            Ill.CUT_FROM: self._cut_from,
            Ill.CUT: self._cut_both,
            Ill.STORM: self._storm,
            Ill.JUMP: self._jump,
        }

    def bring(self, fault: Fault) -> None:
        """Let a fault come at its time, and go."""
        begin, end = self._of(fault)
        self._kernel.after(fault.at, begin)
        self._kernel.after(fault.at + fault.for_ms, end)

    def crash_machine(self, site: Site, for_ms: float) -> None:
        """Take a machine's power away for a while."""
        site.crash()
        self._kernel.after(for_ms, lambda: self.start(site))

    def _of(self, fault: Fault) -> Span:
        of_server = self._of_servers.get(fault.ill)
        if of_server is not None:
            return of_server(self._servers[fault.target % len(self._servers)])
        return self._of_sites[fault.ill](self._sites[fault.target % len(self._sites)])

    def start(self, site: Site) -> None:
        """Begin a life of a machine's agent, unless it lives."""
        if not site.node.is_up:
            site.start()

    def _pause(self, *nodes: Node) -> Span:
        def begin() -> None:
            for node in nodes:
                self._held[node.name] = self._held.get(node.name, 0) + 1
                self._history.note(node.name, What.PAUSED)
                node.pause()

        def end() -> None:
            for node in nodes:
                self._held[node.name] -= 1
                if not self._held[node.name]:
                    self._history.note(node.name, What.RESUMED)
                    node.resume()

        return begin, end

    def _crash_server(self, server: ServerNode) -> Span:
        def end() -> None:
            if not server.node.is_up:
                server.start()

        return server.kill, end

    def _pause_server(self, server: ServerNode) -> Span:
        return self._pause(server.node)

    def _deafen(self, server: ServerNode) -> Span:
        def set_deaf(*, is_deaf: bool) -> None:
            if server.database is not None:
                server.database.drops_hints = is_deaf

        return lambda: set_deaf(is_deaf=True), lambda: set_deaf(is_deaf=False)

    def _crash_agent(self, site: Site) -> Span:
        return site.kill, lambda: self.start(site)

    def _pause_agent(self, site: Site) -> Span:
        return self._pause(site.node)

    def _pause_supervisor(self, site: Site) -> Span:
        return self._pause(site.supervisor.node)

    def _pause_both(self, site: Site) -> Span:
        return self._pause(site.node, site.supervisor.node)

    def _hang(self, site: Site) -> Span:
        begin, end = self._pause(site.node, site.supervisor.node)

        def kill() -> None:
            site.kill()
            self._kernel.after(self._kernel.between(*RESTART_MS), lambda: self.start(site))
            self._kernel.after(self._kernel.between(*RESTART_MS), end)

        return begin, kill

    def _crash_supervisor(self, site: Site) -> Span:
        return site.supervisor.kill, lambda: None

    def _crash_slot(self, site: Site) -> Span:
        def begin() -> None:
            live = [seat for seat in site.supervisor.seats.values() if seat.is_live]
            if live:
                site.supervisor.kill_slot(self._kernel.random.choice(live))

        return begin, lambda: None

    def _suspend(self, site: Site) -> Span:
        begin, end = self._pause(site.node, site.supervisor.node)

        def sleep() -> None:
            begin()
            site.suspend()

        def wake() -> None:
            site.wake()
            end()

        return sleep, wake

    def _crash_machine(self, site: Site) -> Span:
        return site.crash, lambda: self.start(site)

    def _cut(self, site: Site, *, is_to: bool, is_from: bool) -> Span:
        mine = (site.node.name, site.supervisor.node.name)
        lines = [
            line
            for server in self._servers
            for name in mine
            for line, is_cut in (
                ((name, server.node.name), is_to),
                ((server.node.name, name), is_from),
            )
            if is_cut
        ]

        def each(what: What, call: Callable[[str, str], None]) -> None:
            self._history.note(site.machine.name, what, to_servers=is_to, from_servers=is_from)
            for source, target in lines:
                call(source, target)

        return (
            lambda: each(What.CUT, self._network.cut),
            lambda: each(What.HEALED, self._network.heal),
        )

    def _cut_to(self, site: Site) -> Span:
        return self._cut(site, is_to=True, is_from=False)

    def _cut_from(self, site: Site) -> Span:
        return self._cut(site, is_to=False, is_from=True)

    def _cut_both(self, site: Site) -> Span:
        return self._cut(site, is_to=True, is_from=True)

    def _storm(self, _: Site) -> Span:
        def change(by: int) -> None:
            self._storms += by
            self._network.weather = STORM if self._storms else Weather()
            self._history.note("fate", What.WEATHER, is_bad=bool(self._storms))

        return lambda: change(1), lambda: change(-1)

    def _jump(self, site: Site) -> Span:
        by = self._kernel.random.choice((-JUMP_MS, JUMP_MS))
        machine = self._kernel.random.choice(
            [site.machine, *(server.node.machine for server in self._servers)]
        )

        def jump(ms: int) -> None:
            self._history.note(machine.name, What.CLOCK, ms=ms)
            machine.jump(ms)

        return lambda: jump(by), lambda: jump(-by)
