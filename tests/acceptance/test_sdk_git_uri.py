"""How `launch_add` pins a git repository: by real git, from a real server on loopback."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipway.domain.draft import draft
from shipway.domain.errors import Invalid
from shipway.domain.launch_spec import Draft
from shipway.sdk.pinned_source import pin
from shipway.testing.git_server import GitServer

ENV = {
    "PATH": "/usr/bin:/bin",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "SHIPWAY_GIT_PROTOCOLS": "http",
}


def git(folder: Path, *argv: str) -> str:
    done = subprocess.run(
        ["git", *argv], cwd=folder, env=ENV, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str]]:
    """Return a repository's address, its first commit (tagged v1) and its newest."""
    root = tmp_path_factory.mktemp("git")
    work = root / "work"
    (work / "nested").mkdir(parents=True)
    git(work, "init", "--quiet", "--initial-branch=main")
    (work / "main.py").write_text("print(1)\n")
    (work / "nested" / "train.py").write_text("print(2)\n")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", "first")
    git(work, "tag", "-a", "v1", "-m", "v1")
    first = git(work, "rev-parse", "HEAD")
    (work / "main.py").write_text("print(3)\n")
    git(work, "commit", "--quiet", "-am", "second")
    git(root, "clone", "--quiet", "--bare", "work", "code.git")

    with GitServer(root).running() as server:
        yield f"{server.url}/code.git", first, git(work, "rev-parse", "HEAD")


def pinned(tmp_path: Path, **arguments: Any) -> Draft:
    return pin(
        draft(**arguments), base_url=None, include=(), env=ENV, cache=tmp_path / "cache"
    ).draft


def test_the_default_branch_is_pinned(repository: tuple[str, str, str], tmp_path: Path) -> None:
    url, _, newest = repository
    made = pinned(tmp_path, uri=url)
    assert made.source == {
        "kind": "git", "url": url, "commit": newest, "ref": "refs/heads/main", "subdirectory": "",
    }  # fmt: skip
    assert Draft.from_json(made.to_json()) == made


def test_a_tag_is_pinned_to_its_commit(repository: tuple[str, str, str], tmp_path: Path) -> None:
    url, first, _ = repository
    made = pinned(tmp_path, uri=url, version="v1")
    assert made.source is not None
    assert made.source["commit"] == first


def test_a_subdirectory_is_where_the_entry_point_is_looked_for(
    repository: tuple[str, str, str], tmp_path: Path
) -> None:
    url, _, _ = repository
    made = pinned(tmp_path, uri=f"{url}#subdirectory=nested", entry_point=["train.py"])
    assert made.source is not None
    assert (made.source["url"], made.source["subdirectory"]) == (url, "nested")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"version": "no-such-branch"}, "version"),
        ({"version": "f" * 40}, "version"),
        ({"entry_point": ["train.py"]}, "entry_point"),
    ],
)
def test_what_is_not_in_the_repository_is_refused(
    repository: tuple[str, str, str], tmp_path: Path, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        pinned(tmp_path, uri=repository[0], **arguments)
    assert caught.value.details["field"] == field


def test_a_missing_repository_and_directory_are_refused(
    repository: tuple[str, str, str], tmp_path: Path
) -> None:
    url = repository[0]
    for uri in (url.replace("code.git", "none.git"), f"{url}#subdirectory=none", "/no/such/folder"):
        with pytest.raises(Invalid) as caught:
            pinned(tmp_path, uri=uri)
        assert caught.value.details["field"] == "uri"
