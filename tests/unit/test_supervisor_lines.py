"""Lines: datagrams from a supervisor's processes to a socket that may be made anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipway.runners.local_home import Line, bind, open_folder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    handle = open_folder(tmp_path)
    yield handle
    os.close(handle)


def test_line_reaches_who_listens_now(folder: int) -> None:
    line = Line(folder, "runner")
    for text in (b"to the first", b"to the second"):
        with bind(folder, "runner") as end:
            assert line.send(text)
            assert end.recv(64) == text
    line.close()


def test_line_with_nobody_there_says_so(folder: int) -> None:
    line = Line(folder, "runner")
    assert not line.send(b"x")
    bind(folder, "runner").close()  # its name stays
    assert not line.send(b"x")


def test_line_into_a_full_queue_gives_up(folder: int) -> None:
    line = Line(folder, "runner")
    with bind(folder, "runner") as end:
        while line.send(b"x"):
            pass
        assert end.recv(64) == b"x"
        assert line.send(b"y")  # there is room again
    line.close()


def test_line_refuses_what_is_too_large_for_a_datagram(folder: int) -> None:
    line = Line(folder, "runner")
    with bind(folder, "runner"):
        assert not line.send(bytes(10 << 20))
    line.close()
