"""Resolves refs of remote repositories with the submitter's own git, and pins them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from shipway.domain.entry_point import missing_script, scripts_of
from shipway.domain.errors import Code, Invalid, LaunchError
from shipway.domain.git_address import (
    PROTOCOLS,
    GitAddress,
    check_ref,
    check_subdirectory,
    is_commit,
    is_short_commit,
    parse_git_address,
    without_credentials,
)
from shipway.sources.git_command import TOO_LARGE, TOO_SLOW, CommitMissing, Git, GitFailed
from shipway.sources.git_objects import list_tree
from shipway.sources.git_repository import fetch_commit, init

TIMEOUT_S = 60.0  # of asking a remote repository
LISTING_LIMIT = 64 << 20  # bytes fetched to see a commit's names
MAGIC = b"shipway listing 1\0"
KEPT_LISTINGS = 200_000_000  # bytes of listings of commits that are kept, by last use


def protocols(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the allowed protocols: https and ssh, and what SHIPWAY_GIT_PROTOCOLS adds.

    The variable is for tests and closed networks: `http`, for one.
    """
    added = environ.get("SHIPWAY_GIT_PROTOCOLS", "").replace(",", " ").split()
    return (*PROTOCOLS, *(name for name in added if name not in PROTOCOLS))


def resolve(
    url: str,
    ref: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    home: Path | None = None,
) -> tuple[str, str | None]:
    """Return the commit that a branch, tag or commit names now, with the ref's full name.

    Without a ref, the repository's default branch. With `home`, a whole commit id is checked to
    be there where the server lets it. `Invalid` for what is missing; `LaunchError` with code
    `unreachable` where nothing answers.
    """
    env = os.environ if environ is None else environ
    address = parse_git_address(url, protocols=protocols(env))
    if ref is not None:
        check_ref(ref)
    git = _git(env, address)
    if ref is not None and is_commit(ref):
        _check_commit(git, address, ref, home)
        return ref, None
    if ref is None:
        return _default(git, address)
    names = [ref] if ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
    found = _ask(git, address, [*names, *(f"{name}^{{}}" for name in names)])
    for name in names:
        commit = found.get(f"{name}^{{}}") or found.get(name)
        if commit is not None:
            return commit, name
    if is_short_commit(ref):
        return _lengthen(git, address, ref), None
    raise Invalid(
        f"{without_credentials(address.url)} has no branch or tag {ref!r}",
        field="version",
        value=ref,
    )


def check_entry_point(
    url: str,
    commit: str,
    subdirectory: str,
    entry_point: Sequence[str],
    *,
    home: Path,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Raise `Invalid` unless a commit has the directory and the scripts that a launch names.

    The commit's names are fetched without contents, once, and kept in `home`. Where they cannot
    be had, nothing is said: the agent checks again.
    """
    env = os.environ if environ is None else environ
    address = parse_git_address(url, protocols=protocols(env))
    folder = check_subdirectory(subdirectory)
    if not folder and not scripts_of(entry_point):
        return
    try:
        modes = _listing(_git(env, address), address, commit, home)
    except CommitMissing as error:
        raise _no_commit(address, commit) from error
    except GitFailed:
        return
    raw = folder.encode()
    if folder and not any(path == raw or path.startswith(raw + b"/") for path in modes):
        raise Invalid(
            f"{without_credentials(address.url)} has no directory {folder!r} in commit {commit}",
            field="uri",
            value=f"#subdirectory={folder}",
        )
    script = missing_script(entry_point, folder, modes)
    if script is not None:
        raise Invalid(
            f"entry_point {script!r} is not in {without_credentials(address.url)} at {commit}: "
            f"looked in {repr(folder) if folder else 'its root'} and above",
            field="entry_point",
            value=script,
        )


def _git(env: Mapping[str, str], address: GitAddress) -> Git:
    git = Git(environ=env, protocols=protocols(env), timeout_s=TIMEOUT_S)
    return git.with_ssh() if address.protocol == "ssh" else git


def _default(git: Git, address: GitAddress) -> tuple[str, str | None]:
    found = _ask(git, address, ["HEAD"])
    if "HEAD" not in found:
        raise Invalid(
            f"{without_credentials(address.url)} has no default branch: give version",
            field="version",
        )
    return found["HEAD"], found.get("ref: HEAD")


def _lengthen(git: Git, address: GitAddress, short: str) -> str:
    commits = {commit for commit in _ask(git, address, []).values() if commit.startswith(short)}
    if len(commits) == 1:
        return commits.pop()
    raise Invalid(
        f"version {short!r} is no branch or tag of {without_credentials(address.url)}, and as the "
        "beginning of a commit it cannot be looked up there: give all 40 digits",
        field="version",
        value=short,
    )


def _ask(git: Git, address: GitAddress, patterns: Sequence[str]) -> dict[str, str]:
    """Return the commits of a remote's refs by name; of HEAD, also the name of its branch."""
    argv = ["ls-remote", "--symref", "--quiet", "--end-of-options", address.url, *patterns]
    try:
        out = git.run(argv).decode("utf-8", "replace")
    except GitFailed as error:
        raise _error(address, error) from error
    found: dict[str, str] = {}
    for line in out.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: "):
            found[f"ref: {name}"] = value.removeprefix("ref: ")
        elif is_commit(value):
            found[name] = value
    return found


def _check_commit(git: Git, address: GitAddress, commit: str, home: Path | None) -> None:
    if home is None:
        _ask(git, address, ["HEAD"])  # that there is a repository is all that can be seen
        return
    try:
        _listing(git, address, commit, home)
    except CommitMissing as error:
        raise _no_commit(address, commit) from error
    except GitFailed as error:
        if error.code not in (TOO_LARGE, TOO_SLOW):  # too much to look at: the agent will
            raise _error(address, error) from error


def _listing(git: Git, address: GitAddress, commit: str, home: Path) -> dict[bytes, str]:
    """Return a commit's paths with their modes, fetched once."""
    key = hashlib.sha256(f"{address.url}\0{commit}".encode()).hexdigest()
    kept = home / "git-listings" / key
    try:
        data = kept.read_bytes()
        if data.startswith(MAGIC):
            os.utime(kept)  # when it was last used
            return _modes(data)
    except OSError:
        pass  # not there yet, or not readable: fetched instead
    data = _fetch_listing(git, address, commit)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=kept.parent)) / "new"
        new.write_bytes(data)
        new.replace(kept)
        new.parent.rmdir()
        _trim(kept.parent)
    except OSError:
        pass  # it is only a cache
    return _modes(data)


def _trim(folder: Path) -> None:
    """Remove the listings that were not used for longest, until the rest fits."""
    rows = [(entry.stat(), entry.path) for entry in os.scandir(folder) if entry.is_file()]
    total = 0
    for stat, path in sorted(rows, key=lambda row: -row[0].st_mtime):
        total += stat.st_size
        if total > KEPT_LISTINGS:
            Path(path).unlink(missing_ok=True)


def _fetch_listing(git: Git, address: GitAddress, commit: str) -> bytes:
    scratch = Path(tempfile.mkdtemp(prefix="shipway-git-"))
    try:
        repository = scratch / "repository"
        init(git, repository, commit)
        fetch_commit(
            git,
            repository,
            url=address.url,
            commit=commit,
            ref=None,
            size_limit=LISTING_LIMIT,
            filter="blob:none",
        )
        rows = list_tree(git, repository, commit, has_blobs=False)
        return MAGIC + b"".join(row.mode.encode() + b" " + row.path + b"\0" for row in rows)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _modes(data: bytes) -> dict[bytes, str]:
    rows = (row.partition(b" ") for row in data.removeprefix(MAGIC).split(b"\0") if row)
    return {path: mode.decode("ascii") for mode, _, path in rows}


def _no_commit(address: GitAddress, commit: str) -> Invalid:
    url = without_credentials(address.url)
    return Invalid(f"{url} has no commit {commit}", field="version", value=commit)


def _error(address: GitAddress, error: GitFailed) -> Invalid | LaunchError:
    url = without_credentials(address.url)
    if error.is_permanent:
        return Invalid(f"{url} cannot be read: {error.words}", field="uri", value=url)
    return LaunchError(
        f"{url} did not answer: {error.words or error}", code=Code.UNREACHABLE, details={"uri": url}
    )
