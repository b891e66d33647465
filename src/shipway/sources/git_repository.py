"""Brings one commit into a bare repository of its own."""

from __future__ import annotations

import re
from pathlib import Path

from shipway.domain.git_address import is_commit
from shipway.sources.git_command import CommitMissing, Git, GitFailed

KEPT_REF = "refs/shipway/pinned"
WHOLE = "--depth=2147483647"  # git's word for all of a history, shallow before or not

# The server has the repository, but gives no commit by its id, or no shallow part of it.
_ASK_BY_REF = re.compile(
    r"unadvertised object|not our ref|shallow capabilities|does not allow request|"
    r"couldn't find remote ref|upload-pack: not our ref|dumb http",
    re.IGNORECASE,
)


def init(git: Git, repository: Path, commit: str) -> None:
    """Make an empty bare repository of the commit's kind of ids, with no hooks."""
    kind = "sha1" if len(commit) == 40 else "sha256"
    git.run(
        ["init", "--quiet", "--bare", "--template=", f"--object-format={kind}", str(repository)]
    )


def fetch_commit(
    git: Git,
    repository: Path,
    *,
    url: str,
    commit: str,
    ref: str | None,
    size_limit: int,
    filter: str | None = None,
) -> Git:
    """Fetch a commit alone, or what its server gives instead; return the git for what follows.

    A server that refuses ids is asked for the ref's tip, then for all branches and tags.
    """
    assert is_commit(commit)
    options = ["--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]
    partial = [] if filter is None else [f"--filter={filter}"]
    tries = [["--depth=1", *partial, "--end-of-options", url, f"+{commit}:{KEPT_REF}"]]
    whole: list[str] = []
    if ref is not None and not is_commit(ref):
        tries.append(["--depth=1", *partial, "--end-of-options", url, f"+{ref}:{KEPT_REF}"])
        whole = [WHOLE]  # else what that one left out stays out
    every = ["+refs/heads/*:refs/shipway/heads/*", "+refs/tags/*:refs/shipway/tags/*"]
    tries.append([*whole, *partial, "--end-of-options", url, *every])
    first: GitFailed | None = None
    for arguments in tries:
        try:
            git.fetch(["fetch", *options, *arguments], repository=repository, size_limit=size_limit)
        except GitFailed as error:
            first = first or error
            if not _ASK_BY_REF.search(error.words):
                raise
            continue
        if has_commit(git, repository, commit):
            return git
    words = f"commit {commit} is not there" + (f" ({first.words})" if first else "")
    raise CommitMissing(what="fetch", code=1, words=words)


def has_commit(git: Git, repository: Path, commit: str) -> bool:
    """Tell whether the pinned object is there and is a commit."""
    try:
        found = git.run(
            ["rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"], cwd=repository
        )
    except GitFailed:
        return False
    return found.decode("ascii").strip() == commit


def patched_tree(git: Git, repository: Path, commit: str, patch: bytes) -> str:
    """Return the tree of a commit with a patch applied, made in the index: nothing is checked out.

    `GitFailed` says where the patch does not fit, or names a path that no tree may have.
    """
    git.run(["read-tree", commit], cwd=repository)
    git.run(["apply", "--cached", "--whitespace=nowarn", "-"], cwd=repository, stdin=patch)
    return git.run(["write-tree"], cwd=repository).decode("ascii").strip()


def read_config(git: Git, repository: Path, blob: str) -> dict[str, str]:
    """Return the values of a configuration file in a commit, {} where there is none."""
    try:
        out = git.run(["config", "--null", "--list", f"--blob={blob}"], cwd=repository)
    except GitFailed:
        return {}
    rows = (row.partition("\n") for row in out.decode("utf-8", "surrogateescape").split("\0"))
    return {name: value for name, _, value in rows if name}
