"""Logs: lines out of frames, where a watcher goes on, the tail, colours, ranges of bytes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.domain.attempt import FRAME, LogChunk, LogStream, decode_frames, encode_frame
from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest, ItemId
from shipway.server import log_bytes
from shipway.server.log_bytes import LogBytes
from shipway.server.log_lines import Line, Lines, shown
from shipway.server.log_stream import Mark
from shipway.server.log_tail import first_frame, tail_of
from shipway.server.web.ansi import pieces
from tests.support.rest_server import MemoryBlobs

AT = 1_800_000_000_000
STREAMS = st.sampled_from([LogStream.STDOUT, LogStream.STDERR])
TEXTS = st.text(alphabet="ab\n", max_size=6).map(str.encode)
FRAMES = st.lists(st.tuples(STREAMS, TEXTS), max_size=12)


def _log(frames: Sequence[tuple[LogStream, bytes]]) -> bytes:
    return b"".join(encode_frame(stream, AT, data) for stream, data in frames)


def _read(frames: Sequence[tuple[LogStream, bytes]], offset: int = 0, skip: int = 0) -> list[Line]:
    lines = Lines(offset=offset, skip=skip)
    found: list[Line] = []
    for frame in decode_frames(_log(frames)[offset:]):
        found += lines.feed(frame, FRAME.size + len(frame.data))
    return [*found, *lines.rest()]


@settings(max_examples=8, deadline=None)
@given(FRAMES)
def test_a_watcher_that_comes_back_misses_and_repeats_nothing(
    frames: list[tuple[LogStream, bytes]],
) -> None:
    whole = _read(frames)
    for index, line in enumerate(whole):
        rest = _read(frames, line.offset, line.skip)
        assert [(other.stream, other.text) for other in rest] == [
            (other.stream, other.text) for other in whole[index + 1 :]
        ]


def test_streams_keep_their_lines_apart() -> None:
    out, err = LogStream.STDOUT, LogStream.STDERR
    lines = _read([(out, b"a"), (err, b"x\n"), (out, b"b\n")])
    assert [(line.stream, line.text) for line in lines] == [(err, "x"), (out, "ab")]


def test_a_progress_bar_shows_its_last_state() -> None:
    assert shown(b" 10%\r 50%\r100%\r") == "100%"
    assert shown(b"line\r") == "line"


def test_a_cut_in_the_log_is_a_sentence() -> None:
    lines = _read([(LogStream.GAP, b'{"from": 10, "to": 99}'), (LogStream.GAP, b"junk")])
    assert "bytes 10 to 99" in lines[0].text
    assert "cut out" in lines[1].text


def test_a_tail_begins_at_a_frame_wherever_it_was_cut() -> None:
    frames = [(LogStream.STDOUT, f"line {index}\n".encode()) for index in range(50)]
    data = _log(frames)
    for start in range(1, 60):
        tail = tail_of(data[start:], offset=start, is_ended=True)
        assert tail.is_cut
        assert [line.text for line in tail.lines][-1] == "line 49"
        assert all(line.text.startswith("line ") for line in tail.lines)
    assert first_frame(b"\xff" * 100) == 100


def test_a_tail_goes_on_where_an_open_line_begins() -> None:
    data = _log([(LogStream.STDOUT, b"one\ntw")])
    tail = tail_of(data, offset=0, is_ended=False)
    assert [line.text for line in tail.lines] == ["one"]
    assert (tail.offset, tail.skip) == (0, 1)


def test_marks_are_read_as_they_are_written() -> None:
    mark = Mark(attempt=2, offset=77, skip=3)
    assert Mark.parse(str(mark)) == mark
    for bad in ("", "1", "1.2", "a.b.c", "1.2.-3", "1.2.3.4", "1.2." + "9" * 20):
        with pytest.raises(Invalid):
            Mark.parse(bad)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain", [("", "plain")]),
        ("\x1b[1;31mred\x1b[0m!", [("fg31 bold", "red"), ("", "!")]),
        ("\x1b[38;5;200mpink\x1b[m", [("", "pink")]),
        ("\x1b[38;2;1;2;3mrgb\x1b[39m", [("", "rgb")]),
        ("a\x1b]8;;http://evil\x07b\x1b]0;x\x1b\\c", [("", "a"), ("", "b"), ("", "c")]),
        ("a\x1b[2Jb\x1b[?25lc", [("", "a"), ("", "b"), ("", "c")]),
        ("\x1b]0;never ended", []),
        ("a\x00\x07b\x9b31m", [("", "a"), ("", "b"), ("", "31m")]),
        ("\u202eevil", [("", "\ufffdevil")]),
        ("<b>", [("", "<b>")]),
        ("\x1b[999999999mx", [("", "x")]),
    ],
)
def test_only_colours_are_left_of_escape_sequences(
    line: str, expected: list[tuple[str, str]]
) -> None:
    assert pieces(line) == expected


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet=st.sampled_from("\x1b\x9b[]();:?0139mAKa \t\u202e\x07\\<é")))
def test_no_escape_character_gets_through(line: str) -> None:
    assert all("\x1b" not in text and "\x9b" not in text for _, text in pieces(line))


def _chunks(blobs: MemoryBlobs, data: bytes, size: int) -> list[LogChunk]:
    chunks = []
    for offset in range(0, len(data), size):
        packed = zlib.compress(data[offset : offset + size])
        digest = Digest(hashlib.sha256(packed).hexdigest())
        blobs.put(digest, packed)
        chunks.append(
            LogChunk(
                item_id=ItemId("i"), attempt=1, name="program", offset=offset,
                length=len(data[offset : offset + size]), digest=digest, first_at=0, last_at=0,
            )
        )  # fmt: skip
    return chunks


@pytest.mark.parametrize("large", [1 << 20, 10])
def test_ranges_of_bytes_are_those_of_the_log(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_bytes, "LARGE", large)  # a limit, so that small chunks count as large
    blobs = MemoryBlobs()
    data = bytes(range(256)) * 4
    chunks = _chunks(blobs, data, 300)
    reader = LogBytes(blobs=blobs)
    at, found = 0, b""
    while at < len(data):
        piece = reader.read(chunks, at, 77)
        assert piece == data[at : at + 77]
        found += piece
        at += len(piece)
    assert found == data
    assert reader.read(chunks, 500, 100) == data[500:600]
    assert reader.read(chunks, len(data), 100) == b""
