"""Knows of each process when it could act, and of the world when nothing was wrong."""

from __future__ import annotations

from collections.abc import Sequence

from shipway.testing.simulate.history import Happening, What

CALM_AFTER_MS = 3_000.0  # after the last fault, until nothing of it is felt any more
_OFF = {What.DOWN: "down", What.PAUSED: "paused"}
_ON = {What.UP: "down", What.RESUMED: "paused"}


class Presence:
    """Spans of time in which a process could not act."""

    def __init__(self, happenings: Sequence[Happening]) -> None:
        self.quiet = next((one.at for one in happenings if one.what is What.QUIET), 0.0)
        self._away: dict[str, list[tuple[float, float]]] = {}
        self._paused: dict[str, list[tuple[float, float]]] = {}
        since: dict[tuple[str, str], float] = {}
        births: dict[str, float] = {}
        for one in happenings:
            if one.what in _OFF:
                since.setdefault((one.who, _OFF[one.what]), one.at)
                if one.what is What.DOWN:  # a killed process is not paused any more
                    self._end(since, (one.who, "paused"), one.at)
            elif one.what in _ON:
                self._end(since, (one.who, _ON[one.what]), one.at)
                births.setdefault(one.who, one.at)
        for (who, _), at in since.items():
            self._away.setdefault(who, []).append((at, float("inf")))
        self._births = births

    def could_act(self, who: str, since: float, until: float) -> bool:
        """Tell whether a process could act throughout a span of time."""
        if self._births.get(who, float("inf")) > since:
            return False
        return all(end <= since or begin >= until for begin, end in self._away.get(who, ()))

    def was_paused(self, who: str, since: float, until: float) -> bool:
        """Tell whether a process was stopped at any time of a span."""
        return any(end > since and begin < until for begin, end in self._paused.get(who, ()))

    def is_healed(self, at: float) -> bool:
        """Tell whether all faults were over by then."""
        return at >= self.quiet + CALM_AFTER_MS

    def was_calm(self, machine: str, since: float, until: float) -> bool:
        """Tell whether nothing was wrong with a machine, and all faults were over."""
        return (
            self.is_healed(since)
            and self.could_act(f"agent-{machine}", since - CALM_AFTER_MS, until)
            and self.could_act(f"supervisor-{machine}", since - CALM_AFTER_MS, until)
        )

    def _end(self, since: dict[tuple[str, str], float], key: tuple[str, str], at: float) -> None:
        begin = since.pop(key, None)
        if begin is not None:
            self._away.setdefault(key[0], []).append((begin, at))
            if key[1] == "paused":
                self._paused.setdefault(key[0], []).append((begin, at))
