"""A program on a simulated machine: it runs, prints, and minds signals or does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shipway.domain.attempt import LogStream, encode_frame
from shipway.testing.simulate.history import History, What
from shipway.testing.simulate.node import Machine

REACTION_MS = (1.0, 400.0)  # from SIGTERM to the end of those that mind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a program does."""

    run_ms: float = 200.0
    exit_code: int = 0
    lines: int = 0  # printed evenly while it runs
    is_deaf: bool = False  # to SIGTERM
    kills_machine: bool = False  # some ms after it began
    kills_builder: bool = False  # the same while its environment is made


class Program:
    """One started program with all its children."""

    def __init__(
        self, script: Script, machine: Machine, history: History, *, item: str, attempt: int
    ) -> None:
        self._script = script
        self._machine = machine
        self._kernel = machine.kernel
        self._history = history
        self._item = item
        self._attempt = attempt
        self._left = script.run_ms
        self._since: float | None = None  # when it last went on
        self._round = 0
        self._is_stopped = False
        self._is_suspended = False
        self._is_asked = False  # SIGTERM
        self._text = b""
        self._lines = 0
        self.status: int | None = None  # as `wait` has it, once nothing is left
        self.when_gone: Callable[[], None] = _nothing

    def begin(self) -> None:
        """Start it."""
        self._note(What.BEGAN)
        self._go_on()

    def stop(self) -> None:
        """SIGSTOP."""
        self._hold()
        if self.status is None and not self._is_stopped:
            self._note(What.FROZE, is_frozen=True)
        self._is_stopped = True

    def go_on(self) -> None:
        """SIGCONT."""
        if self.status is None and self._is_stopped:
            self._note(What.FROZE, is_frozen=False)
        self._is_stopped = False
        self._go_on()

    def suspend(self) -> None:
        """Stand still with the whole machine."""
        self._hold()
        self._is_suspended = True

    def wake(self) -> None:
        """Go on with it."""
        self._is_suspended = False
        self._go_on()

    def terminate(self) -> None:
        """SIGTERM."""
        if self.status is None and not self._is_asked:
            self._note(What.TERMED)
            self._is_asked = True
            if not self._script.is_deaf:
                self._hold()
                self._left = min(self._left, self._kernel.between(*REACTION_MS))
                self._go_on()

    def kill(self) -> None:
        """SIGKILL to all of it; a second call does nothing."""
        self._hold()
        self._end(9)

    def printed(self) -> bytes:
        """Return the framed log so far."""
        if not self._script.lines:
            return b""
        left = self._left
        if self._since is not None:
            left -= self._kernel.now - self._since
        part = 1.0 - max(0.0, left) / self._script.run_ms
        count = int(part * self._script.lines + 1e-9)
        for line in range(self._lines, count):
            self._text += print_line(self._item, self._attempt, line)
        self._lines = max(self._lines, count)
        return self._text

    def _go_on(self) -> None:
        if self._is_stopped or self._is_suspended or self._since is not None:
            return
        if self.status is not None:
            return
        self._since = self._kernel.now
        self._round += 1
        turn = self._round
        self._kernel.after(max(0.0, self._left), lambda: self._exit(turn))

    def _hold(self) -> None:
        if self._since is not None:
            self._left -= self._kernel.now - self._since
            self._since = None
            self._round += 1

    def _exit(self, turn: int) -> None:
        if turn == self._round:
            self._hold()
            self._left = 0.0 if not self._is_asked else self._left
            self._end(15 if self._is_asked else self._script.exit_code << 8)

    def _end(self, status: int) -> None:
        if self.status is None:
            self.status = status
            self._note(What.ENDED, status=status)
            self.when_gone()

    def _note(self, what: What, **data: object) -> None:
        self._history.note(self._machine.name, what, self._item, self._attempt, **data)


def print_line(item: str, attempt: int, line: int) -> bytes:
    """Return one line of a program's log."""
    return encode_frame(LogStream.STDOUT, 1, f"{item}.{attempt} {line}\n".encode())


def _nothing() -> None:
    """Tell nobody."""
