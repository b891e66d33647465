"""Draws each parameter by chance, whatever came before."""

from __future__ import annotations

from random import Random
from typing import ClassVar

from shipway.domain.sweep import SweepConfig
from shipway.domain.sweep_space import Values, sample
from shipway.plugins.search import SearchAsk


class RandomSearch:
    """The search `random`."""

    needs_trials: ClassVar[bool] = False

    def check(self, config: SweepConfig) -> None:
        """Accept every config."""

    def size(self, config: SweepConfig) -> int | None:  # noqa: ARG002 - the protocol's
        """Return None: it never ends by itself."""
        return None

    def suggest(self, ask: SearchAsk) -> Values | None:
        """Return values drawn with the ask's own seed."""
        random = Random(ask.seed)  # noqa: S311 - repeatable on purpose, no secret
        return {one.path: sample(one, random) for one in ask.config.space.parameters}
