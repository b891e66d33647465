"""Reads a commit's tree straight from a repository's objects: no checkout, no filters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from shipway.sources.git_command import Git, GitFailed

CHUNK = 1 << 20  # bytes read at once

LINK, SUBMODULE = "120000", "160000"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEntry:
    """A file, link or submodule of a commit."""

    path: bytes
    mode: str  # six octal digits, as git writes them
    id: str
    size: int  # 0 for a submodule


def list_tree(
    git: Git, repository: Path, commit: str, *, has_blobs: bool = True
) -> list[TreeEntry]:
    """Return all entries below a commit; without blobs no size is known."""
    options = ["-l"] if has_blobs else []
    out = git.run(["ls-tree", "-r", "-z", "--full-tree", *options, commit], cwd=repository)
    return [_entry(row) for row in out.split(b"\0") if row]


def read_blobs(
    git: Git,
    repository: Path,
    entries: Iterable[TreeEntry],
    take: Callable[[TreeEntry, Iterator[bytes]], None],
) -> None:
    """Call `take` with each entry and its bytes in pieces, checked against its id."""
    with git.serve(["cat-file", "--batch"], cwd=repository) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for entry in entries:
            process.stdin.write(entry.id.encode() + b"\n")
            process.stdin.flush()
            head = process.stdout.readline().split()
            if len(head) != 3 or head[1] != b"blob":
                words = f"object {entry.id} is not in the repository"
                raise GitFailed(what="cat-file", code=1, words=words)
            chunks = _pieces(process.stdout, entry, int(head[2]))
            take(entry, chunks)
            for _ in chunks:  # what `take` left unread stands before the next answer
                pass


def _entry(row: bytes) -> TreeEntry:
    head, _, path = row.partition(b"\t")
    mode, _, id, *size = head.decode("ascii").split()
    known = size[0] if size else "0"
    return TreeEntry(path=path, mode=mode, id=id, size=int(known) if known.isdigit() else 0)


def _pieces(out: IO[bytes], entry: TreeEntry, size: int) -> Iterator[bytes]:
    name = "sha1" if len(entry.id) == 40 else "sha256"
    hashed = hashlib.new(name, b"blob %d\0" % size, usedforsecurity=False)
    left = size
    while left:
        data = out.read(min(CHUNK, left))
        if not data:
            raise GitFailed(what="cat-file", code=1, words=f"object {entry.id} ends early")
        left -= len(data)
        hashed.update(data)
        yield data
    out.read(1)  # the newline that ends each answer
    if hashed.hexdigest() != entry.id:
        raise GitFailed(what="cat-file", code=1, words=f"object {entry.id} is damaged")
