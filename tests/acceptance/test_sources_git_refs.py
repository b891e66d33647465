"""The submitter's git resolves refs, and sees a commit's names before it is launched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from shipway.domain.errors import Code, Invalid, LaunchError
from shipway.sdk.git_refs import check_entry_point, protocols, resolve
from shipway.testing.git_server import GitServer


def git(folder: Path, *argv: str) -> str:
    user = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    done = subprocess.run(["git", *user, *argv], cwd=folder, check=True, capture_output=True)
    return done.stdout.decode().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A repository with one commit, served."""

    server: GitServer
    folder: Path
    home: Path
    environ: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"{self.server.url}/work/.git"

    def commit(self, message: str = "x") -> str:
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "--quiet", "--allow-empty", "-m", message)
        return git(self.folder, "rev-parse", "HEAD")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SHIPWAY_GIT_PROTOCOLS": "http",
    }


@pytest.fixture(params=[2, 0], ids=["protocol-2", "protocol-0"])
def remote(
    request: pytest.FixtureRequest, tmp_path: Path, environ: dict[str, str]
) -> Iterator[Remote]:
    folder = tmp_path / "served" / "work"
    (folder / "sub").mkdir(parents=True)
    git(folder, "init", "--quiet", "-b", "main")
    (folder / "sub" / "train.py").write_text("")
    (folder / "run.sh").write_text("")
    with GitServer(tmp_path / "served", protocol=request.param).running() as server:
        remote = Remote(server=server, folder=folder, home=tmp_path / "home", environ=environ)
        remote.commit("first")
        yield remote


def test_refs_are_resolved_and_pinned(remote: Remote) -> None:
    first = git(remote.folder, "rev-parse", "HEAD")
    git(remote.folder, "tag", "-a", "v1", "-m", "v1")
    git(remote.folder, "branch", "feature/main")
    second = remote.commit("second")

    def found(ref: str | None) -> tuple[str, str | None]:
        return resolve(remote.url, ref, environ=remote.environ, home=remote.home)

    assert found(None) == (second, "refs/heads/main")
    assert found("main") == (second, "refs/heads/main")
    assert found("v1") == (first, "refs/tags/v1")
    assert found("feature/main") == (first, "refs/heads/feature/main")
    assert found("refs/tags/v1") == (first, "refs/tags/v1")
    assert found(first) == (first, None)
    assert found(second[:8]) == (second, None)


def test_what_is_missing_is_named(remote: Remote) -> None:
    for ref in ("nope", "1" * 40, "abcdef0"):
        with pytest.raises(Invalid, match=ref) as caught:
            resolve(remote.url, ref, environ=remote.environ, home=remote.home)
        assert caught.value.details["field"] == "version"
    with pytest.raises(Invalid, match="nope"):
        resolve(f"{remote.server.url}/nope", environ=remote.environ)
    with pytest.raises(LaunchError) as unreachable:
        resolve("http://127.0.0.1:1/a", environ=remote.environ)
    assert unreachable.value.code is Code.UNREACHABLE
    with pytest.raises(Invalid, match="not allowed"):
        resolve(remote.url, environ={"PATH": os.environ["PATH"]})


def test_scripts_of_an_entry_point_are_checked_once_per_commit(remote: Remote) -> None:
    commit = remote.commit()

    def check(subdirectory: str, *entry_point: str) -> None:
        check_entry_point(
            remote.url, commit, subdirectory, entry_point, home=remote.home, environ=remote.environ
        )

    check("", "python", "sub/train.py")
    asked = len(remote.server.requests)
    check("sub", "train.py")
    check("sub", "run.sh")
    with pytest.raises(Invalid, match=r"nope\.py"):
        check("sub", "nope.py")
    with pytest.raises(Invalid, match="no directory 'nope'"):
        check("nope", "run.sh")
    assert len(remote.server.requests) == asked


def test_an_unreachable_server_leaves_the_check_to_the_agent(
    environ: dict[str, str], tmp_path: Path
) -> None:
    check_entry_point(
        "http://127.0.0.1:1/a", "1" * 40, "", ["x.py"], home=tmp_path, environ=environ
    )


def test_other_protocols_are_allowed_by_name_only() -> None:
    assert protocols({}) == ("https", "ssh")
    assert protocols({"SHIPWAY_GIT_PROTOCOLS": "http, https"}) == ("https", "ssh", "http")
