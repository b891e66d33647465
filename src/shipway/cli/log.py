"""Prints a program's log as it comes, its two streams to our two, frame by frame."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from shipway.cli.output import emit_list
from shipway.client import Client
from shipway.client.items import LogPage
from shipway.domain.attempt import Frame, LogStream, decode_frames, whole_frames
from shipway.domain.item import TERMINAL
from shipway.domain.log_lines import LineJoiner, LogLine

WAIT_S = 25.0  # of one long poll
PATIENCE_S = 120.0  # how long a server may be away while we follow

_OVER = frozenset(state.value for state in TERMINAL)
# what a terminal would obey beyond colours: OSC, DCS and the like, and all CSI but SGR
_ORDERS = re.compile(rb"\x1b(?:[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\[[0-?]*[ -/]*[@-ln-~])")


@dataclass(slots=True)
class Printer:
    """Writes frames to two byte streams, as they are; a terminal gets no orders but colours."""

    out: BinaryIO
    err: BinaryIO
    is_terminal: bool = False

    def __call__(self, frame: Frame) -> None:
        """Write one frame."""
        target = self.out if frame.stream in {LogStream.STDOUT, LogStream.BUILD} else self.err
        data = text_of(frame)
        target.write(_ORDERS.sub(b"", data) if self.is_terminal else data)
        target.flush()


class Lines:
    """Collects frames as lines for a JSON document."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._joiner = LineJoiner()

    def __call__(self, frame: Frame) -> None:
        """Take one frame."""
        self._add(self._joiner.feed(frame))

    def close(self) -> None:
        """Take the lines that have no end."""
        self._add(self._joiner.end())

    def _add(self, lines: Iterable[LogLine]) -> None:
        self.rows += [{"stream": line.stream, "at": line.at, "text": line.text} for line in lines]


def print_log(
    client: Client,
    item_id: str,
    *,
    name: str,
    attempt: int | None,
    is_following: bool,
    is_json: bool,
) -> None:
    """Print one attempt's log, or every attempt's until the item has ended."""
    lines = Lines()
    take: Callable[[Frame], None] = lines if is_json else printer()
    if is_following and attempt is None:
        follow(client, item_id, take, name=name)
    else:
        for frame in frames(client, item_id, name=name, attempt=attempt, wait=is_following):
            take(frame)
    if is_json:
        lines.close()
        emit_list(lines.rows)


def printer(*, is_all_on_stderr: bool = False) -> Printer:
    """Return a printer to this process's own streams."""
    out = sys.stderr if is_all_on_stderr else sys.stdout
    return Printer(out.buffer, sys.stderr.buffer, is_terminal=out.isatty())


def follow(
    client: Client, item_id: str, take: Callable[[Frame], None], *, name: str = "program"
) -> dict[str, Any]:
    """Take the frames of every attempt from now on; return the item once it has ended."""
    done = 0  # the last attempt whose log was taken whole
    while True:
        item = client.items.wait(item_id, until="started", timeout_s=WAIT_S, patience_s=PATIENCE_S)
        if item["attempt"] > done and (item["state"] != "leased" or name == "build"):
            done = item["attempt"]
            for frame in frames(client, item_id, name=name, attempt=done, wait=True):
                take(frame)
            item = client.items.wait(
                item_id, until="ended", timeout_s=WAIT_S, patience_s=PATIENCE_S
            )
        elif item["state"] == "running":
            item = client.items.wait(
                item_id, until="ended", timeout_s=WAIT_S, patience_s=PATIENCE_S
            )
        if item["state"] in _OVER or item["deleted_at"] is not None:
            return item


def frames(
    client: Client, item_id: str, *, name: str, attempt: int | None, wait: bool
) -> Iterator[Frame]:
    """Yield one attempt's frames; with `wait` until its log has ended."""
    offset, rest = 0, b""
    while True:
        page = client.items.log(
            item_id,
            name=name,
            attempt=attempt,
            offset=offset,
            wait_s=WAIT_S if wait else 0,
            patience_s=PATIENCE_S if wait else None,
        )
        attempt = page.attempt or attempt
        offset = page.next
        rest += page.data
        size = whole_frames(rest)
        yield from decode_frames(rest[:size])
        rest = rest[size:]
        if _is_done(page, wait=wait):
            return


def text_of(frame: Frame) -> bytes:
    """Return what a frame says: the program's bytes, or a sentence about bytes cut out."""
    if frame.stream is not LogStream.GAP:
        return frame.data
    gap = json.loads(frame.data)
    return f"\n[shipway: bytes {gap['from']} to {gap['to']} of this log were cut out]\n".encode()


def _is_done(page: LogPage, *, wait: bool) -> bool:
    is_read = page.next >= page.size
    return is_read and (page.is_ended or not wait)
