"""Streams of an attempt: whole frames and lines, from any offset, also after a restart."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from shipway.agent.streams import (
    CHUNK,
    LINE_LIMIT,
    BuildStream,
    RecordStream,
    framed,
    tail_lines,
)
from shipway.domain.attempt import FRAME_LIMIT, LogStream, encode_frame
from shipway.service.logs import parse_records


def a_frame(text: str, at: int = 1) -> bytes:
    return encode_frame(LogStream.STDOUT, at, text.encode())


@pytest.fixture
def uploads() -> list[str]:
    return []


@pytest.fixture
def records(tmp_path: Path, uploads: list[str]) -> RecordStream:
    (tmp_path / "files").mkdir()
    return a_stream(tmp_path, uploads)


def a_stream(folder: Path, uploads: list[str]) -> RecordStream:
    return RecordStream(folder, upload=lambda digest, *_: uploads.append(digest), now=lambda: 5)


def shipped(stream: RecordStream) -> bytes:
    data = b""
    while piece := stream.piece(len(data)):
        data += piece.data
    return data


def test_a_piece_ends_with_a_whole_frame_and_knows_its_times() -> None:
    whole = a_frame("one", 3) + a_frame("two", 9)
    piece = framed(whole + a_frame("three")[:-1])
    assert piece is not None
    assert (piece.data, piece.first_at, piece.last_at) == (whole, 3, 9)
    assert framed(a_frame("one")[:-1]) is None


def test_the_longest_frame_goes_in_one_piece() -> None:
    frame = a_frame("x" * FRAME_LIMIT)
    piece = framed((frame + a_frame("y"))[:CHUNK])
    assert piece is not None
    assert piece.data == frame


def test_a_build_log_is_frames(tmp_path: Path) -> None:
    stream = BuildStream(tmp_path / "build.log", now=lambda: 7)
    assert (stream.size(), stream.piece(0)) == (0, None)
    stream.print("fetching\n")
    stream.print("built")
    piece = stream.piece(0)
    assert piece is not None
    assert tail_lines(piece.data) == ("fetching", "built")
    assert stream.piece(stream.size()) is None


def test_only_whole_records_are_shipped(tmp_path: Path, records: RecordStream) -> None:
    written = tmp_path / "records.jsonl"
    written.write_bytes(b'{"kind":"config","values":{}}\n{"kind":"hist')
    assert shipped(records) == b'{"kind":"config","values":{}}\n'
    with written.open("ab") as file:
        file.write(b'ory","values":{}}\n')
    assert shipped(records) == b'{"kind":"config","values":{}}\n{"kind":"history","values":{}}\n'


def test_a_restart_goes_on_after_what_was_taken_over(
    tmp_path: Path, records: RecordStream, uploads: list[str]
) -> None:
    (tmp_path / "files" / "0").write_bytes(b"weights")
    line = json.dumps({"kind": "file", "path": "a.bin", "stored": "0"}).encode() + b"\n"
    written = tmp_path / "records.jsonl"
    written.write_bytes(b'{"kind":"config","values":{}}\n' + line)
    before = shipped(records)
    with (tmp_path / "records.sent").open("ab") as file:
        file.write(b'{"torn')
    with written.open("ab") as file:
        file.write(b'{"kind":"summary","values":{}}\n')
    again = a_stream(tmp_path, uploads)
    assert shipped(again) == before + b'{"kind":"summary","values":{}}\n'
    assert len(uploads) == 1


def test_a_record_that_is_too_long_is_replaced_by_a_note(
    tmp_path: Path, records: RecordStream
) -> None:
    (tmp_path / "records.jsonl").write_bytes(
        b'{"x":"' + b"x" * LINE_LIMIT + b'"}\n{"kind":"config","values":{}}\n'
    )
    lines = [json.loads(line) for line in shipped(records).splitlines()]
    assert [line["kind"] for line in lines] == ["dropped", "config"]


def test_the_longest_record_is_shipped_and_a_byte_more_is_not(
    tmp_path: Path, records: RecordStream
) -> None:
    frame = b'{"kind":"config","values":{"a":"%s"}}\n'
    whole = frame % (b"x" * (LINE_LIMIT + 2 - len(frame)))
    longer = frame % (b"x" * (LINE_LIMIT + 3 - len(frame)))
    last = b'{"kind":"history","values":{"a":2}}\n'
    (tmp_path / "records.jsonl").write_bytes(whole + longer + last)
    lines = shipped(records).splitlines(keepends=True)
    assert (len(whole), lines[0], lines[2]) == (LINE_LIMIT, whole, last)
    assert json.loads(lines[1])["kind"] == "dropped"


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":"history","val{"kind":"history","values":{"a":1}}',
        b'{"kind":"config","values":{"a":"\xff"}}',
        b'"config"',
        b"\xef\xbb\xbf{}",
        b'{"kind":"new","values":{}}',
        b'{"kind":["config"],"values":{}}',
        b'{"kind":"config","values":3}',
        b'{"kind":"config","values":{"a":' + b"[" * 500 + b"]" * 500 + b"}}",
        b'{"kind":"config","values":{"a":' + b"9" * 5_000 + b"}}",
        b'{"kind":"config",\r"values":{}}',
        b'{"kind":"file","path":"../a","stored":"0"}',
        b'{"kind":"file","path":"\\ud800","stored":"0"}',
        b"\r",
    ],
    ids=str,
)
def test_a_record_that_the_server_would_refuse_loses_no_other(
    tmp_path: Path, records: RecordStream, line: bytes
) -> None:
    (tmp_path / "files" / "0").write_bytes(b"weights")
    whole = b'{"kind":"history","values":{"a":2}}\n'
    (tmp_path / "records.jsonl").write_bytes(line + b"\n" + whole)
    data = shipped(records)
    assert len(parse_records(data, at=1).history) == 1
    assert data.count(b"\n") == 2, "one for each, else a restart goes on at the wrong line"


@pytest.mark.parametrize(
    "stored", ["../secret", "/etc/passwd", "", "..", "link", "gone", 3, "\0", "\ud800"]
)
def test_a_file_outside_of_the_runs_own_folder_is_never_read(
    tmp_path: Path, records: RecordStream, uploads: list[str], stored: object
) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "files" / "link").symlink_to("../secret")
    line = {"kind": "file", "path": "a", "stored": stored}
    (tmp_path / "records.jsonl").write_text(json.dumps(line) + "\n")
    assert json.loads(shipped(records))["kind"] == "dropped"
    assert uploads == []


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR])
def test_what_is_no_file_is_never_opened(
    tmp_path: Path, records: RecordStream, uploads: list[str], kind: int
) -> None:
    if kind == stat.S_IFCHR and os.geteuid():
        pytest.skip("only root makes device nodes, as a container's root does")
    os.mknod(tmp_path / "files" / "0", kind | 0o600, os.makedev(1, 5))  # /dev/zero has no end
    line = {"kind": "file", "path": "a", "stored": "0"}
    (tmp_path / "records.jsonl").write_text(json.dumps(line) + "\n")
    assert "no regular file" in json.loads(shipped(records))["reason"]
    assert uploads == []


def test_what_is_uploaded_is_what_was_hashed_whatever_has_its_name_by_then(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    saved = tmp_path / "files" / "0"
    saved.write_bytes(b"weights")
    found = []

    def upload(digest: str, file: BinaryIO, size: int) -> None:
        saved.unlink()
        saved.symlink_to("/etc/hostname")
        file.seek(0)
        found.append((digest, file.read(), size))

    stream = RecordStream(tmp_path, upload=upload, now=lambda: 5)
    line = {"kind": "file", "path": "a", "stored": "0"}
    (tmp_path / "records.jsonl").write_text(json.dumps(line) + "\n")
    assert json.loads(shipped(stream))["size"] == 7
    assert found == [(hashlib.sha256(b"weights").hexdigest(), b"weights", 7)]


def test_the_tail_is_plain_text_of_the_last_lines() -> None:
    frames = b"".join(a_frame(f"line {number}\n") for number in range(30))
    frames += a_frame("\x1b[31mred\x1b[0m \x1b]0;title\x07end\x00\n")
    lines = tail_lines(frames)
    assert len(lines) == 20
    assert lines[-2:] == ("line 29", "red end")
