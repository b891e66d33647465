"""Acts on a program: by signals on its tree, by the reins on what lives outside of it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from shipway.runners.local_reins import Verb, drop, pull
from shipway.supervise import tree
from shipway.supervise.steps import Action

_VERBS = {
    Action.FREEZE: Verb.FREEZE,
    Action.CONTINUE: Verb.CONTINUE,
    Action.KILL: Verb.KILL,
}


class Hand:
    """A slot's grip on the program that it runs."""

    def __init__(self, group: str, reins: str, folder: str) -> None:
        self._group = group  # the slot's own control group, or nothing
        self._reins = reins  # nothing: all of a program is in its tree
        self._folder = folder
        self._pull = 0  # the process that pulls the reins now
        self._verb: Verb | None = None  # what it pulls them for
        self._is_held = False  # the reins were pulled to freeze, and not to go on
        self._is_ended = False  # the reins said that nothing is left outside

    def act(self, action: Action, main: int) -> None:
        """Do it to the tree, and to what is outside of it; `main` is the program's process."""
        spared = (self._pull,) if self._pull else ()
        if action is Action.FREEZE:
            tree.freeze(self._group, spared)
        elif action is Action.CONTINUE:
            tree.send(tree.descendants(self._group, spared), signal.SIGCONT)
        elif action is Action.TERMINATE:
            self._terminate(main)
        elif action is Action.KILL:
            tree.kill(self._group, spared)
        if self._reins and action in _VERBS:
            self._begin(_VERBS[action])

    def is_clear(self, status: int | None) -> bool:
        """Tell whether nothing is left outside, once nothing is left of the tree.

        A main program that exits says by it that nothing is. One that was killed cannot say so:
        then the reins are pulled until they do.
        """
        is_exit = status is not None and os.WIFEXITED(status)
        if not self._reins or is_exit or self._is_ended:
            return True
        self._begin(Verb.KILL)
        return not self._pull  # it could not even be begun: nothing more can be done here

    def reaped(self, pid: int, status: int) -> None:
        """Learn of a child's end."""
        if pid != self._pull:
            return
        self._is_ended = self._is_ended or (self._verb is Verb.KILL and status == 0)
        self._pull, self._verb = 0, None

    def _terminate(self, main: int) -> None:
        if not self._reins:
            found = tree.descendants(self._group)
            tree.send(found, signal.SIGTERM, signal.SIGCONT)
            return
        tree.send([main], signal.SIGTERM)  # it passes it on, once
        spared = (self._pull,) if self._pull else ()
        tree.send(tree.descendants(self._group, spared), signal.SIGCONT)
        if self._is_held:
            self._begin(Verb.CONTINUE)

    def _begin(self, verb: Verb) -> None:
        if self._pull and self._verb is verb:
            return
        if self._pull:
            drop(self._pull)
        self._pull, self._verb = 0, None
        self._is_held = verb is Verb.FREEZE
        with suppress(OSError):
            self._pull = pull(self._reins, verb, self._folder)
            self._verb = verb
