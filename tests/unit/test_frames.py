"""The frames of a log: whole ones are read, a cut one waits, a monstrous one is refused."""

from __future__ import annotations

import pytest

from shipway.domain.attempt import (
    FRAME,
    FRAME_LIMIT,
    Frame,
    LogStream,
    decode_frames,
    encode_frame,
    whole_frames,
)

FRAMES = [
    Frame(LogStream.STDOUT, 5, b"one"),
    Frame(LogStream.STDERR, 6, b""),
    Frame(LogStream.GAP, 7, b"three"),
]
TEXT = b"".join(encode_frame(frame.stream, frame.at, frame.data) for frame in FRAMES)
ENDS = [FRAME.size + 3, 2 * FRAME.size + 3, 3 * FRAME.size + 8]


def test_frames_come_back_as_they_were() -> None:
    assert list(decode_frames(TEXT)) == FRAMES
    assert whole_frames(TEXT) == len(TEXT) == ENDS[-1]
    assert list(decode_frames(b"")) == []


@pytest.mark.parametrize("cut", range(len(TEXT)))
def test_a_frame_that_is_cut_is_left_out(cut: int) -> None:
    whole = [end for end in ENDS if end <= cut]
    assert list(decode_frames(TEXT[:cut])) == FRAMES[: len(whole)]
    assert whole_frames(TEXT[:cut]) == max(whole, default=0)


def test_a_frame_has_a_limit() -> None:
    largest = encode_frame(LogStream.STDOUT, 1, b"x" * FRAME_LIMIT)
    assert len(largest) == 1 << 20
    assert [len(frame.data) for frame in decode_frames(largest)] == [FRAME_LIMIT]
    assert whole_frames(largest) == len(largest)
    monster = FRAME.pack(0, 1, FRAME_LIMIT + 1)
    for read in (lambda data: list(decode_frames(data)), whole_frames):
        with pytest.raises(ValueError, match=f"a frame of {FRAME_LIMIT + 1} bytes is over"):
            read(TEXT + monster)
