"""Reads an item's log as lines, to its end or for as long as it grows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from shipway.client import Client
from shipway.client.items import LogPage
from shipway.domain.attempt import decode_frames, whole_frames
from shipway.domain.item import TERMINAL
from shipway.domain.log_lines import LineJoiner, LogLine
from shipway.sdk.line import ASK_AGAIN_S, Line
from shipway.sdk.refusal import as_launch_error

POLL_S = 20.0  # how long the server holds a question for more


def read_log(
    line: Line, item_id: str, *, is_followed: bool, name: str = "program"
) -> Iterator[LogLine]:
    """Yield the lines of the newest attempt's log; followed, those of later attempts as well.

    Ends when the item has ended and its whole log was seen, or, not followed, at what there is.
    """
    attempt: int | None = _item(line, item_id)["attempt"]
    if attempt == 0 and is_followed:
        attempt = _next_attempt(line, item_id, after=0)
    while attempt:
        yield from _attempt(line, item_id, name, attempt=attempt, is_followed=is_followed)
        attempt = _next_attempt(line, item_id, after=attempt) if is_followed else None


def is_over(item: Mapping[str, Any], *, attempt: int | None = None) -> bool:
    """Tell whether an item, or one attempt of it, writes no more."""
    if attempt is not None and item["attempt"] > attempt:
        return True
    return item["state"] in TERMINAL or item.get("deleted_at") is not None


def _attempt(
    line: Line, item_id: str, name: str, *, attempt: int, is_followed: bool
) -> Iterator[LogLine]:
    joiner = LineJoiner()
    offset, held = 0, b""
    was_over = False  # seen before a page was asked for: then that page is the last
    while True:
        wait_s = POLL_S if is_followed and not was_over else 0
        with as_launch_error():
            page = line.ask(
                partial(
                    _page,
                    item_id=item_id,
                    name=name,
                    attempt=attempt,
                    offset=offset,
                    wait_s=wait_s,
                )
            )
        held += page.data
        whole = whole_frames(held)
        for frame in decode_frames(held[:whole]):
            yield from joiner.feed(frame)
        held = held[whole:]
        is_new = page.next > offset
        offset = page.next
        is_whole = page.is_ended and offset >= page.size
        if is_whole or (not is_new and (was_over or not is_followed)):
            yield from joiner.end()
            return
        if not is_new:
            was_over = is_over(_item(line, item_id), attempt=attempt)


def _next_attempt(line: Line, item_id: str, *, after: int) -> int | None:
    """Wait for an attempt after this one; None when the item ends without one."""
    while True:
        item = _item(line, item_id)
        if item["attempt"] > after:
            return int(item["attempt"])
        if is_over(item):
            return None
        with as_launch_error():
            line.ask(partial(_await_start, item_id=item_id))
        line.pause(ASK_AGAIN_S)


def _item(line: Line, item_id: str) -> dict[str, Any]:
    with as_launch_error():
        return line.ask(lambda client: client.items.get(item_id))


def _page(
    client: Client, *, item_id: str, name: str, attempt: int, offset: int, wait_s: float
) -> LogPage:
    return client.items.log(
        item_id, name=name, attempt=attempt, offset=offset, wait_s=wait_s, patience_s=0
    )


def _await_start(client: Client, *, item_id: str) -> None:
    client.items.wait(item_id, until="started", timeout_s=POLL_S, patience_s=0)
