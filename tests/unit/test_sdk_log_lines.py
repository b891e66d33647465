"""How frames become lines, and when a followed log ends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from shipway.client.items import LogPage
from shipway.domain.attempt import Frame, LogStream, encode_frame
from shipway.domain.log_lines import LINE_LIMIT, LineJoiner
from shipway.sdk.connection import Connection
from shipway.sdk.line import Line
from shipway.sdk.log_reader import read_log
from shipway.sdk.settings import Settings

OUT, ERR = LogStream.STDOUT, LogStream.STDERR


def lines_of(frames: Iterable[tuple[LogStream, int, bytes]]) -> list[tuple[str, int, str]]:
    joiner = LineJoiner()
    found = [line for stream, at, data in frames for line in joiner.feed(Frame(stream, at, data))]
    return [(line.stream, line.at, line.text) for line in [*found, *joiner.end()]]


def test_pieces_of_a_line_are_joined_by_stream() -> None:
    frames = [(OUT, 1, b"a"), (ERR, 2, b"x\ny"), (OUT, 3, b"b\nc"), (ERR, 4, b"\n")]
    assert lines_of(frames) == [
        ("stderr", 2, "x"),
        ("stdout", 3, "ab"),
        ("stderr", 4, "y"),
        ("stdout", 3, "c"),
    ]


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([b"10%\r50%\r100%\n"], "100%"),
        ([b"10%\r", b"50%\r", b"100%", b"\n"], "100%"),
        ([b"10%\r50%\r", b"\n"], "50%"),
        ([b"windows\r\n"], "windows"),
        ([b"windows\r", b"\n"], "windows"),
        ([b"10%\rdone\r\n"], "done"),
        ([b"\r10%\r20%"], "20%"),
        ([b"20%\r"], "20%"),
    ],
)
def test_of_a_progress_bar_what_stands_last_is_shown(pieces: list[bytes], shown: str) -> None:
    assert lines_of((ERR, 1, piece) for piece in pieces) == [("stderr", 1, shown)]


def test_a_bar_that_never_ends_its_line_takes_no_memory() -> None:
    joiner = LineJoiner()
    for step in range(10_000):
        assert list(joiner.feed(Frame(ERR, step, b"\r%06d" % step))) == []
    assert len(joiner._partial[ERR][1]) < 20


def test_a_line_without_an_end_is_shown_at_its_limit() -> None:
    found = lines_of([(OUT, 1, b"x" * 700_000), (OUT, 2, b"x" * 700_000), (OUT, 3, b"y\n")])
    assert [len(text) for _, _, text in found] == [1_400_000, 1]


def test_bytes_that_are_no_text_are_replaced_and_characters_are_not_cut() -> None:
    encoded = "ä".encode()
    assert lines_of([(OUT, 1, encoded[:1]), (OUT, 2, encoded[1:] + b"\xff\n")]) == [
        ("stdout", 2, "ä\ufffd")
    ]


def test_a_gap_is_named() -> None:
    found = lines_of([(LogStream.GAP, 5, json.dumps({"from": 10, "to": 5010}).encode())])
    assert found == [("gap", 5, "[5,000 bytes of log left out: 10 to 5010]")]


class FakeItems:
    """An item whose state and log pages follow a script."""

    def __init__(self, items: list[dict[str, Any]], pages: dict[int, list[LogPage]]) -> None:
        self.states = items
        self.pages = pages
        self.waits = 0

    def get(self, item_id: str) -> dict[str, Any]:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def wait(self, item_id: str, **_: Any) -> dict[str, Any]:
        self.waits += 1
        return self.states[0]

    def log(self, item_id: str, *, attempt: int, **_: Any) -> LogPage:
        pages = self.pages[attempt]
        return pages.pop(0) if len(pages) > 1 else pages[0]


def a_line(items: FakeItems) -> Line:
    client: Any = type("FakeClient", (), {"items": items})()
    connection = Connection(client=client, settings=Settings(), home=None)
    return Line(connection, clock=lambda: 0.0, sleep=lambda _: None)


def page(attempt: int, begin: int, data: bytes, *, ended: bool = False) -> LogPage:
    end = begin + len(data)
    return LogPage(attempt=attempt, data=data, size=end, next=end, is_ended=ended)


def item(state: str, attempt: int, **more: Any) -> dict[str, Any]:
    return {"state": state, "attempt": attempt, "deleted_at": None, **more}


HELLO = encode_frame(OUT, 1, b"hello\n")
AGAIN = encode_frame(OUT, 2, b"again\n")


def test_a_log_that_is_not_followed_ends_at_what_there_is() -> None:
    items = FakeItems([item("running", 1)], {1: [page(1, 0, HELLO), page(1, len(HELLO), b"")]})
    assert [str(line) for line in read_log(a_line(items), "i", is_followed=False)] == ["hello"]


def test_an_item_without_an_attempt_has_no_log() -> None:
    items = FakeItems([item("pending", 0)], {})
    assert list(read_log(a_line(items), "i", is_followed=False)) == []


def test_frames_cut_between_two_pages_are_whole() -> None:
    pages = [page(1, 0, HELLO[:9]), page(1, 9, HELLO[9:], ended=True)]
    items = FakeItems([item("finished", 1)], {1: pages})
    assert [str(line) for line in read_log(a_line(items), "i", is_followed=True)] == ["hello"]


def test_a_followed_log_goes_on_with_the_next_attempt() -> None:
    items = FakeItems(
        [item("running", 1), item("pending", 1), item("running", 2), item("finished", 2)],
        {1: [page(1, 0, HELLO, ended=True)], 2: [page(2, 0, AGAIN, ended=True)]},
    )
    found = [str(line) for line in read_log(a_line(items), "i", is_followed=True)]
    assert found == ["hello", "again"]


@pytest.mark.parametrize(
    "end", [item("stopped", 0), item("failed", 0), item("pending", 0, deleted_at=5)]
)
def test_following_an_item_that_never_ran_ends(end: dict[str, Any]) -> None:
    items = FakeItems([item("pending", 0), item("pending", 0), end], {})
    assert list(read_log(a_line(items), "i", is_followed=True)) == []


def test_following_ends_with_the_item_even_if_its_log_never_says_so() -> None:
    pages = [page(1, 0, HELLO), page(1, len(HELLO), b"")]
    items = FakeItems([item("running", 1), item("failed", 1)], {1: pages})
    assert [str(line) for line in read_log(a_line(items), "i", is_followed=True)] == ["hello"]


def test_lines_without_an_end_are_returned_once_in_order_of_time() -> None:
    joiner = LineJoiner()
    for stream, at in ((OUT, 5), (ERR, 3), (LogStream.NOTE, 4)):
        assert list(joiner.feed(Frame(stream, at, b"x"))) == []
    assert [(line.stream, line.at) for line in joiner.end()] == [
        ("stderr", 3),
        ("note", 4),
        ("stdout", 5),
    ]
    assert joiner.end() == []
    assert str(next(joiner.feed(Frame(OUT, 6, b"whole\n")))) == "whole"


def test_a_line_is_shown_only_beyond_its_limit() -> None:
    joiner = LineJoiner()
    assert list(joiner.feed(Frame(OUT, 1, b"x" * LINE_LIMIT))) == []
    assert [len(line.text) for line in joiner.feed(Frame(OUT, 2, b"y"))] == [LINE_LIMIT + 1]
    assert joiner.end() == []
