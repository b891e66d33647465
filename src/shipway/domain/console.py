"""What the client of a run saw on its terminal: lines that may be written again, with holes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shipway.domain.run import ConsoleChunk

STDOUT, STDERR = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleLine:
    """One line as it stands now."""

    stream: int  # 1 or 2
    at: int  # ms UTC; 0 where the client did not say it
    text: str


def pack(lines: Sequence[ConsoleLine | None]) -> bytes:
    """Return a blob's bytes of consecutive lines; None is a hole."""
    rows = [None if line is None else [line.stream, line.at, line.text] for line in lines]
    return zlib.compress(json.dumps(rows, separators=(",", ":")).encode("ascii"), 6)


def unpack(data: bytes) -> list[ConsoleLine | None]:
    """Return what `pack` took."""
    return [
        None if row is None else ConsoleLine(stream=row[0], at=row[1], text=row[2])
        for row in json.loads(zlib.decompress(data))
    ]


def overlay(pieces: Iterable[tuple[ConsoleChunk, bytes]]) -> dict[int, ConsoleLine]:
    """Return lines by their numbers, the last one written of each, in order of numbers."""
    found: dict[int, ConsoleLine] = {}
    for chunk, data in pieces:
        lines = enumerate(unpack(data), chunk.first_line)
        found |= {number: line for number, line in lines if line is not None}
    return dict(sorted(found.items()))
