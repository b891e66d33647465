"""Fetches one pinned commit of a remote repository, without a checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from shipway.domain.capsule import LINK_LIMIT, Entry, Mode, show
from shipway.domain.errors import Invalid
from shipway.domain.git_address import (
    GitAddress,
    check_ref,
    check_subdirectory,
    is_commit,
    join_address,
    parse_git_address,
    without_credentials,
)
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.kept import Kept
from shipway.plugins.source import FetchRequest, SourcePolicy, Tree
from shipway.sources.git_command import TOO_SLOW, Git, GitFailed
from shipway.sources.git_lfs import LfsObjects, is_pointer
from shipway.sources.git_objects import LINK, SUBMODULE, TreeEntry, list_tree, read_blobs
from shipway.sources.git_repository import fetch_commit, init, patched_tree, read_config
from shipway.sources.tree_cache import TreeCache
from shipway.sources.tree_writer import TreeWriter

FILE_LIMIT = 1_000_000  # files of a commit, submodules included
SUBMODULE_LIMIT = 100  # in all
SUBMODULE_DEPTH = 8  # submodules of submodules


class GitSource:
    """The source plugin `git`."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ

    def fetch(self, request: FetchRequest) -> Tree:
        """Return the commit's tree, from the cache if it is there and whole."""
        started = time.monotonic()
        try:
            wanted = _wanted(request.source, request.options, request.policy)
            key = _key(wanted)
            checkout = _Checkout(request=request, wanted=wanted, environ=self._environ)
            sealed = TreeCache(request.cache).get(
                key,
                checkout.make,
                wait_s=request.policy.timeout_s,
                remember=lambda: {"commit": wanted.commit},
            )
        except Invalid as error:
            raise PermanentError(str(error)) from error
        except GitFailed as error:
            raise _plugin_error(error, request) from error
        except OSError as error:
            raise TemporaryError(f"the source could not be written: {error}") from error
        if checkout.is_made:
            request.print(f"commit {wanted.commit} in {time.monotonic() - started:.1f} s")
        folder = sealed.path / wanted.address.subdirectory
        if not folder.is_dir() or not folder.resolve().is_relative_to(sealed.path.resolve()):
            raise PermanentError(
                f"{wanted.address.url} has no directory {wanted.address.subdirectory!r} in commit "
                f"{wanted.commit}"
            )
        return Tree(
            path=sealed.path,
            digest=sealed.digest,
            subdirectory=wanted.address.subdirectory,
            env=_env(wanted),
        )

    def kept(self, cache: Path) -> list[Kept]:
        """Return the trees that were fetched, and leftovers."""
        return TreeCache(cache).kept()

    def evict(self, cache: Path, gone: Kept) -> bool:
        """Remove one of these unless it was used since."""
        return TreeCache(cache).evict(gone)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is asked for, checked."""

    address: GitAddress
    commit: str
    ref: str | None
    patch: str | None  # the blob with uncommitted changes
    has_submodules: bool
    has_lfs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetched:
    """A commit's objects, at hand."""

    git: Git
    repository: Path
    entries: list[TreeEntry]
    lfs: LfsObjects | None  # None: pointers stay pointers


class _Checkout:
    """Fetches and writes a tree; submodules below it in the same way."""

    def __init__(
        self, *, request: FetchRequest, wanted: _Wanted, environ: Mapping[str, str]
    ) -> None:
        self._request = request
        self._wanted = wanted
        self._environ = environ
        self._deadline = time.monotonic() + request.policy.timeout_s
        self._submodules = 0
        self.is_made = False

    def make(self, folder: Path) -> list[Entry]:
        """Fetch the commit and write its tree into an empty folder."""
        self.is_made = True
        limit = self._request.policy.size_limit
        scratch = Path(tempfile.mkdtemp(prefix="fetch-", dir=folder.parent))
        try:
            with TreeWriter(folder, size_limit=limit, file_limit=FILE_LIMIT) as writer:
                self._add(writer, self._wanted, b"", scratch)
                out = writer.leading_out()
                for path in out:
                    self._request.print(f"left out: the link {show(path)} leads out of the tree")
                writer.drop(out)
                return writer.finish()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _add(self, writer: TreeWriter, wanted: _Wanted, prefix: bytes, scratch: Path) -> None:
        policy = self._request.policy
        self._request.print(f"fetching {wanted.address.url} at {wanted.commit}")
        repository = scratch / str(self._submodules)
        git = self._git()
        init(git, repository, wanted.commit)
        git = fetch_commit(
            git.with_ssh() if wanted.address.protocol == "ssh" else git,
            repository,
            url=wanted.address.url,
            commit=wanted.commit,
            ref=wanted.ref,
            size_limit=policy.size_limit,
        )
        entries = list_tree(git, repository, self._tree(git, repository, wanted))
        total = sum(entry.size for entry in entries)
        if total > policy.size_limit:
            raise Invalid(
                f"commit {wanted.commit} has {total} bytes, over this agent's limit of "
                f"{policy.size_limit}"
            )
        lfs = LfsObjects(
            git,
            repository,
            url=wanted.address.url,
            commit=wanted.commit,
            size_limit=policy.size_limit,
        )
        fetched = _Fetched(
            git=git, repository=repository, entries=entries, lfs=lfs if wanted.has_lfs else None
        )
        self._write(writer, fetched, prefix)
        modules = [entry for entry in entries if entry.mode == SUBMODULE]
        if modules and wanted.has_submodules:
            urls = _module_urls(git, repository, wanted.commit)
            shutil.rmtree(repository)  # the next ones need the room
            for entry in modules:
                below = self._submodule(wanted, entry, urls, prefix)
                self._add(writer, below, prefix + entry.path + b"/", scratch)
        elif modules:
            self._request.print(
                f"{len(modules)} submodules are left empty: set submodules to fetch them"
            )

    def _tree(self, git: Git, repository: Path, wanted: _Wanted) -> str:
        if wanted.patch is None:
            return wanted.commit
        self._request.print(f"applying the patch {wanted.patch}")
        patch = self._request.blobs.read(wanted.patch)
        try:
            return patched_tree(git, repository, wanted.commit, patch)
        except GitFailed as error:
            raise Invalid(
                f"the uncommitted changes do not fit commit {wanted.commit}: {error.words}"
            ) from error

    def _git(self) -> Git:
        left = self._deadline - time.monotonic()
        if left <= 0:
            words = f"it took longer than {self._request.policy.timeout_s:.0f} s"
            raise GitFailed(what="fetch", code=TOO_SLOW, words=words)
        policy = self._request.policy
        config = {} if "*" in policy.git_hosts else {"http.followRedirects": "false"}
        return Git(
            environ=self._environ, protocols=policy.git_protocols, timeout_s=left, config=config
        )

    def _write(self, writer: TreeWriter, fetched: _Fetched, prefix: bytes) -> None:
        pointers: list[TreeEntry] = []
        lfs = fetched.lfs

        def take(entry: TreeEntry, chunks: Iterator[bytes]) -> None:
            path = prefix + entry.path
            if entry.mode == LINK:
                if entry.size > LINK_LIMIT:
                    raise Invalid(f"the link {show(path)} has a target of {entry.size} bytes")
                writer.link(path, b"".join(chunks))
                return
            mode = Mode.EXECUTABLE if entry.mode == "100755" else Mode.FILE
            if entry.size < 1024:
                data = b"".join(chunks)
                if is_pointer(data):
                    pointers.append(entry)
                    chunks = iter([data]) if lfs is None else lfs.content(data)
                else:
                    chunks = iter([data])
            writer.file(path, mode, chunks)

        blobs = [entry for entry in fetched.entries if entry.mode != SUBMODULE]
        read_blobs(fetched.git, fetched.repository, blobs, take)
        if pointers and lfs is None:
            self._request.print(
                f"{len(pointers)} files are Git LFS pointers, not their contents: set lfs to fetch "
                "them"
            )

    def _submodule(
        self, parent: _Wanted, entry: TreeEntry, urls: Mapping[bytes, str], prefix: bytes
    ) -> _Wanted:
        path = prefix + entry.path
        self._submodules += 1
        if self._submodules > SUBMODULE_LIMIT:
            raise Invalid(f"the source has more than {SUBMODULE_LIMIT} submodules")
        if entry.path not in urls:
            raise Invalid(f"the submodule {show(path)} has no address in .gitmodules")
        url = join_address(parent.address.url, urls[entry.path])
        try:
            address = _allowed(url, self._request.policy)
        except (Invalid, PermanentError) as error:
            raise Invalid(f"the submodule {show(path)} cannot be fetched: {error}") from error
        return replace(parent, address=address, commit=entry.id, ref=None, patch=None)


def _wanted(source: Mapping[str, Any], options: Mapping[str, Any], policy: SourcePolicy) -> _Wanted:
    commit, ref = str(source.get("commit", "")), source.get("ref")
    if not is_commit(commit):
        raise Invalid(f"{commit[:80]!r} is not a whole commit id", field="commit", value=commit)
    address = _allowed(str(source.get("url", "")), policy)
    named = check_subdirectory(str(source.get("subdirectory") or address.subdirectory))
    return _Wanted(
        address=replace(address, subdirectory=named),
        commit=commit,
        ref=check_ref(str(ref), field="ref") if ref else None,
        patch=source.get("patch"),
        has_submodules=bool(options.get("submodules")),
        has_lfs=bool(options.get("lfs")),
    )


def _allowed(url: str, policy: SourcePolicy) -> GitAddress:
    address = parse_git_address(url, protocols=policy.git_protocols)
    host = address.host.lower().rstrip(".")
    if not any(fnmatch(host, pattern.lower()) for pattern in policy.git_hosts):
        raise PermanentError(
            f"this agent's policy does not allow the git host {host!r} "
            f"(allowed: {', '.join(policy.git_hosts)})"
        )
    return address


def _key(wanted: _Wanted) -> str:
    options = f"{wanted.has_submodules:d}{wanted.has_lfs:d}"
    text = f"{wanted.address.url}\0{wanted.commit}\0{options}"
    if wanted.patch is not None:
        text += f"\0{wanted.patch}"
    return hashlib.sha256(text.encode()).hexdigest()


def _module_urls(git: Git, repository: Path, commit: str) -> dict[bytes, str]:
    """Return the address of each submodule by its path."""
    values = read_config(git, repository, f"{commit}:.gitmodules")
    urls: dict[bytes, str] = {}
    for name, path in values.items():
        if name.startswith("submodule.") and name.endswith(".path"):
            url = values.get(name.removesuffix("path") + "url")
            if url:
                urls[os.fsencode(path)] = url
    return urls


def _env(wanted: _Wanted) -> dict[str, str]:
    env = {
        "SHIPWAY_GIT_COMMIT": wanted.commit,
        "SHIPWAY_GIT_REMOTE": without_credentials(wanted.address.url),
    }
    ref = wanted.ref or ""
    if ref and not is_commit(ref) and not ref.startswith("refs/tags/"):
        env["SHIPWAY_GIT_BRANCH"] = ref.removeprefix("refs/heads/")
    return env


def _plugin_error(error: GitFailed, request: FetchRequest) -> TemporaryError | PermanentError:
    url = without_credentials(str(request.source.get("url", "")))
    sentence = f"{url} at {request.source.get('commit')} could not be fetched: {error}"
    return PermanentError(sentence) if error.is_permanent else TemporaryError(sentence)
