"""A pinned commit of a remote repository arrives exactly, and hostile repositories do no harm."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shipway.domain.errors import Invalid
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.source import FetchRequest, SourcePolicy, Tree
from shipway.sdk.capsule import pack
from shipway.sdk.git_refs import resolve
from shipway.sources.git import GitSource
from shipway.testing.git_server import GitServer

USER = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always"]
LOOPBACK = SourcePolicy(git_protocols=("http",), git_hosts=("127.0.0.*",), timeout_s=30.0)


def git(folder: Path, *argv: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["git", *USER, *argv], cwd=folder, check=True, capture_output=True, input=stdin
    )
    return done.stdout.decode().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """Patches by their digests: a git source reads nothing else."""

    known: Mapping[str, bytes]

    def read(self, digest: str) -> bytes:
        return self.known[digest]

    def read_many(self, digests: list[str], take: Callable[[str, bytes], None]) -> None:
        raise AssertionError(digests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A repository, served, with a first commit of a few files."""

    server: GitServer
    folder: Path
    home: Path
    environ: Mapping[str, str]
    lines: list[str] = field(default_factory=list)
    patches: dict[str, bytes] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.server.url}/work/.git"

    def commit(self, message: str = "x") -> str:
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "--quiet", "--allow-empty", "-m", message)
        return git(self.folder, "rev-parse", "HEAD")

    def fetch(
        self,
        commit: str,
        *,
        options: Mapping[str, Any] | None = None,
        policy: SourcePolicy = LOOPBACK,
        **source: str,
    ) -> Tree:
        request = FetchRequest(
            source={"kind": "git", "url": self.url, "commit": commit, **source},
            options=options or {},
            cache=self.home / "sources",
            blobs=Patches(known=self.patches),
            policy=policy,
            print=self.lines.append,
        )
        return GitSource(self.environ).fetch(request)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "user"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "SHIPWAY_GIT_PROTOCOLS": "http",
    }


@pytest.fixture(params=[2, 0], ids=["protocol-2", "protocol-0"])
def remote(
    request: pytest.FixtureRequest, tmp_path: Path, environ: dict[str, str]
) -> Iterator[Remote]:
    folder = tmp_path / "served" / "work"
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "-b", "main")
    (folder / "sub").mkdir()
    (folder / "sub" / "train.py").write_bytes(b"print(1)\r\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("sub/train.py")
    (folder / ".gitattributes").write_text("*.py text eol=lf filter=evil\n")
    with GitServer(tmp_path / "served", protocol=request.param).running() as server:
        remote = Remote(server=server, folder=folder, home=tmp_path / "home", environ=environ)
        remote.commit("first")
        yield remote


def test_a_commit_arrives_as_it_was_committed(remote: Remote) -> None:
    commit = git(remote.folder, "rev-parse", "HEAD")
    tree = remote.fetch(commit, ref="refs/heads/main", subdirectory="sub")
    assert pack(tree.path).tree == git(remote.folder, "rev-parse", "HEAD^{tree}")
    assert tree.digest == pack(remote.folder, version=commit).digest
    assert not (tree.path / ".git").exists()
    assert tree.subdirectory == "sub"
    assert tree.env == {
        "SHIPWAY_GIT_COMMIT": commit,
        "SHIPWAY_GIT_REMOTE": remote.url,
        "SHIPWAY_GIT_BRANCH": "main",
    }


def test_uncommitted_changes_are_applied_to_the_commit(remote: Remote) -> None:
    commit = remote.commit()
    (remote.folder / "sub" / "train.py").write_bytes(b"print(2)\r\n")
    (remote.folder / "new").mkdir()
    (remote.folder / "new" / "more.py").write_bytes(b"more\n")
    (remote.folder / "run.sh").unlink()
    git(remote.folder, "add", "-A")
    done = subprocess.run(
        ["git", "diff", "HEAD"], cwd=remote.folder, check=True, capture_output=True
    )
    remote.patches["a" * 64] = done.stdout
    remote.patches["b" * 64] = done.stdout.replace(b"-print(1)", b"-print(7)")
    remote.patches["c" * 64] = done.stdout.replace(b"new/more.py", b"../out.py")
    plain = remote.fetch(commit)
    tree = remote.fetch(commit, patch="a" * 64)
    assert (tree.path / "sub" / "train.py").read_bytes() == b"print(2)\n"
    assert (tree.path / "new" / "more.py").read_bytes() == b"more\n"
    assert not (tree.path / "run.sh").exists()
    assert (plain.path / "run.sh").exists()
    assert tree.env["SHIPWAY_GIT_COMMIT"] == commit
    for bad in ("b" * 64, "c" * 64):
        with pytest.raises(PermanentError, match="uncommitted changes do not fit commit"):
            remote.fetch(commit, patch=bad)
    assert not list(remote.home.rglob("out.py"))


def test_a_second_fetch_asks_nobody(remote: Remote) -> None:
    commit = remote.commit()
    first = remote.fetch(commit)
    asked = len(remote.server.requests)
    assert remote.fetch(commit) == first
    assert len(remote.server.requests) == asked


def test_several_at_once_fetch_once(remote: Remote) -> None:
    commit = remote.commit()
    with ThreadPoolExecutor(6) as pool:
        trees = list(pool.map(lambda _: remote.fetch(commit), range(6)))
    assert len({tree.path for tree in trees}) == 1
    assert sum(line.startswith("fetching") for line in remote.lines) == 1


def test_an_old_commit_and_one_of_a_branch_are_found(remote: Remote) -> None:
    old = git(remote.folder, "rev-parse", "HEAD")
    git(remote.folder, "checkout", "--quiet", "-b", "other")
    (remote.folder / "new.py").write_text("")
    new = remote.commit()
    remote.commit("newer")
    assert not (remote.fetch(old, ref="main").path / "new.py").exists()
    assert (remote.fetch(new).path / "new.py").exists()


def test_a_branch_that_moved_on_changes_nothing(remote: Remote) -> None:
    submitted = remote.commit()
    (remote.folder / "sub" / "train.py").write_text("print(2)")
    remote.commit("what nobody submitted")
    tree = remote.fetch(submitted, ref="refs/heads/main")
    assert (tree.path / "sub" / "train.py").read_text() == "print(1)\n"
    assert tree.env["SHIPWAY_GIT_COMMIT"] == submitted


def test_a_missing_commit_directory_or_repository_is_permanent(remote: Remote) -> None:
    commit = remote.commit()
    with pytest.raises(PermanentError, match="is not there"):
        remote.fetch("1" * 40, ref="main")
    with pytest.raises(PermanentError, match="no directory 'nope'"):
        remote.fetch(commit, subdirectory="nope")
    with pytest.raises(PermanentError, match="not found"):
        remote.fetch(commit, url=f"{remote.server.url}/nope")
    with pytest.raises(PermanentError, match="not a whole commit"):
        remote.fetch("main")


def test_a_network_that_is_down_is_temporary(remote: Remote) -> None:
    with pytest.raises(TemporaryError, match="onnect"):
        remote.fetch("1" * 40, url="http://127.0.0.1:1/a")


def test_ssh_addresses_use_the_user_s_own_ssh_and_never_ask(remote: Remote, tmp_path: Path) -> None:
    """A stand-in for ssh notes what it was given and runs the command here."""
    ssh, said = tmp_path / "ssh", tmp_path / "said"
    ssh.write_text(
        f'#!/bin/sh\n[ "$1" = -G ] && exit 0\necho "$@" >> {said}\n'
        'for last; do :; done\nexec sh -c "$last"\n'
    )
    ssh.chmod(0o755)
    environ = {**remote.environ, "GIT_SSH_COMMAND": str(ssh)}
    commit = remote.commit()
    for url in (
        f"ssh://git@host.example.com{remote.folder}",
        f"git@host.example.com:{remote.folder}",
    ):
        assert resolve(url, "main", environ=environ) == (commit, "refs/heads/main")
        request = FetchRequest(
            source={"kind": "git", "url": url, "commit": commit},
            options={},
            cache=remote.home / "ssh",
            blobs=Patches(known={}),
            print=remote.lines.append,
        )
        assert (GitSource(environ).fetch(request).path / "run.sh").exists()
    lines = said.read_text().splitlines()
    assert len(lines) == 4
    assert all("-oBatchMode=yes" in line and "git@host.example.com" in line for line in lines)


def test_a_server_that_never_answers_is_given_up(remote: Remote) -> None:
    policy = SourcePolicy(git_protocols=("http",), timeout_s=0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        with pytest.raises(TemporaryError, match="longer than"):
            remote.fetch("1" * 40, url=url, policy=policy)
    assert not list(remote.home.glob("sources/making/*"))


def test_a_redirect_cannot_leave_the_hosts_that_a_policy_names(remote: Remote) -> None:
    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(301)
            self.send_header("Location", f"{remote.server.url}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Stay quiet."""

    commit = remote.commit()
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}/work/.git"
            with pytest.raises((PermanentError, TemporaryError)):
                remote.fetch(commit, url=url)
            anywhere = SourcePolicy(git_protocols=("http",))
            assert (remote.fetch(commit, url=url, policy=anywhere).path / "run.sh").exists()
        finally:
            server.shutdown()
            thread.join(10)


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c 'touch {mark}'",
        "file://{folder}",
        "{folder}",
        "--upload-pack=touch {mark}",
        "ssh://-oProxyCommand=touch%20{mark}/x",
        "-oProxyCommand=touch {mark}:x",
        "https://example.com/a",
        "http://example.com/a",
    ],
)
def test_only_allowed_addresses_reach_git(remote: Remote, tmp_path: Path, url: str) -> None:
    mark = tmp_path / "mark"
    asked = url.format(mark=mark, folder=remote.folder)
    with pytest.raises(PermanentError):
        remote.fetch("1" * 40, url=asked)
    assert not mark.exists()


def test_a_ref_that_begins_with_a_dash_reaches_no_git(remote: Remote, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for ref in (f"--upload-pack=touch {mark}", f"--exec=touch${{IFS}}{mark}", "-x"):
        with pytest.raises(PermanentError):
            remote.fetch("1" * 40, ref=ref)
        with pytest.raises(Invalid):
            resolve(remote.url, ref, environ=remote.environ)
    assert not mark.exists()


def test_the_user_s_rewriting_cannot_open_other_protocols(
    remote: Remote, environ: dict[str, str]
) -> None:
    commit = remote.commit()
    Path(environ["HOME"], ".gitconfig").write_text(
        f'[url "file://{remote.folder}/../"]\n  insteadOf = {remote.server.url}/\n'
        '[protocol "file"]\n  allow = always\n[protocol]\n  allow = always\n'
    )
    with pytest.raises(PermanentError, match="not allowed"):
        remote.fetch(commit)


def test_neither_filters_nor_hooks_of_the_user_run(
    remote: Remote, environ: dict[str, str], tmp_path: Path
) -> None:
    mark, hooks = tmp_path / "mark", tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (hooks / name).chmod(0o755)
    Path(environ["HOME"], ".gitconfig").write_text(
        f'[core]\n  hooksPath = {hooks}\n[filter "evil"]\n  smudge = touch {mark}; cat\n'
    )
    tree = remote.fetch(remote.commit())
    assert (tree.path / "sub" / "train.py").read_bytes() == b"print(1)\n"  # git's own normal form
    assert not mark.exists()


def test_links_out_of_the_tree_are_left_out_and_said(remote: Remote) -> None:
    (remote.folder / "etc").symlink_to("/etc")
    (remote.folder / "sub" / "up").symlink_to("../..")
    tree = remote.fetch(remote.commit())
    assert (tree.path / "link").is_symlink()
    assert not (tree.path / "etc").is_symlink()
    assert not (tree.path / "sub" / "up").is_symlink()
    assert sum("leads out" in line for line in remote.lines) == 2


def a_hostile_commit(folder: Path, *rows: bytes) -> str:
    """Commit a tree that git itself would not make."""
    tree = git(
        folder, "hash-object", "-t", "tree", "--literally", "-w", "--stdin", stdin=b"".join(rows)
    )
    commit = git(folder, "commit-tree", tree, "-m", "evil")
    git(folder, "update-ref", "refs/heads/evil", commit)
    return commit


@pytest.mark.parametrize("name", [b"..", b".git", b".GIT", b"."])
def test_names_that_no_tree_may_have_write_nothing(remote: Remote, name: bytes) -> None:
    blob = bytes.fromhex(git(remote.folder, "hash-object", "-w", "--stdin", stdin=b"evil"))
    commit = a_hostile_commit(remote.folder, b"100644 " + name + b"\0" + blob)
    with pytest.raises((PermanentError, TemporaryError)):
        remote.fetch(commit)
    assert not list(remote.home.glob("sources/trees/*"))


@pytest.mark.parametrize("is_outside", [True, False])
def test_a_name_that_is_a_link_and_a_folder_writes_nothing_elsewhere(
    remote: Remote, tmp_path: Path, *, is_outside: bool
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    leads_to = os.fsencode(target) if is_outside else b"."
    blob = bytes.fromhex(git(remote.folder, "hash-object", "-w", "--stdin", stdin=b"evil"))
    link = git(remote.folder, "hash-object", "-w", "--stdin", stdin=leads_to)
    below = git(
        remote.folder, "hash-object", "-t", "tree", "-w", "--stdin", stdin=b"100644 x\0" + blob
    )
    commit = a_hostile_commit(
        remote.folder,
        b"120000 d\0" + bytes.fromhex(link),
        b"40000 d\0" + bytes.fromhex(below),
    )
    if is_outside:  # such a link is left out, and the folder is a folder
        assert (remote.fetch(commit).path / "d" / "x").read_text() == "evil"
    else:
        with pytest.raises(PermanentError, match="link d has the name of something else"):
            remote.fetch(commit)
    assert not list(target.iterdir())


def add_submodule(remote: Remote, name: str, url: str, commit: str) -> None:
    git(remote.folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},{name}")
    git(remote.folder, "config", "-f", ".gitmodules", f"submodule.{name}.path", name)
    git(remote.folder, "config", "-f", ".gitmodules", f"submodule.{name}.url", url)
    git(remote.folder, "add", ".gitmodules")
    git(remote.folder, "commit", "--quiet", "-m", "submodule")


def test_submodules_come_only_when_asked(remote: Remote) -> None:
    library = remote.folder.parent / "library"
    library.mkdir()
    git(library, "init", "--quiet")
    (library / "lib.py").write_text("1")
    git(library, "add", "-A")
    git(library, "commit", "--quiet", "-m", "lib")
    add_submodule(remote, "lib", "../../library/.git", git(library, "rev-parse", "HEAD"))
    commit = git(remote.folder, "rev-parse", "HEAD")
    plain = remote.fetch(commit)
    assert not (plain.path / "lib").exists()
    assert "submodules are left empty" in remote.lines[-2]
    whole = remote.fetch(commit, options={"submodules": True})
    assert (whole.path / "lib" / "lib.py").read_text() == "1"
    assert whole.digest != plain.digest


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c 'touch {mark}'",
        "file://{folder}",
        "{folder}",
        "../../../../../{folder}",
        "-x",
        "--upload-pack=touch {mark}",
        "ssh://-oProxyCommand=touch%20{mark}/x",
        "https://example.com/x",
    ],
)
def test_a_submodule_with_an_evil_address_fails(remote: Remote, tmp_path: Path, url: str) -> None:
    mark = tmp_path / "mark"
    head = git(remote.folder, "rev-parse", "HEAD")
    add_submodule(remote, "lib", url.format(mark=mark, folder=remote.folder), head)
    with pytest.raises(PermanentError):
        remote.fetch(git(remote.folder, "rev-parse", "HEAD"), options={"submodules": True})
    assert not mark.exists()


def test_a_submodule_of_itself_ends(remote: Remote) -> None:
    """A repository cannot contain its own commit, but two addresses may lead in circles."""
    head = git(remote.folder, "rev-parse", "HEAD")
    for at in range(3):
        add_submodule(remote, f"m{at}", "./../.git", head)
        head = git(remote.folder, "rev-parse", "HEAD")
    tree = remote.fetch(head, options={"submodules": True})
    assert (tree.path / "m2" / "m1" / "m0" / "run.sh").exists()


def test_lfs_pointers_are_told_and_need_git_lfs(remote: Remote) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n"
    (remote.folder / "model.bin").write_bytes(pointer)
    commit = remote.commit()
    assert (remote.fetch(commit).path / "model.bin").read_bytes() == pointer
    assert any("LFS" in line for line in remote.lines)
    with pytest.raises((PermanentError, TemporaryError)):
        remote.fetch(commit, options={"lfs": True})


def test_a_checkout_over_the_limit_is_refused(remote: Remote) -> None:
    (remote.folder / "big").write_bytes(b"x" * 100_000)
    policy = SourcePolicy(git_protocols=("http",), size_limit=50_000)
    with pytest.raises(PermanentError, match="limit of 50000"):
        remote.fetch(remote.commit(), policy=policy)


def test_a_host_that_the_policy_does_not_name_is_refused(remote: Remote) -> None:
    policy = SourcePolicy(git_protocols=("http",), git_hosts=("*.example.com",))
    with pytest.raises(PermanentError, match=r"127\.0\.0\.1.*\*\.example\.com"):
        remote.fetch(remote.commit(), policy=policy)


def test_a_password_is_asked_of_helpers_only(tmp_path: Path, remote: Remote) -> None:
    commit = remote.commit()
    with GitServer(tmp_path / "served", password="s3cret").running() as server:
        url = f"{server.url}/work/.git"
        with pytest.raises(PermanentError, match="terminal prompts disabled"):
            remote.fetch(commit, url=url)
        with pytest.raises(PermanentError, match="password or token") as caught:
            remote.fetch(commit, url=url.replace("//", "//u:s3cret@"))
        assert "s3cret" not in str(caught.value)
        Path(remote.environ["HOME"], ".gitconfig").write_text(
            '[credential]\n  helper = "!f() { echo username=u; echo password=s3cret; }; f"\n'
        )
        assert remote.fetch(commit, url=url).env["SHIPWAY_GIT_REMOTE"] == url
