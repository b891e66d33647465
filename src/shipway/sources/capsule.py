"""Fetches a capsule: the submitter's tree, file by file, each checked by its digest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shipway.domain.capsule import LIMITS, Entry, Mode, decode, digest_of, show
from shipway.domain.errors import Code, Invalid, ShipwayError
from shipway.domain.git_address import check_subdirectory, without_credentials
from shipway.domain.ids import Digest, is_digest
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.kept import Kept
from shipway.plugins.source import BlobReader, FetchRequest, Tree
from shipway.sources.tree_cache import TreeCache
from shipway.sources.tree_writer import TreeWriter

BATCH_BLOBS = 1000  # asked for at once
_LATER = frozenset(  # answers of a server that may be another one tomorrow
    {
        Code.UNREACHABLE,
        Code.OVERLOADED,
        Code.TIMEOUT,
        Code.TOO_SLOW,
        Code.RATE_LIMITED,
        Code.UNKNOWN_OUTCOME,
        Code.STORAGE_FULL,
        Code.INTERNAL,
    }
)


class CapsuleSource:
    """The source plugin `capsule`."""

    def fetch(self, request: FetchRequest) -> Tree:
        """Return the capsule's tree, from the cache if it is there and whole."""
        digest = str(request.source.get("digest", ""))
        if not is_digest(digest):
            raise PermanentError(f"the capsule's digest {digest[:80]!r} is not a SHA-256")
        try:
            subdirectory = check_subdirectory(str(request.source.get("subdirectory") or ""))
            cache = TreeCache(request.cache)
            sealed = cache.get(
                digest,
                lambda folder: _extract(request, Digest(digest), folder),
                wait_s=request.policy.timeout_s,
            )
        except ShipwayError as error:
            raise _plugin_error(error) from error
        except OSError as error:
            raise TemporaryError(f"the capsule could not be written: {error}") from error
        check_folder(sealed.path, subdirectory)
        return Tree(
            path=sealed.path,
            digest=sealed.digest,
            subdirectory=subdirectory,
            env=git_env(request.source.get("git") or {}),
        )

    def kept(self, cache: Path) -> list[Kept]:
        """Return the trees that were fetched, and leftovers."""
        return TreeCache(cache).kept()

    def evict(self, cache: Path, gone: Kept) -> bool:
        """Remove one of these unless it was used since."""
        return TreeCache(cache).evict(gone)


def check_folder(tree: Path, subdirectory: str) -> None:
    """Raise `PermanentError` unless the program's directory is in the tree."""
    folder = tree / subdirectory
    if not folder.is_dir() or not folder.resolve().is_relative_to(tree.resolve()):
        raise PermanentError(f"the source has no directory {subdirectory!r}")


def git_env(git: Mapping[str, Any]) -> dict[str, str]:
    """Return what a program is told of the repository that its code came from."""
    known = {
        "SHIPWAY_GIT_COMMIT": git.get("commit"),
        "SHIPWAY_GIT_BRANCH": git.get("branch"),
        "SHIPWAY_GIT_REMOTE": without_credentials(str(git.get("remote") or "")),
    }
    return {name: str(value) for name, value in known.items() if value}


def _extract(request: FetchRequest, digest: Digest, folder: Path) -> list[Entry]:
    blobs = request.blobs
    entries = decode(_read(blobs, digest, "manifest"))
    by_digest: dict[str, list[Entry]] = {}
    for entry in entries:
        by_digest.setdefault(entry.digest, []).append(entry)
    total = sum(entry.size for entry in entries)
    request.print(f"fetching capsule {digest[:12]}: {len(entries)} files, {total} bytes")
    with TreeWriter(folder, size_limit=LIMITS.size, file_limit=LIMITS.files) as writer:
        done: set[str] = set()

        def take(name: str, data: bytes) -> None:
            if name in done or name not in by_digest:
                return  # given twice
            if digest_of(data) == name:
                done.add(name)
                _write(writer, by_digest[name], data)

        wanted = sorted(by_digest)
        for at in range(0, len(wanted), BATCH_BLOBS):
            blobs.read_many(wanted[at : at + BATCH_BLOBS], take)
        for name in wanted:
            if name not in done:  # damaged or left out: once more, by itself
                _write(writer, by_digest[name], _read(blobs, Digest(name), _names(by_digest[name])))
        return writer.finish()


def _write(writer: TreeWriter, entries: list[Entry], data: bytes) -> None:
    for entry in entries:
        if entry.size != len(data):
            raise Invalid(
                f"{show(entry.path)} has {len(data)} bytes where its manifest says {entry.size}"
            )
        if entry.mode is Mode.LINK:
            writer.link(entry.path, data)
        else:
            writer.file(entry.path, entry.mode, [data])


def _read(blobs: BlobReader, digest: Digest, what: str) -> bytes:
    data = blobs.read(digest)
    if digest_of(data) != digest:
        raise Invalid(
            f"the server's copy of {what} (blob {digest[:12]}) is damaged: submit the code again"
        )
    return data


def _names(entries: list[Entry]) -> str:
    return ", ".join(show(entry.path) for entry in entries[:3])


def _plugin_error(error: ShipwayError) -> TemporaryError | PermanentError:
    if error.code in _LATER:
        return TemporaryError(f"the capsule could not be fetched: {error}")
    return PermanentError(f"the capsule cannot be used: {error}")
