"""Tries every combination of the parameters once, in order."""

from __future__ import annotations

from typing import ClassVar

from shipway.domain.sweep import SweepConfig
from shipway.domain.sweep_space import Values, combination, size, steps
from shipway.plugins.errors import PermanentError
from shipway.plugins.search import SearchAsk


class GridSearch:
    """The search `grid`."""

    needs_trials: ClassVar[bool] = False

    def check(self, config: SweepConfig) -> None:
        """Raise `PermanentError` for a parameter that has no list of values."""
        for parameter in config.space.parameters:
            if steps(parameter) is None:
                name = ".".join(parameter.path)
                raise PermanentError(
                    f"parameters.{name} has endless values, or values of unlike weight, which a "
                    "grid cannot list: give it 'values', whole 'min' and 'max', or q_uniform"
                )

    def size(self, config: SweepConfig) -> int | None:
        """Return the number of combinations."""
        return size(config.space)

    def suggest(self, ask: SearchAsk) -> Values | None:
        """Return the next combination."""
        total = size(ask.config.space)
        assert total is not None
        return combination(ask.config.space, ask.number) if ask.number < total else None
