"""What a client streams, read into lines; and addresses that carry their own right."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from shipway.domain.console import ConsoleLine, overlay, pack, unpack
from shipway.domain.errors import Forbidden, Invalid, Unauthenticated
from shipway.domain.ids import Digest
from shipway.domain.run import ConsoleChunk
from shipway.server.files.lines import read_stream
from shipway.server.signed import LIFE_MS, PREFIX, Right, Signer
from shipway.service.upkeep import sealed_console
from shipway.testing.clock import ManualClock

RIGHT = Right(method="PUT", entity="ann", project="demo", run="r1", path="a/b.txt", size=10)


def stream(**files: Any) -> bytes:
    """Make a request's body; `_` stands for `-`, `__` for `.`."""
    named = {name.replace("__", ".").replace("_", "-"): file for name, file in files.items()}
    return json.dumps({"files": named}).encode()


def history(offset: int, *content: str) -> bytes:
    """Make a request with lines of the history."""
    return stream(wandb_history__jsonl={"offset": offset, "content": content})


def test_a_line_s_number_is_its_place_from_the_offset_on() -> None:
    report = read_stream(history(5, '{"_step":50,"a":NaN}', '{"a":1e3}'), at=1).report
    assert [(line.number, line.step) for line in report.history] == [(5, 50), (6, 6)]
    assert report.history[0].text == '{"_step":50,"a":NaN}'
    assert not report.is_complete


@pytest.mark.parametrize("bad", ["", "nothing", "[1]", "3", "[" * 100_000, '{"a":'])
def test_what_is_no_line_costs_no_other_line(bad: str) -> None:
    report = read_stream(history(0, "{}", bad, "{}"), at=1).report
    assert [line.number for line in report.history] == [0, 2]


def test_steps_that_no_column_holds_are_places() -> None:
    texts = [json.dumps({"_step": step}) for step in (1 << 80, "x", None, True, 1.5)]
    report = read_stream(history(0, *texts, '{"_step":Infinity}'), at=1).report
    assert [line.step for line in report.history] == [0, 1, 2, 3, 1, 5]


def test_text_that_no_database_holds_is_escaped() -> None:
    report = read_stream(history(0, '{"a":"\\ud800\\u0000é"}'), at=1).report
    assert report.history[0].text.isascii()


def test_the_newest_summary_counts() -> None:
    file = {"offset": 0, "content": ['{"a":1}', '{"a":2}']}
    assert read_stream(stream(wandb_summary__json=file), at=1).report.summary == {"a": 2}
    assert read_stream(b"{}", at=1).report.summary is None


def test_a_console_s_lines_become_one_blob() -> None:
    content = ["2026-11-24T05:05:01.500000 out", "ERROR 2026-11-24T05:05:01 err", "plain", {"y": 1}]
    sent = read_stream(stream(output__log={"offset": 3, "content": content}), at=9)
    chunk = sent.report.console
    assert chunk is not None
    assert (chunk.first_line, chunk.line_count, chunk.at) == (3, 4, 9)
    at = 1_795_496_701_000
    assert unpack(sent.console) == [
        ConsoleLine(stream=1, at=at + 500, text="out"),
        ConsoleLine(stream=2, at=at, text="err"),
        ConsoleLine(stream=1, at=0, text="plain"),
        ConsoleLine(stream=1, at=0, text='{"y":1}'),
    ]


def a_piece(number: int, first: int, *texts: str | None) -> tuple[ConsoleChunk, bytes]:
    """Make a chunk of lines; None is a hole."""
    lines = [None if text is None else ConsoleLine(stream=1, at=0, text=text) for text in texts]
    data = pack(lines)
    digest = Digest(hashlib.sha256(data).hexdigest())
    chunk = ConsoleChunk(
        number=number, first_line=first, line_count=len(texts), digest=digest, at=number
    )
    return chunk, data


def test_a_line_written_again_is_as_it_was_written_last() -> None:
    pieces = [a_piece(0, 0, "a", "10 %"), a_piece(1, 1, "20 %", None, "d"), a_piece(2, 7, "h")]
    texts = {number: line.text for number, line in overlay(pieces).items()}
    assert texts == {0: "a", 1: "20 %", 3: "d", 7: "h"}
    chunk, data = sealed_console([one for one, _ in pieces], [data for _, data in pieces])
    assert (chunk.number, chunk.first_line, chunk.line_count) == (2, 0, 8)
    again = overlay([(chunk, data), a_piece(3, 2, "c")])
    assert [line.text for line in again.values()] == ["a", "20 %", "c", "d", "h"]


def test_the_end_has_an_exit_code() -> None:
    report = read_stream(b'{"complete":true,"exitcode":3}', at=1).report
    assert (report.is_complete, report.exit_code) == (True, 3)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"files":[1]}',
        history(-1, "{}"),
        stream(output__log={"offset": "0", "content": ["x"]}),
        stream(output__log={"offset": 0, "content": "x"}),
        b"[" * 100_000,
    ],
)
def test_a_body_that_can_never_be_right_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        read_stream(body, at=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def signer(clock: ManualClock) -> Signer:
    made = Signer(clock=clock, base_url="http://here:1")
    made.begin(b"k" * 32)
    return made


def test_an_address_is_absolute_and_says_what_it_allows(signer: Signer) -> None:
    address = signer.address(RIGHT)
    assert address.startswith("http://here:1" + PREFIX)
    read = signer.read("PUT", address.removeprefix("http://here:1"))
    assert (read.path, read.entity, read.size) == (RIGHT.path, RIGHT.entity, RIGHT.size)


def test_an_address_is_for_one_method_and_one_hour(signer: Signer, clock: ManualClock) -> None:
    path = signer.address(RIGHT).removeprefix("http://here:1")
    with pytest.raises(Forbidden, match="for PUT"):
        signer.read("GET", path)
    clock.advance(LIFE_MS + 1)
    with pytest.raises(Forbidden, match="older"):
        signer.read("PUT", path)


def test_an_address_that_was_changed_is_nobody_s(signer: Signer) -> None:
    path = signer.address(RIGHT).removeprefix("http://here:1")
    changed = path[:-1] + ("A" if path[-1] != "A" else "B")
    for text in (changed, PREFIX, PREFIX + "é", PREFIX + "x" * 20_000):
        with pytest.raises(Unauthenticated):
            signer.read("PUT", text)


def test_another_key_signed_nothing_here(clock: ManualClock, signer: Signer) -> None:
    other = Signer(clock=clock, base_url="http://here:1")
    path = signer.address(RIGHT).removeprefix("http://here:1")
    with pytest.raises(Unauthenticated):
        other.read("PUT", path)
    other.begin(b"o" * 32)
    with pytest.raises(Unauthenticated):
        other.read("PUT", path)
