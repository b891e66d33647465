"""Why an item waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why an item waits, or how it stands; `str` is one sentence."""

    sentence: str
    reasons: tuple[tuple[str, str], ...]  # (code, text)
    position: int | None  # in its queue, 1 is next; None when it does not wait
    ahead: int | None  # items that come before it

    def __str__(self) -> str:
        return self.sentence

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Explanation:
        """Read what the server answers."""
        return cls(
            sentence=str(value["sentence"]),
            reasons=tuple((str(r["code"]), str(r["text"])) for r in value.get("reasons") or ()),
            position=value.get("position"),
            ahead=value.get("ahead"),
        )
