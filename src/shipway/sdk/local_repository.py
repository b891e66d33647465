"""A git repository on the submitter's disk, asked with the submitter's own git."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.domain.errors import Invalid
from shipway.domain.git_address import without_credentials
from shipway.sdk.ignore import SHIPWAYIGNORE, IgnoreRules
from shipway.sources.git_command import Git, GitFailed
from shipway.sources.git_objects import SUBMODULE, TreeEntry, list_tree, read_blobs

TIMEOUT_S = 120.0  # of one command on a local repository


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitInfo:
    """Where code came from, for people and for the program's environment."""

    commit: str | None  # None before the first commit
    branch: str | None
    remote: str | None
    is_dirty: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as the `git` part of a capsule's source."""
        return {
            "commit": self.commit,
            "branch": self.branch,
            "remote": self.remote,
            "is_dirty": self.is_dirty,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRepository:
    """A repository, with its working tree unless it is bare."""

    root: bytes  # of the working tree; the repository itself where it is bare
    is_bare: bool
    git: Git

    @property
    def _cwd(self) -> Path:
        return Path(os.fsdecode(self.root))

    def info(self, tree: str) -> CommitInfo:
        """Return what is known of a working tree that has this tree id now."""
        try:
            out = self.git.run(["rev-parse", "HEAD^{commit}", "HEAD^{tree}"], cwd=self._cwd)
        except GitFailed:
            return CommitInfo(
                commit=None, branch=self._branch(), remote=self._remote(), is_dirty=True
            )
        commit, committed = out.decode("ascii").split()
        is_dirty = committed != tree and self._is_dirty()
        return CommitInfo(
            commit=commit, branch=self._branch(), remote=self._remote(), is_dirty=is_dirty
        )

    def commit_info(self, commit: str, version: str) -> CommitInfo:
        """Return what is known of a commit that was asked for by a name."""
        branch = self._branch() if version == "HEAD" else version
        try:
            self.git.run(["show-ref", "--verify", "--quiet", f"refs/heads/{branch}"], cwd=self._cwd)
        except GitFailed:
            branch = None
        return CommitInfo(commit=commit, branch=branch, remote=self._remote(), is_dirty=False)

    def resolve(self, version: str) -> str:
        """Return the commit that a branch, tag or expression names; `Invalid` if none."""
        if version.startswith("-") or not version.isprintable() or not version:
            raise Invalid(
                f"version {version[:80]!r} is not the name of a commit",
                field="version",
                value=version,
            )
        argv = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{version}^{{commit}}"]
        try:
            return self.git.run(argv, cwd=self._cwd).decode("ascii").strip()
        except GitFailed as error:
            raise Invalid(
                f"{os.fsdecode(self.root)} has no commit {version!r}",
                field="version",
                value=version,
            ) from error

    def list(self, commit: str) -> list[TreeEntry]:
        """Return a commit's files and links, less what its .shipwayignore leaves out."""
        rows = list_tree(self.git, self._cwd, commit)
        files = {row.path: row for row in rows if row.mode != SUBMODULE}
        rules = IgnoreRules(lambda path: self._ignore_file(files.get(path)), (SHIPWAYIGNORE,))
        return [row for path, row in files.items() if not rules.is_ignored(path)]

    def read(self, rows: Sequence[TreeEntry]) -> Iterator[tuple[TreeEntry, bytes]]:
        """Return each entry with its bytes."""
        found: list[tuple[TreeEntry, bytes]] = []
        read_blobs(
            self.git, self._cwd, rows, lambda row, chunks: found.append((row, b"".join(chunks)))
        )
        return iter(found)

    def _ignore_file(self, row: TreeEntry | None) -> bytes:
        if row is None:
            return b""
        return b"".join(data for _, data in self.read([row]))

    def _is_dirty(self) -> bool:
        argv = ["status", "--porcelain", "-z", "--untracked-files=normal"]
        return bool(self.git.run(argv, cwd=self._cwd))

    def _branch(self) -> str | None:
        try:
            out = self.git.run(["symbolic-ref", "--quiet", "--short", "HEAD"], cwd=self._cwd)
        except GitFailed:
            return None  # a detached HEAD
        return out.decode("utf-8", "replace").strip()

    def _remote(self) -> str | None:
        try:
            out = self.git.run(
                ["config", "--null", "--get-regexp", r"^(remote|branch)\..*\.(url|remote)$"],
                cwd=self._cwd,
            )
        except GitFailed:
            return None
        rows = (row.partition("\n") for row in out.decode("utf-8", "replace").split("\0"))
        values = {name: value for name, _, value in rows}
        name = values.get(f"branch.{self._branch()}.remote", "origin")
        url = values.get(f"remote.{name}.url") or values.get("remote.origin.url")
        return None if url is None else without_credentials(url)


def find_repository(start: bytes, environ: Mapping[str, str]) -> LocalRepository | None:
    """Return the repository that a directory is in; None for a plain directory.

    A directory that the repository around it ignores is a plain one.
    """
    git = Git(environ=environ, timeout_s=TIMEOUT_S)
    cwd = Path(os.fsdecode(start))
    try:
        out = git.run(["rev-parse", "--is-bare-repository", "--is-inside-git-dir"], cwd=cwd)
    except GitFailed as error:
        if "not a git repository" in error.words:
            return None
        if error.code == 127 and not _has_repository(cwd):
            return None
        raise Invalid(
            f"{cwd} is in a git repository that git does not open: {error.words}",
            field="uri",
            value=str(cwd),
        ) from error
    if b"true" in out:
        return LocalRepository(root=start, is_bare=True, git=git)
    top = git.run(["rev-parse", "--show-toplevel"], cwd=cwd).removesuffix(b"\n")
    root = os.path.realpath(top)
    if root != start and _is_ignored(git, root, start):
        return None
    return LocalRepository(root=root, is_bare=False, git=git)


def _has_repository(folder: Path) -> bool:
    return any((above / ".git").exists() for above in (folder, *folder.parents))


def _is_ignored(git: Git, root: bytes, start: bytes) -> bool:
    cwd = Path(os.fsdecode(root))
    below = os.path.relpath(start, root)
    try:
        git.run(["check-ignore", "--stdin", "-z"], cwd=cwd, stdin=below + b"/\0")
    except GitFailed:
        return False
    return not git.run(["ls-files", "-z", "--", f":(literal){os.fsdecode(below)}"], cwd=cwd)
