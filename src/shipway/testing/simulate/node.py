"""Processes and the machines that they are on: they can be killed, stopped and continued."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from shipway.testing.simulate.kernel import Kernel

BEGAN_AT = 1_700_000_000_000  # the wall clocks' ms UTC when a history begins
BOOTED_AT = 1_000_000  # the boot clocks' ms then


class Machine:
    """Two clocks: the wall's may jump, the boot's counts on through all but a reboot."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self.boots = 1
        self.wall_offset = 0
        self._booted = -float(BOOTED_AT)

    def now(self) -> int:
        """Return ms UTC as this machine has it."""
        return BEGAN_AT + int(self.kernel.now) + self.wall_offset

    def monotonic(self) -> int:
        """Return ms since the machine's boot."""
        return int(self.kernel.now - self._booted)

    def jump(self, ms: int) -> None:
        """Set the wall clock on or back."""
        self.wall_offset += ms

    def reboot(self) -> None:
        """Begin a new boot."""
        self.boots += 1
        self._booted = self.kernel.now - 10_000


class Node:
    """One process: what it was about to do dies with it, or waits while it is stopped."""

    def __init__(self, kernel: Kernel, name: str, machine: Machine) -> None:
        self.kernel = kernel
        self.name = name
        self.machine = machine
        self.life = 0  # counts its starts
        self.is_up = False
        self.is_paused = False
        self.deaths: list[Callable[[], None]] = []  # called at the next one
        self._deferred: list[tuple[int, Callable[[], None]]] = []

    @property
    def can_act(self) -> bool:
        """Whether it runs."""
        return self.is_up and not self.is_paused

    def after(self, ms: float, call: Callable[[], None]) -> None:
        """Call something later, if this life of the process lasts so long."""
        life = self.life
        self.kernel.after(ms, lambda: self._run(life, call))

    def start(self) -> None:
        """Begin a life."""
        assert not self.is_up
        self.life += 1
        self.is_up = True

    def kill(self) -> None:
        """End it at once; a second call does nothing."""
        self.is_up = False
        self.is_paused = False
        self.life += 1
        self._deferred.clear()
        deaths, self.deaths = self.deaths, []
        for call in deaths:
            call()

    def pause(self) -> None:
        """Stop it as SIGSTOP does."""
        self.is_paused = self.is_up

    def resume(self) -> None:
        """Let it go on; all that it missed comes soon."""
        self.is_paused = False
        deferred, self._deferred = self._deferred, []
        for life, call in deferred:
            self.kernel.after(self.kernel.between(0, 5), partial(self._run, life, call))

    def _run(self, life: int, call: Callable[[], None]) -> None:
        if life != self.life or not self.is_up:
            return
        if self.is_paused:
            self._deferred.append((life, call))
        else:
            call()
