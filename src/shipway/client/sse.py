"""Reads server-sent events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LINE_LIMIT = 4 << 20  # bytes of one line


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvent:
    """One event of a stream."""

    id: str  # the last id seen so far
    event: str
    data: str


def parse(lines: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Yield the whole events of a stream's lines; comments and a cut last event are left out."""
    last_id, kind = "", "message"
    data: list[str] = []
    for raw in lines:
        if len(raw) > LINE_LIMIT:
            raise ValueError(f"a line of the event stream is over {LINE_LIMIT} bytes")
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield ServerEvent(id=last_id, event=kind, data="\n".join(data))
            kind, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            kind = value
        elif field == "id":
            last_id = value
