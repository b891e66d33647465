"""The capsule: a submitter's code as a canonical manifest of files, and packs of its blobs."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from shipway.domain.errors import Invalid
from shipway.domain.ids import Digest, is_digest

MAGIC = b"shipway capsule 1\n"
PATH_LIMIT = 2048  # bytes of a path, so that it fits below any cache folder
NAME_LIMIT = 255  # bytes of one name
DEPTH_LIMIT = 64  # names in a path
LINK_LIMIT = 4095  # bytes of a link's target
HOP_LIMIT = 40  # links that a kernel follows before it gives up

FRAME = struct.Struct(">32sI")  # a pack's frame: digest, length of the bytes that follow
PACK_LIMIT = 32 << 20  # bytes of one pack


class Mode(StrEnum):
    """What an entry is, in git's words; nothing else can be in a capsule."""

    FILE = "100644"  # a plain file
    EXECUTABLE = "100755"  # a file that its owner may execute
    LINK = "120000"  # a symbolic link: its bytes are its target


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file or link of a capsule."""

    path: bytes  # relative, '/' between names, as on disk
    mode: Mode
    size: int
    digest: Digest  # SHA-256 of the bytes on disk, no filters


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that a capsule may carry."""

    files: int = 20_000
    size: int = 200_000_000  # bytes in all
    file_size: int = 50_000_000  # bytes of one file


LIMITS = Limits()


def encode(entries: Iterable[Entry]) -> bytes:
    """Return the canonical manifest: equal trees give equal bytes; the capsule's id hashes it."""
    ordered = sorted(entries, key=lambda entry: entry.path)
    lines = [
        b"%s %d %s %s\0"
        % (entry.mode.encode(), entry.size, entry.digest.encode(), check_path(entry.path))
        for entry in ordered
    ]
    _check_tree([entry.path for entry in ordered])
    return MAGIC + b"".join(lines)


def decode(data: bytes, *, limits: Limits = LIMITS) -> tuple[Entry, ...]:
    """Read a manifest that anybody may have made; raise `Invalid` unless it is canonical."""
    if not data.startswith(MAGIC):
        raise Invalid("the capsule's manifest does not begin as one does")
    count = data.count(b"\0")
    if count > limits.files:
        raise Invalid(f"the capsule has {count} files, over the limit of {limits.files}")
    entries = tuple(_entry(line) for line in data[len(MAGIC) :].split(b"\0")[:-1])
    total = 0
    for entry in entries:
        total += entry.size
        if entry.size > limits.file_size:
            raise Invalid(
                f"the capsule's file {show(entry.path)} has {entry.size} bytes, over the limit of "
                f"{limits.file_size}"
            )
        if entry.mode is Mode.LINK and not 0 < entry.size <= LINK_LIMIT:
            raise Invalid(f"the capsule's link {show(entry.path)} has a target of {entry.size} B")
    if total > limits.size:
        raise Invalid(f"the capsule has {total} bytes, over the limit of {limits.size}")
    if encode(entries) != data:
        raise Invalid("the capsule's manifest is not in its one canonical form")
    return entries


def digests_in(data: bytes) -> Iterator[Digest]:
    """Yield the digests of the files of a manifest that is trusted; none of any other bytes."""
    if data.startswith(MAGIC):
        for line in data[len(MAGIC) :].split(b"\0")[:-1]:
            yield Digest(line.split(b" ", 3)[2].decode("ascii"))


def digest_of(data: bytes) -> Digest:
    """Return the SHA-256 of bytes: of a manifest, the capsule's id."""
    return Digest(hashlib.sha256(data).hexdigest())


def check_path(path: bytes) -> bytes:
    """Return a path that stays below its root; raise `Invalid` otherwise."""
    names = path.split(b"/")
    if not path or len(path) > PATH_LIMIT or b"\0" in path or len(names) > DEPTH_LIMIT:
        raise Invalid(
            f"the path {show(path)} is not one of 1 to {PATH_LIMIT} bytes, "
            f"at most {DEPTH_LIMIT} names deep"
        )
    for name in names:
        if name in (b"", b".", b"..") or len(name) > NAME_LIMIT:
            raise Invalid(f"the path {show(path)} has a part that cannot be a file's name")
        if name.lower() == b".git":
            raise Invalid(f"the path {show(path)} is git's own: a capsule carries no '.git'")
    return path


def leads_out(path: bytes, links: Mapping[bytes, bytes]) -> bool:
    """Tell whether a link leaves the tree, be it by way of other links.

    `links` has the target of every link of the tree, by path.
    """
    stack = path.split(b"/")[:-1]
    todo = _steps(links[path])
    if todo is None:
        return True
    hops = 0
    while todo:
        name = todo.pop()
        if name == b"..":
            if not stack:
                return True
            stack.pop()
            continue
        stack.append(name)
        target = links.get(b"/".join(stack))
        if target is None:
            continue
        hops += 1
        if hops > HOP_LIMIT:
            return False  # a loop: no kernel follows it anywhere
        steps = _steps(target)
        if steps is None:
            return True
        stack.pop()
        todo.extend(steps)
    return False


def git_tree_id(files: Iterable[tuple[bytes, Mode, str]]) -> str:
    """Return the id that git gives to a tree of (path, mode, blob id)."""
    root: dict[bytes, object] = {}
    for path, mode, blob in files:
        *parents, name = path.split(b"/")
        folder = root
        for parent in parents:
            below = folder.setdefault(parent, {})
            assert isinstance(below, dict)
            folder = below
        folder[name] = (mode, blob)
    return _tree_id(root)


def git_blob_id(data: bytes) -> str:
    """Return the id that git gives to a file's bytes."""
    head = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    head.update(data)
    return head.hexdigest()


def encode_pack(blobs: Iterable[tuple[Digest, bytes]]) -> bytes:
    """Return several blobs as one body."""
    parts: list[bytes] = []
    for digest, data in blobs:
        parts += (FRAME.pack(bytes.fromhex(digest), len(data)), data)
    return b"".join(parts)


def decode_pack(body: bytes) -> Iterator[tuple[Digest, bytes]]:
    """Yield the blobs of a pack, each as long as its frame says; `Invalid` for a cut one."""
    at, end = 0, len(body)
    while at < end:
        if at + FRAME.size > end:
            raise Invalid("the pack ends inside a frame")
        raw, length = FRAME.unpack_from(body, at)
        at += FRAME.size
        if at + length > end:
            raise Invalid("the pack ends inside a blob")
        yield Digest(raw.hex()), body[at : at + length]
        at += length


def show(path: bytes) -> str:
    """Return a path as text for people, whatever its bytes are."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _entry(line: bytes) -> Entry:
    parts = line.split(b" ", 3)
    if len(parts) != 4:
        raise Invalid("the capsule's manifest has a line that is none of its own")
    mode, size, digest, path = parts
    if mode not in _MODES:
        raise Invalid(
            f"the capsule's entry {show(path)} has mode {show(mode)}: only files, executables "
            "and links can be carried"
        )
    if not size.isdigit() or len(size) > 15 or not is_digest(show(digest)):
        raise Invalid(f"the capsule's entry {show(path)} has no valid size and digest")
    return Entry(path=path, mode=_MODES[mode], size=int(size), digest=Digest(digest.decode()))


def _check_tree(ordered: Sequence[bytes]) -> None:
    paths = set(ordered)
    if len(paths) != len(ordered):
        twice = next(path for path, after in pairwise(ordered) if path == after)
        raise Invalid(f"the path {show(twice)} is there twice")
    for path in ordered:
        at = path.rfind(b"/")
        while at > 0:
            if path[:at] in paths:
                raise Invalid(f"{show(path[:at])} is a file, yet {show(path)} is below it")
            at = path.rfind(b"/", 0, at)


def _steps(target: bytes) -> list[bytes] | None:
    """Return a target's names, the first one last; None for one that begins at the root."""
    if not target or target.startswith(b"/") or b"\0" in target:
        return None
    return [name for name in reversed(target.split(b"/")) if name not in (b"", b".")]


def _tree_id(folder: Mapping[bytes, object]) -> str:
    rows: list[tuple[bytes, bytes]] = []
    for name, below in folder.items():
        if isinstance(below, dict):
            rows.append((name + b"/", b"40000 %s\0" % name + bytes.fromhex(_tree_id(below))))
        else:
            assert isinstance(below, tuple)
            rows.append((name, b"%s %s\0" % (below[0].encode(), name) + bytes.fromhex(below[1])))
    body = b"".join(row for _, row in sorted(rows))
    return hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).hexdigest()


_MODES = {mode.encode(): mode for mode in Mode}
