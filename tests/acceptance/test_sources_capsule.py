"""A capsule arrives as it was packed, and a hostile or damaged one does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shipway.domain.capsule import Entry, Mode, digest_of, encode
from shipway.domain.errors import Code, Invalid, ShipwayError
from shipway.plugins.errors import PermanentError, TemporaryError
from shipway.plugins.source import FetchRequest, Tree
from shipway.sdk.capsule import Capsule, pack, upload
from shipway.sources.capsule import CapsuleSource

USER = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always"]


class Blobs:
    """A server's blobs, for both sides."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.reads = 0

    def missing(self, digests: Sequence[str]) -> list[str]:
        return [digest for digest in digests if digest not in self.stored]

    def put_many(self, blobs: Mapping[str, bytes]) -> None:
        self.stored |= blobs

    def read(self, digest: str) -> bytes:
        self.reads += 1
        return self.stored[digest]

    def read_many(self, digests: list[str], take: Callable[[str, bytes], None]) -> None:
        for digest in reversed(digests):
            take(digest, self.read(digest))
            take(digest, self.stored[digest])  # a repeated answer


def git(folder: Path, *argv: str) -> str:
    done = subprocess.run(["git", *USER, *argv], cwd=folder, check=True, capture_output=True)
    return done.stdout.decode().strip()


def fetch(blobs: Blobs, source: Mapping[str, object], cache: Path) -> Tree:
    lines: list[str] = []
    request = FetchRequest(source=source, options={}, cache=cache, blobs=blobs, print=lines.append)
    return CapsuleSource().fetch(request)


def sent(capsule: Capsule) -> Blobs:
    blobs = Blobs()
    upload(capsule, blobs)
    return blobs


def look(root: Path) -> dict[bytes, tuple[int, bytes]]:
    """Return mode and bytes of every file and link but git's own."""
    seen = {}
    for base, folders, names in os.walk(os.fsencode(root)):
        folders[:] = [name for name in folders if name != b".git"]
        for name in [*names, *folders]:
            path = os.path.join(base, name)  # noqa: PTH118 - bytes paths
            if os.path.islink(path):  # noqa: PTH114 - bytes paths
                seen[path[len(os.fsencode(root)) :]] = (0, os.readlink(path))  # noqa: PTH115 - bytes path
            elif name in names and name != b".git":
                with open(path, "rb") as file:  # noqa: PTH123 - bytes paths
                    mode = os.stat(path).st_mode & 0o100  # noqa: PTH116 - bytes paths
                    seen[path[len(os.fsencode(root)) :]] = (mode, file.read())
    return seen


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "experiments").mkdir(parents=True)
    git(folder, "init", "--quiet", "-b", "main")
    (folder / "experiments" / "main.py").write_text("print(1)\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "gone.txt").write_text("x")
    (folder / ".gitattributes").write_text("*.txt text eol=crlf\n")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "one")
    git(folder, "remote", "add", "origin", "https://user:secret@example.com/a/b")
    return folder


@pytest.fixture
def dirty(repository: Path) -> Path:
    """Staged, unstaged, untracked, executable, linked, oddly named, deleted, unpushed."""
    (repository / "experiments" / "main.py").write_text("print(2)\n")
    git(repository, "add", "-A")
    git(repository, "commit", "--quiet", "-m", "unpushed")
    (repository / "experiments" / "main.py").write_bytes(b"print(3)\r\n")
    git(repository, "add", "-A")
    (repository / "experiments" / "main.py").write_bytes(b"print(4)\r\n")
    (repository / "gone.txt").unlink()
    (repository / "run.sh").chmod(0o755)
    (repository / "untracked ü.txt").write_text("unix\n")
    Path(os.fsdecode(os.fsencode(repository) + b"/not-\xff-text")).write_bytes(bytes(range(256)))
    (repository / "link").symlink_to("experiments/main.py")
    (repository / "up").mkdir()
    (repository / "up" / "dir").symlink_to("../experiments")
    (repository / "line\nbreak").write_text("x")
    return repository


def test_a_dirty_tree_arrives_byte_for_byte(dirty: Path, tmp_path: Path) -> None:
    before = look(dirty)
    (dirty / ".gitignore").write_text("*.log\n/.gitignore\n")
    (dirty / "a.log").write_text("stays")
    index = (dirty / ".git" / "index").read_bytes()
    objects = sorted((dirty / ".git" / "objects").rglob("*"))
    capsule = pack(dirty / "experiments")
    tree = fetch(sent(capsule), capsule.source(), tmp_path / "cache")
    assert look(tree.path) == before
    assert tree.subdirectory == "experiments"
    assert tree.digest == capsule.digest
    assert tree.env == {
        "SHIPWAY_GIT_COMMIT": git(dirty, "rev-parse", "HEAD"),
        "SHIPWAY_GIT_BRANCH": "main",
        "SHIPWAY_GIT_REMOTE": "https://example.com/a/b",
    }
    assert capsule.git is not None
    assert capsule.git["is_dirty"]
    assert (dirty / ".git" / "index").read_bytes() == index
    assert sorted((dirty / ".git" / "objects").rglob("*")) == objects


def test_a_clean_tree_has_git_s_own_tree_id(repository: Path) -> None:
    capsule = pack(repository)
    assert capsule.tree == git(repository, "rev-parse", "HEAD^{tree}")
    assert capsule.git is not None
    assert not capsule.git["is_dirty"]
    assert pack(repository, version="HEAD").digest == capsule.digest


def test_a_version_or_a_bare_repository_packs_that_commit(dirty: Path, tmp_path: Path) -> None:
    git(dirty, "tag", "v1", "HEAD~1")
    capsule = pack(dirty / "experiments", version="v1")
    assert capsule.tree == git(dirty, "rev-parse", "v1^{tree}")
    assert capsule.subdirectory == "experiments"
    git(tmp_path, "clone", "--quiet", "--bare", str(dirty), "bare.git")
    assert pack(tmp_path / "bare.git").tree == git(dirty, "rev-parse", "HEAD^{tree}")
    assert pack(tmp_path / "bare.git", version="v1").digest == capsule.digest
    for version in ("nope", "-x", "--all", "v1\n"):
        with pytest.raises(Invalid) as caught:
            pack(dirty, version=version)
        assert caught.value.details["field"] == "version"
    with pytest.raises(Invalid, match="no directory"):
        pack(dirty / "up", version="v1")


def test_submodules_and_nested_repositories_come_by_content(
    repository: Path, tmp_path: Path
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "--quiet")
    (library / "lib.py").write_text("1")
    git(library, "add", "-A")
    git(library, "commit", "--quiet", "-m", "lib")
    git(repository, "submodule", "--quiet", "add", str(library), "lib")
    (repository / "lib" / "lib.py").write_text("2")
    (repository / "lib" / "new.py").write_text("3")
    git(tmp_path, "clone", "--quiet", str(library), str(repository / "nested"))
    paths = {entry.path for entry in pack(repository).entries}
    assert {b"lib/lib.py", b"lib/new.py", b"nested/lib.py"} < paths
    assert not any(b".git" in path.split(b"/") for path in paths)


def test_tracked_secrets_pass_and_untracked_ones_stop(repository: Path) -> None:
    (repository / ".env").write_text("x=y")
    with pytest.raises(Invalid, match=r"\.env"):
        pack(repository)
    git(repository, "add", ".env")
    assert b".env" in {entry.path for entry in pack(repository).entries}


def test_a_directory_that_git_ignores_is_packed_by_itself(repository: Path) -> None:
    (repository / ".gitignore").write_text("/scratch/\n")
    (repository / "scratch").mkdir()
    (repository / "scratch" / "main.py").write_text("")
    capsule = pack(repository / "scratch")
    assert [entry.path for entry in capsule.entries] == [b"main.py"]
    assert capsule.git is None


def test_shipwayignore_leaves_out_tracked_files_too(repository: Path) -> None:
    (repository / ".shipwayignore").write_text("run.sh\n/.shipwayignore\n")
    assert b"run.sh" not in {entry.path for entry in pack(repository).entries}


def test_git_s_hook_environment_changes_nothing(repository: Path) -> None:
    environ = {**os.environ, "GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere/index"}
    assert pack(repository, environ=environ).digest == pack(repository).digest


def capsule_of(*entries: tuple[bytes, Mode, bytes]) -> tuple[Blobs, dict[str, str]]:
    """Return a made-up capsule's blobs and source, unchecked links and all."""
    blobs = Blobs()
    rows = []
    for path, mode, data in entries:
        blobs.stored[digest_of(data)] = data
        rows.append(Entry(path=path, mode=mode, size=len(data), digest=digest_of(data)))
    return stored(blobs, encode(rows))


def stored(blobs: Blobs, manifest: bytes) -> tuple[Blobs, dict[str, str]]:
    blobs.stored[digest_of(manifest)] = manifest
    return blobs, {"kind": "capsule", "digest": digest_of(manifest)}


@pytest.mark.parametrize("target", [b"/etc", b"..", b"a/../../x", b"\0", b"b/../../../../etc"])
def test_a_link_out_is_never_made(tmp_path: Path, target: bytes) -> None:
    blobs, source = capsule_of((b"a/l", Mode.LINK, b".."), (b"m", Mode.LINK, b"a/l/" + target))
    if target.startswith(b"/"):
        blobs, source = capsule_of((b"m", Mode.LINK, target))
    with pytest.raises(PermanentError, match="link"):
        fetch(blobs, source, tmp_path)
    assert not list(tmp_path.glob("trees/*"))
    assert not list(tmp_path.glob("making/*"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"victim", b"../xxx"),
        (b"victim", b"/tmp/x"),
        (b"victim", b"a/../b"),
        (b"victim", b".git/x"),
        (b"100644", b"060644"),
        (b"victim", b"vict/m\x00100644 0 x"),
    ],
)
def test_a_hostile_manifest_writes_nothing(tmp_path: Path, old: bytes, new: bytes) -> None:
    _, source = capsule_of((b"victim", Mode.FILE, b"x"))
    blobs, _ = capsule_of((b"victim", Mode.FILE, b"x"))
    manifest = blobs.stored[source["digest"]].replace(old, new)
    blobs, source = stored(blobs, manifest)
    with pytest.raises(PermanentError):
        fetch(blobs, source, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/*/*"))
    assert not (tmp_path / "xxx").exists()


def test_case_and_unicode_forms_are_kept(tmp_path: Path) -> None:
    names = [b"A", b"a", "é".encode(), "e\u0301".encode()]
    blobs, source = capsule_of(*((name, Mode.FILE, name) for name in names))
    tree = fetch(blobs, source, tmp_path)
    assert {os.fsencode(path.name) for path in tree.path.iterdir()} == set(names)


def test_a_flipped_bit_in_a_blob_is_found(dirty: Path, tmp_path: Path) -> None:
    capsule = pack(dirty)
    blobs = sent(capsule)
    victim = next(entry for entry in capsule.entries if entry.path == b"run.sh")
    data = bytearray(blobs.stored[victim.digest])
    data[0] ^= 1
    blobs.stored[victim.digest] = bytes(data)
    with pytest.raises(PermanentError, match=r"run\.sh.*damaged"):
        fetch(blobs, capsule.source(), tmp_path / "cache")
    blobs.stored[capsule.digest] = capsule.manifest.replace(b"run.sh", b"run.sX")
    with pytest.raises(PermanentError, match="manifest"):
        fetch(blobs, capsule.source(), tmp_path / "cache")


def test_a_server_that_is_away_is_a_temporary_error(dirty: Path, tmp_path: Path) -> None:
    class Away(Blobs):
        def read(self, digest: str) -> bytes:
            raise ShipwayError("no answer", code=Code.UNREACHABLE)

    with pytest.raises(TemporaryError):
        fetch(Away(), pack(dirty).source(), tmp_path / "cache")


def test_a_missing_directory_is_refused(dirty: Path, tmp_path: Path) -> None:
    capsule = pack(dirty)
    for subdirectory in ("nope", "../..", "/etc", "run.sh"):
        source = {**capsule.source(), "subdirectory": subdirectory}
        with pytest.raises(PermanentError):
            fetch(sent(capsule), source, tmp_path / "cache")


def test_the_cache_is_used_and_damage_is_found(dirty: Path, tmp_path: Path) -> None:
    capsule = pack(dirty)
    blobs, cache = sent(capsule), tmp_path / "cache"
    tree = fetch(blobs, capsule.source(), cache)
    before, reads = look(tree.path), blobs.reads

    def again(*, is_read: bool) -> None:
        nonlocal reads
        assert look(fetch(blobs, capsule.source(), cache).path) == before
        assert (blobs.reads > reads) == is_read
        reads = blobs.reads

    again(is_read=False)
    os.utime(tree.path / "run.sh")  # looks different, has the same bytes
    again(is_read=False)
    looks = (tree.path / "run.sh").stat()
    (tree.path / "run.sh").write_text("#!/bin/ok\n")  # same size, and the same time
    os.utime(tree.path / "run.sh", ns=(looks.st_atime_ns, looks.st_mtime_ns))
    again(is_read=True)
    (tree.path / "run.sh").chmod(0o644)
    again(is_read=True)
    (tree.path / "more.py").write_text("")
    again(is_read=True)
    (tree.path / "link").unlink()
    again(is_read=True)
    (tree.path / "empty").mkdir()
    again(is_read=True)
    (cache / "trees" / capsule.digest / "seal").write_text("{")
    again(is_read=True)


def test_a_stranger_that_died_while_fetching_is_no_obstacle(dirty: Path, tmp_path: Path) -> None:
    capsule = pack(dirty)
    left = tmp_path / "cache" / "making" / capsule.digest / "tree"
    left.mkdir(parents=True)
    (left / "main.py").write_text("half")
    fetch(sent(capsule), capsule.source(), tmp_path / "cache")
    assert not left.exists()


def test_many_threads_fetch_once(dirty: Path, tmp_path: Path) -> None:
    capsule = pack(dirty)
    blobs = sent(capsule)
    gate = threading.Barrier(8)

    def one(_: int) -> str:
        gate.wait(10)
        return fetch(blobs, capsule.source(), tmp_path / "cache").digest

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(8))) == {capsule.digest}
    assert blobs.reads == 1 + len(capsule.files)


def test_many_processes_fetch_once(dirty: Path, tmp_path: Path) -> None:
    capsule = pack(dirty)
    folder = tmp_path / "blobs"
    folder.mkdir()
    for digest, data in sent(capsule).stored.items():
        (folder / digest).write_bytes(data)
    program = f"""
import pathlib
from shipway.plugins.source import FetchRequest
from shipway.sources.capsule import CapsuleSource
class Blobs:
    def read(self, digest):
        return pathlib.Path({str(folder)!r}, digest).read_bytes()
    def read_many(self, digests, take):
        for digest in digests:
            take(digest, self.read(digest))
tree = CapsuleSource().fetch(FetchRequest(source={capsule.source()!r}, options={{}},
    cache=pathlib.Path({str(tmp_path / "cache")!r}), blobs=Blobs(), print=print))
print(tree.digest)
"""
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        printed = [process.communicate(timeout=60)[0].splitlines() for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [lines[-1] for lines in printed] == [capsule.digest] * 3
    assert sum(len(lines) > 1 for lines in printed) == 1  # one said that it was fetching
