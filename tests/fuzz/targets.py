"""Targets of a fuzzer that sees what code its bytes reach: `targets.py NAME FOLDER -runs=N …`."""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["shipway"]):
    from shipway.domain.attempt import FRAME, decode_frames, whole_frames
    from shipway.domain.capsule import Mode, decode, decode_pack, encode
    from shipway.domain.errors import Invalid, TooLarge
    from shipway.server.log_bytes import inflate
    from shipway.server.log_lines import Lines
    from shipway.service.logs import parse_records
    from shipway.sources.tree_writer import TreeWriter

LIMIT = 4_096
NAME, SCRATCH = sys.argv[1], Path(sys.argv[2])  # an empty folder
ROOT, OUTSIDE = SCRATCH / "root", SCRATCH / "outside"


def extractor(data: bytes) -> None:
    """Write a tree of the bytes' own names: nothing is made or changed outside of its root."""
    ROOT.mkdir()
    try:
        with TreeWriter(ROOT, size_limit=LIMIT, file_limit=20) as writer:
            for part in data.split(b"\n"):
                kind, name, content = part[:1], *part[1:].partition(b" ")[::2]
                if kind == b"l":
                    writer.link(name, content)
                else:
                    mode = Mode.EXECUTABLE if kind == b"x" else Mode.FILE
                    writer.file(name, mode, [content])
            for path in writer.leading_out():
                writer.drop([path])
            writer.finish()
    except Invalid:
        pass
    except OSError as error:  # the kernel's word on a name that the file system will not have
        assert error.errno in {22, 36, 84}, error  # noqa: PT017 - a fuzzer's target, no test
    root = os.path.realpath(ROOT)
    for path in ROOT.rglob("*"):
        found = os.path.realpath(path)
        assert found == root or found.startswith(root + "/") or is_loop(path), path
    shutil.rmtree(ROOT)
    assert [path.name for path in SCRATCH.iterdir()] == ["outside"]
    assert not list(OUTSIDE.iterdir())


def is_loop(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return True
    return False


def manifest(data: bytes) -> None:
    """Read a capsule's manifest and a pack: what is taken is in its one form."""
    for text in (data, b"shipway capsule 1\n" + data):
        try:
            assert encode(decode(text)) == text
        except Invalid:
            continue
    try:
        assert sum(36 + len(blob) for _, blob in decode_pack(data)) == len(data)
    except Invalid:
        return


def chunk(data: bytes) -> None:
    """Take a chunk of a log as a server does, and show it."""
    try:
        log = inflate(data, limit=LIMIT)
    except (zlib.error, TooLarge):
        log = data
    lines = Lines()
    try:
        frames = list(decode_frames(log))
        assert sum(FRAME.size + len(frame.data) for frame in frames) == whole_frames(log)
        for frame in frames:
            for line in lines.feed(frame, FRAME.size + len(frame.data)):
                line.text.encode()
        list(lines.rest())
    except ValueError:
        pass
    try:
        parse_records(log, at=0)
    except Invalid:
        return


if __name__ == "__main__":
    OUTSIDE.mkdir()
    target = {"extractor": extractor, "manifest": manifest, "chunk": chunk}[NAME]
    atheris.Setup([sys.argv[0], *sys.argv[3:]], target)
    atheris.Fuzz()
