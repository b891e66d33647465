"""What a check of `shipway doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a checked thing stands."""

    GOOD = "good"  # as it should be
    ODD = "odd"  # works, but something is missing or slower
    BAD = "bad"  # a launch will fail of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One checked thing."""

    name: str
    verdict: Verdict
    text: str
    remedy: str = ""
