"""Follows a log line by line, over attempts, for whoever watches."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from shipway.domain.actor import Actor
from shipway.domain.attempt import FRAME, FRAME_LIMIT, decode_frames
from shipway.domain.errors import Invalid
from shipway.domain.ids import ItemId
from shipway.domain.item import TERMINAL
from shipway.server.edge import Edge
from shipway.server.log_lines import Line, Lines
from shipway.server.numbers import is_number
from shipway.server.settings import STREAM_LIMIT_S
from shipway.server.sse import HEARTBEAT_S, heartbeat, message
from shipway.service.logs import LogView
from shipway.service.ports import Tx

FRAME_READ = FRAME_LIMIT + FRAME.size  # bytes at once: never less than one whole frame
LOOK_AGAIN_S = 1.0  # chunks may have come through another server


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a watcher of a log stands: an event's id."""

    attempt: int
    offset: int = 0
    skip: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}.{self.offset}.{self.skip}"

    @classmethod
    def parse(cls, text: str) -> Mark:
        """Read an event's id."""
        parts = text.split(".")
        if len(parts) != 3 or not all(map(is_number, parts)):
            raise Invalid(
                f"Last-Event-ID {text[:80]!r} is none of this stream: begin without one",
                field="Last-Event-ID",
                value=text,
            )
        return cls(attempt=int(parts[0]), offset=int(parts[1]), skip=int(parts[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Which log is followed."""

    item_id: str
    name: str
    attempt: int | None = None  # None: all of them, in turn


Show = Callable[[Line], dict[str, Any]]


def plain(line: Line) -> dict[str, Any]:
    """Return a line's text as it is."""
    return {"text": line.text}


async def follow(
    edge: Edge, actor: Actor, watched: Watched, mark: Mark | None, show: Show = plain
) -> AsyncIterator[str]:
    """Yield the lines of a log as events until the item has ended; every attempt's in turn.

    A watcher that comes back passes its last event's id as the mark.
    """
    until = time.monotonic() + STREAM_LIMIT_S
    follower = _Follower(edge, actor, watched, mark, show)
    said = time.monotonic()
    with edge.log_waits.watch(ItemId(watched.item_id)) as watch:
        while time.monotonic() < until and not edge.is_closing:
            for text in await follower.step():
                yield text
                said = time.monotonic()
            if follower.is_done:
                return
            if time.monotonic() - said > HEARTBEAT_S:
                yield heartbeat()
                said = time.monotonic()
            if follower.is_idle:
                await watch.wait(LOOK_AGAIN_S)


class _Follower:
    """Reads on, a piece at a time."""

    def __init__(
        self, edge: Edge, actor: Actor, watched: Watched, mark: Mark | None, show: Show
    ) -> None:
        self.is_done = False
        self.is_idle = False
        self._edge = edge
        self._actor = actor
        self._watched = watched
        self._mark = mark
        self._show = show
        self._wanted = watched.attempt or (mark.attempt if mark else None)
        self._reader: _Reader | None = None

    async def step(self) -> list[str]:
        """Return the next events; none when there is nothing new."""
        if self._reader is None:
            view = await self._view(self._wanted, 0)
            self._reader = _Reader(view.attempt, self._mark)
        reader = self._reader
        start = reader.offset
        view = await self._view(reader.attempt, start)
        if view.size > start:
            read = self._edge.log_bytes.read
            data = await self._edge.run(lambda: read(view.chunks, start, FRAME_READ))
            try:
                lines = reader.feed(data)
            except ValueError:
                self.is_done = True
                return [message("error", {"text": "the log cannot be read from there"})]
            if reader.offset > start:
                self.is_idle = False
                return [reader.message(line, self._show) for line in lines]
        self.is_idle = True
        return await self._end(reader, view) if view.is_ended else []

    async def _end(self, reader: _Reader, view: LogView) -> list[str]:
        """Finish an attempt's log, and go on to the next attempt where there is one."""
        texts = [reader.message(line, self._show) for line in reader.rest()]
        items, item_id, actor = self._edge.service.items, self._watched.item_id, self._actor
        item = await self._edge.read(lambda tx: items.get(tx, actor, item_id))
        is_one = self._watched.attempt is not None
        if item.attempt > reader.attempt and not is_one:
            self._wanted, self._mark, self._reader = reader.attempt + 1, None, None
            self.is_idle = False
        elif item.state in TERMINAL or is_one:
            self.is_done = True
            end = {"state": item.state.value, "complete": view.is_complete}
            texts.append(message("end", end))
        return texts

    async def _view(self, attempt: int | None, offset: int) -> LogView:
        logs, actor, watched = self._edge.service.logs, self._actor, self._watched

        def work(tx: Tx) -> LogView:
            return logs.view(
                tx, actor, watched.item_id, name=watched.name, attempt=attempt, offset=offset
            )

        return await self._edge.read(work)


class _Reader:
    """One attempt's lines with their place in its log."""

    def __init__(self, attempt: int, mark: Mark | None) -> None:
        is_same = mark is not None and mark.attempt == attempt
        self.attempt = attempt
        self.offset = mark.offset if mark and is_same else 0
        self._lines = Lines(offset=self.offset, skip=mark.skip if mark and is_same else 0)

    def feed(self, data: bytes) -> list[Line]:
        """Take what the log holds from the offset on; a cut frame at the end is left."""
        lines: list[Line] = []
        for frame in decode_frames(data):
            size = FRAME.size + len(frame.data)
            lines += self._lines.feed(frame, size)
            self.offset += size
        return lines

    def rest(self) -> list[Line]:
        """Return the open lines."""
        return list(self._lines.rest())

    def message(self, line: Line, show: Show) -> str:
        """Return a line as an event."""
        mark = Mark(attempt=self.attempt, offset=line.offset, skip=line.skip)
        data = {
            "stream": line.stream.name.lower(),
            "at": line.at,
            "attempt": self.attempt,
            **show(line),
        }
        return message("line", data, str(mark))
