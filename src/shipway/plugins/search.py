"""What a search plugin does: choose the parameters of a sweep's next run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from shipway.domain.sweep import SweepConfig, Trial
from shipway.domain.sweep_space import Values


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAsk:
    """What a search may look at: the same ask gets the same answer."""

    config: SweepConfig
    number: int  # how many suggestions came before
    seed: int  # of this suggestion alone
    trials: Sequence[Trial]  # the runs so far, in order; empty for a search that needs none


class Search(Protocol):
    """Chooses parameters; it keeps nothing between two calls."""

    needs_trials: ClassVar[bool]  # it looks at runs, and takes its time; else it is instant

    def check(self, config: SweepConfig) -> None:
        """Raise `PermanentError` for a config that it cannot search, or when it lacks a library."""

    def size(self, config: SweepConfig) -> int | None:
        """Return how many suggestions there are in all; None where they are endless."""

    def suggest(self, ask: SearchAsk) -> Values | None:
        """Return a value of each parameter; None when there is nothing left to try."""
