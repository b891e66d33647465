"""Packs the submitter's code into a capsule: a working tree as it is on disk, or a commit's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shipway.domain.capsule import (
    LIMITS,
    Entry,
    Limits,
    Mode,
    check_path,
    digest_of,
    encode,
    git_tree_id,
    show,
)
from shipway.domain.entry_point import missing_script
from shipway.domain.errors import Conflict, Invalid
from shipway.domain.git_address import check_subdirectory
from shipway.domain.ids import Digest
from shipway.sdk.capsule_refusals import check_limits, check_links, check_secrets
from shipway.sdk.local_repository import CommitInfo, LocalRepository, find_repository
from shipway.sdk.work_tree import Found, Look, list_files, look_at, look_of

HELD_BYTES = 32 << 20  # of contents kept in memory between packing and uploading
HELD_FILE_BYTES = 1 << 20  # larger files are read again, and checked again
BATCH_BYTES = 24 << 20  # uploaded at once
TRIES = 3  # at a tree that changes while it is read
CHUNK = 1 << 20


class BlobsClient(Protocol):
    """What uploading needs of the server; both may be repeated."""

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Return the digests whose blobs the server lacks."""

    def put_many(self, blobs: Mapping[str, bytes]) -> None:
        """Store blobs, small ones bundled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capsule:
    """A tree, packed: its manifest, and where each file's bytes are."""

    manifest: bytes
    digest: Digest  # of the manifest: the capsule's id
    tree: str  # the id that git gives to the same tree
    entries: tuple[Entry, ...]
    files: Mapping[Digest, Path | bytes]
    size: int
    count: int
    subdirectory: str  # where the program starts, '' for the root
    git: Mapping[str, Any] | None  # commit, branch, remote, is_dirty

    def source(self) -> dict[str, Any]:
        """Return the launch spec's `source`."""
        return {
            "kind": "capsule",
            "digest": self.digest,
            "tree": self.tree,
            "size": self.size,
            "files": self.count,
            "subdirectory": self.subdirectory,
            "git": None if self.git is None else dict(self.git),
        }

    def content(self, digest: Digest) -> bytes:
        """Return a file's bytes; `Conflict` where it changed since it was packed."""
        held = self.files[digest]
        if isinstance(held, bytes):
            return held
        try:
            data = held.read_bytes() if held.lstat().st_size <= LIMITS.file_size else b""
        except OSError as error:
            raise Conflict(f"{held} is no longer what was packed: {error.strerror}") from error
        if digest_of(data) != digest:
            raise Conflict(f"{held} changed after it was packed: launch again")
        return data

    def check_entry_point(self, entry_point: Sequence[str]) -> None:
        """Raise `Invalid` unless the scripts that an entry point names are in the tree."""
        modes = {entry.path: entry.mode.value for entry in self.entries}
        script = missing_script(entry_point, self.subdirectory, modes)
        if script is not None:
            place = repr(self.subdirectory) if self.subdirectory else "its root"
            raise Invalid(
                f"entry_point {script!r} is not in the source: looked in {place} and above "
                "(a file that is ignored by .gitignore or .shipwayignore is not sent)",
                field="entry_point",
                value=script,
            )


def pack(
    path: str | os.PathLike[str],
    *,
    version: str | None = None,
    include: Sequence[str | os.PathLike[str]] = (),
    environ: Mapping[str, str] | None = None,
    limits: Limits = LIMITS,
) -> Capsule:
    """Pack a directory; a repository's whole working tree where the directory is in one.

    With `version`, or for a bare repository, that commit's tree instead. `include` names files or
    folders that ignore rules or the check for secrets would leave out. Raises `Invalid` for what
    is too large, looks secret, leads out, or keeps changing.
    """
    start = os.path.realpath(os.fsencode(path))
    if not os.path.isdir(start):
        raise Invalid(f"there is no directory {show(start)}", field="uri", value=os.fspath(path))
    repository = find_repository(start, os.environ if environ is None else environ)
    if repository is not None and (version is not None or repository.is_bare):
        if include:
            raise Invalid(
                "include names files on disk: it cannot be used with a commit", field="include"
            )
        return _pack_commit(repository, start, version or "HEAD", limits)
    if version is not None:
        raise Invalid(
            f"version {version!r} needs a git repository, which {show(start)} is not in",
            field="version",
            value=version,
        )
    tree = _Tree(start=start, repository=repository, limits=limits)
    named = tree.named(include)
    last: _Changed | None = None
    for _ in range(TRIES):
        try:
            return tree.pack(named)
        except _Changed as changed:
            last = changed
    raise Conflict(
        f"{show(start)} changes while it is being packed ({last}): wait until it is quiet, or "
        "leave the file out with .shipwayignore"
    )


def upload(capsule: Capsule, blobs: BlobsClient, *, check: Callable[[], None] | None = None) -> int:
    """Send what the server lacks, the manifest last; return the bytes sent.

    `check` is called before the first byte of a capsule that the server does not know.
    """
    sent = size = 0
    batch: dict[str, bytes] = {}
    lacking = blobs.missing([*sorted(capsule.files), capsule.digest])
    if check is not None and capsule.digest in lacking:
        check()
    for digest in lacking:
        if digest == capsule.digest:
            continue
        batch[digest] = capsule.content(Digest(digest))
        size += len(batch[digest])
        if size >= BATCH_BYTES:
            blobs.put_many(batch)
            sent, size, batch = sent + size, 0, {}
    if batch:
        blobs.put_many(batch)
    if capsule.digest in lacking:
        blobs.put_many({capsule.digest: capsule.manifest})
        size += len(capsule.manifest)
    return sent + size


class _Changed(Exception):
    """A file that is not what it was a moment ago."""


class _Tree:
    """A directory on disk, being packed."""

    def __init__(self, *, start: bytes, repository: LocalRepository | None, limits: Limits) -> None:
        self._start = start
        self._repository = repository
        self._root = start if repository is None else repository.root
        self._limits = limits

    def named(self, include: Sequence[str | os.PathLike[str]]) -> list[bytes]:
        """Return the included paths, relative to the root."""
        return [self._name(os.fsencode(path), os.fspath(path)) for path in include]

    def pack(self, include: Sequence[bytes]) -> Capsule:
        """Read the tree once; `_Changed` if it changed under us."""
        repository = self._repository
        shown = os.fsdecode(self._root)
        found = list_files(repository.git if repository else None, self._root, include)
        check_limits(shown, {row.path: row.size for row in found}, self._limits)
        subdirectory = _text(os.path.relpath(self._start, self._root))
        check_secrets(shown, found, subdirectory)
        contents = _Contents()
        links: dict[bytes, bytes] = {}
        for row in found:
            check_path(row.path)
            if row.is_link:
                target = os.readlink(os.path.join(self._root, row.path))
                links[row.path] = target
                contents.add(row.path, Mode.LINK, target)
            else:
                mode = Mode.EXECUTABLE if row.is_executable else Mode.FILE
                contents.read(self._root, row, mode)
        check_links(shown, links)
        for row in found:
            if look_at(os.path.join(self._root, row.path)) != row.look:
                raise _Changed(show(row.path))
        tree = contents.tree()
        info = repository.info(tree) if repository is not None else None
        return contents.capsule(subdirectory, tree, info)

    def _name(self, path: bytes, given: str) -> bytes:
        for base in (self._start, self._root, os.getcwdb()):
            full = os.path.join(base, path)
            parent = os.path.realpath(os.path.dirname(full.rstrip(b"/")))
            full = os.path.normpath(os.path.join(parent, os.path.basename(full.rstrip(b"/"))))
            if os.path.lexists(full) and full.startswith(self._root.rstrip(b"/") + b"/"):
                return full[len(self._root.rstrip(b"/")) + 1 :]
        raise Invalid(
            f"include {given!r} is no file or directory in {show(self._root)}",
            field="include",
            value=given,
        )


class _Contents:
    """Collects the entries of a capsule with their bytes."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._blobs: list[tuple[bytes, Mode, str]] = []
        self._files: dict[Digest, Path | bytes] = {}
        self._held = 0

    def add(self, path: bytes, mode: Mode, data: bytes) -> None:
        """Add bytes that are at hand."""
        digest = digest_of(data)
        self._files.setdefault(digest, data)
        blob = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
        blob.update(data)
        self._note(path, mode, len(data), digest, blob.hexdigest())

    def read(self, root: bytes, row: Found, mode: Mode) -> None:
        """Read a file and add it; `_Changed` unless it is what it was when it was listed."""
        full = os.path.join(root, row.path)
        digest, blob, kept = _read(full, row.path, row.look)
        if kept is not None and self._held + len(kept) <= HELD_BYTES:
            self._held += 0 if digest in self._files else len(kept)
            self._files[digest] = kept
        else:
            self._files.setdefault(digest, Path(os.fsdecode(full)))
        self._note(row.path, mode, row.size, digest, blob)

    def tree(self) -> str:
        """Return the git tree id."""
        return git_tree_id(self._blobs)

    def capsule(self, subdirectory: str, tree: str, info: CommitInfo | None) -> Capsule:
        """Return what was collected."""
        if not self._entries:
            raise Invalid(
                "there is nothing to send: the directory has no file, or .gitignore and "
                ".shipwayignore leave out every one of them",
                field="uri",
            )
        manifest = encode(self._entries)
        return Capsule(
            manifest=manifest,
            digest=digest_of(manifest),
            tree=tree,
            entries=tuple(self._entries),
            files=self._files,
            size=sum(entry.size for entry in self._entries),
            count=len(self._entries),
            subdirectory=subdirectory,
            git=None if info is None else info.to_json(),
        )

    def _note(self, path: bytes, mode: Mode, size: int, digest: Digest, blob: str) -> None:
        self._entries.append(Entry(path=path, mode=mode, size=size, digest=digest))
        self._blobs.append((path, mode, blob))


def _pack_commit(
    repository: LocalRepository, start: bytes, version: str, limits: Limits
) -> Capsule:
    shown = os.fsdecode(repository.root)
    commit = repository.resolve(version)
    rows = repository.list(commit)
    check_limits(shown, {row.path: row.size for row in rows}, limits)
    contents = _Contents()
    links: dict[bytes, bytes] = {}
    for row, data in repository.read(rows):
        if row.mode == Mode.LINK:
            links[row.path] = data
        contents.add(check_path(row.path), Mode(row.mode), data)
    check_links(shown, links)
    subdirectory = "" if repository.is_bare else _text(os.path.relpath(start, repository.root))
    if subdirectory and not any(row.path.startswith(subdirectory.encode() + b"/") for row in rows):
        raise Invalid(
            f"version {version!r} of {shown} has no directory {subdirectory!r}",
            field="version",
            value=version,
        )
    return contents.capsule(subdirectory, contents.tree(), repository.commit_info(commit, version))


def _read(full: bytes, path: bytes, look: Look) -> tuple[Digest, str, bytes | None]:
    """Return a file's two digests, and its bytes if they are few."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        fd = os.open(full, flags)
    except PermissionError as error:
        raise Invalid(f"{show(path)} cannot be read: {error.strerror}", field="uri") from error
    except OSError as error:
        raise _Changed(show(path)) from error
    size = look[1]
    sha256 = hashlib.sha256()
    sha1 = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    kept = bytearray() if size <= HELD_FILE_BYTES else None
    left = size
    with os.fdopen(fd, "rb", buffering=0) as file:
        if look_of(os.fstat(fd)) != look:
            raise _Changed(show(path))
        while data := file.read(min(CHUNK, left + 1)):
            left -= len(data)
            if left < 0:
                break
            sha256.update(data)
            sha1.update(data)
            if kept is not None:
                kept += data
        if left != 0 or look_of(os.fstat(fd)) != look:
            raise _Changed(show(path))
    return Digest(sha256.hexdigest()), sha1.hexdigest(), None if kept is None else bytes(kept)


def _text(folder: bytes) -> str:
    if folder == b".":
        return ""
    try:
        return check_subdirectory(folder.decode("utf-8").replace(os.sep, "/"))
    except UnicodeDecodeError as error:
        raise Invalid(
            f"the directory {show(folder)} has a name that is not UTF-8: start from one above it",
            field="uri",
            value=show(folder),
        ) from error
