"""Logs hold for any output: what is spooled, shipped, stored and read again is the same bytes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.agent.streams import CHUNK, BuildStream, ProgramStream, Stream, tail_lines
from shipway.domain.attempt import (
    FRAME,
    FRAME_LIMIT,
    LogChunk,
    LogStream,
    decode_frames,
    encode_frame,
    whole_frames,
)
from shipway.domain.errors import Invalid, TooLarge
from shipway.domain.ids import Digest, ItemId
from shipway.domain.spool import plan_log
from shipway.runners.local_log import LogReader, settle
from shipway.server.log_bytes import LogBytes, inflate
from shipway.server.log_lines import Lines
from shipway.server.log_stream import Mark
from shipway.server.rest.answers import cursor, read_cursor
from shipway.supervise.log_spool import LogSpool
from tests.support.rest_server import MemoryBlobs

STREAMS = st.sampled_from((LogStream.STDOUT, LogStream.STDERR))
OUTPUT = st.lists(st.tuples(STREAMS, st.binary(min_size=1, max_size=900)), max_size=60)
LARGE = st.integers(0, 40).map(lambda less: FRAME_LIMIT - less)
SIZES = st.integers(1, 200) | LARGE | st.integers(1, FRAME_LIMIT)
ODD = st.sampled_from((b"\0" * 13, b"\xff" * 13, FRAME.pack(0, 0, FRAME_LIMIT + 1), b"\x05" * 20))
JUNK = st.lists(st.binary(max_size=30) | ODD, max_size=4).map(b"".join)


@given(OUTPUT, st.integers(16 << 10, 60 << 10), st.integers(1, 5_000))
@settings(deadline=None)
def test_a_spool_keeps_all_or_head_and_tail(
    output: list[tuple[LogStream, bytes]], cap: int, step: int
) -> None:
    with TemporaryDirectory() as place:
        spool, whole = LogSpool(place, plan_log(cap)), b""
        for at, (stream, data) in enumerate(output):
            spool.write(stream, at, data)
            whole += encode_frame(stream, at, data)
        size = spool.finish()
        log = b"".join(read(LogReader(Path(place)), size, step))
        assert len(log) == size
        assert settle(Path(place)) == size  # and a second look says the same
        if len(whole) <= cap // 2:
            assert log == whole
        kept = [frame for frame in decode_frames(log) if frame.stream is not LogStream.GAP]
        assert len(kept) in {len(list(decode_frames(log))), len(list(decode_frames(log))) - 1}
        said = list(decode_frames(whole))
        head = next((n for n, (one, other) in enumerate(zip(kept, said, strict=False))
                     if one != other), len(kept))  # fmt: skip
        assert kept[head:] == said[len(said) - (len(kept) - head) :]
        assert sum(path.stat().st_size for path in Path(place).glob("log.*")) <= cap


def read(reader: LogReader, size: int, step: int) -> Iterator[bytes]:
    at = 0
    while data := reader.read(at, step, visible=size, is_ended=True):
        yield data
        at += len(data)


@given(st.lists(SIZES, max_size=4))
@settings(deadline=None, max_examples=40)
def test_pieces_of_a_log_are_whole_frames_and_together_all_of_it(sizes: list[int]) -> None:
    whole = b"".join(encode_frame(LogStream.STDOUT, 7, b"x" * size) for size in sizes)
    stream = ProgramStream(lambda at, limit: whole[at : at + limit], lambda: len(whole))
    assert shipped(stream) == whole


@given(st.lists(SIZES, max_size=3))
@settings(deadline=None, max_examples=40)
def test_a_line_of_a_build_may_be_as_long_as_it_likes(sizes: list[int]) -> None:
    with TemporaryDirectory() as place:
        stream = BuildStream(Path(place) / "build.log", now=lambda: 7)
        for size in sizes:
            stream.print("x" * size)
        assert len(shipped(stream)) == stream.size()


def shipped(stream: Stream) -> bytes:
    """Take pieces until there are none, as an agent does."""
    taken = b""
    while piece := stream.piece(len(taken)):
        assert len(piece.data) <= CHUNK  # what a server takes at once
        assert whole_frames(piece.data) == len(piece.data)
        taken += piece.data
    return taken


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.data())
def test_any_range_of_a_stored_log_is_that_range(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    blobs = MemoryBlobs()
    chunks = stored(blobs, parts)
    reader = LogBytes(blobs=blobs)
    offset = data.draw(st.integers(0, len(whole) + 3))
    limit = data.draw(st.integers(0, len(whole) + 3))
    first = next((n for n, chunk in enumerate(chunks) if chunk.offset + chunk.length > offset), 0)
    assert reader.read(chunks[first:], offset, limit) == whole[offset : offset + limit]


def stored(blobs: MemoryBlobs, parts: Sequence[bytes]) -> list[LogChunk]:
    chunks, at = [], 0
    for part in parts:
        packed = zlib.compress(part)
        digest = Digest(hashlib.sha256(packed).hexdigest())
        blobs.put(digest, packed)
        chunks.append(
            LogChunk(
                item_id=ItemId("i"), attempt=1, name="program", offset=at, length=len(part),
                digest=digest, first_at=0, last_at=0,
            )
        )  # fmt: skip
        at += len(part)
    return chunks


@given(JUNK, st.integers(0, 50))
def test_what_is_no_chunk_is_refused(junk: bytes, cut: int) -> None:
    good = zlib.compress(b"some of a log" * 3)
    for body in (junk, good[:cut], good + junk, good[:cut] + junk + good[cut:]):
        with suppress(zlib.error, TooLarge):
            assert len(inflate(body, limit=39)) <= 39


@given(JUNK, st.lists(st.integers(0, 80), max_size=5))
def test_what_is_no_log_is_read_to_its_end(junk: bytes, cuts: list[int]) -> None:
    """Frames of any stream number, any length, cut anywhere: refused, or shown as lines."""
    tail_lines(junk)
    places = [0, *sorted(min(cut, len(junk)) for cut in cuts), len(junk)]
    lines = Lines()
    for begin, end in pairwise(places):
        try:
            frames = list(decode_frames(junk[begin:end]))
        except ValueError:
            continue
        for frame in frames:
            for line in lines.feed(frame, FRAME.size + len(frame.data)):
                line.text.encode()
    list(lines.rest())


@given(st.text() | st.from_regex(r"[0-9²٣]{0,20}(\.[0-9²٣]{0,20}){0,4}", fullmatch=True))
def test_a_mark_is_read_as_it_was_written_or_refused(text: str) -> None:
    with suppress(Invalid):
        mark = Mark.parse(text)
        assert Mark.parse(str(mark)) == mark
        assert min(mark.attempt, mark.offset, mark.skip) >= 0


@given(st.text() | st.integers(0, 1 << 70).map(cursor))
def test_a_cursor_is_read_as_it_was_written_or_refused(text: str) -> None:
    with suppress(Invalid):
        seq = read_cursor(text)
        assert seq is None or 0 <= seq < 1 << 63
