"""A dirty working tree arrives as it is on disk; what must not be sent is refused, and mended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shipway import Api, LaunchError, QueuedRun, launch_add
from tests.acceptance.programs.list_files import listing
from tests.support.embedded import Embedded, embedded, git
from tests.support.shell import shell_of

PROGRAM = Path(__file__).parent / "programs" / "list_files.py"
REMOTE = "https://git.example.com/ann/work.git"
WAIT_S = 120.0
GB = 10**9


@dataclass(frozen=True)
class WorkTree:
    """A repository with its working tree."""

    root: Path

    def write(self, name: str, data: bytes, *, mode: int = 0o644) -> Path:
        """Write a file with just this mode."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
        return path

    def git(self, *argv: str) -> str:
        """Run git in it."""
        return git(self.root, *argv)


@pytest.fixture(scope="module")
def shipway() -> Iterator[Embedded]:
    with embedded() as made, shell_of(made.env):
        made.up()
        yield made


@pytest.fixture
def tree(tmp_path: Path) -> WorkTree:
    """Give a clean repository whose first commit is pushed."""
    made = WorkTree(tmp_path / "work")
    made.root.mkdir()
    made.git("init", "-q", "-b", "trunk")
    made.git("config", "core.autocrlf", "true")  # would change bytes, were a filter asked
    made.write("main.py", PROGRAM.read_bytes())
    made.write(".gitignore", b"ignored/\n*.log\n")
    made.write(".gitattributes", b"*.txt text\n*.filtered filter=shout\n")
    for name in ("kept.txt", "staged.txt", "unstaged.txt", "both.txt", "deleted.txt", "moved.txt"):
        made.write(name, f"{name} as committed\n".encode())
    made.git("add", ".")
    made.git("commit", "-q", "-m", "First")
    made.git("init", "-q", "--bare", str(tmp_path / "origin"))
    made.git("push", "-q", str(tmp_path / "origin"), "trunk")
    made.git("remote", "add", "origin", REMOTE)
    return made


@pytest.mark.slow
def test_a_dirty_tree_arrives_byte_for_byte(shipway: Embedded, tree: WorkTree) -> None:
    """Earns: what runs is what is on disk, whatever git knows of it (I18)."""
    make_dirty(tree)
    expected = listing(tree.root)
    left_out = [name for name in expected if is_left_out(bytes.fromhex(name))]
    for name in left_out:
        del expected[name]
    assert len(left_out) > 10, "git's own files and the ignored ones"
    item = launch_add(uri=tree.root)
    run = item.wait_until_finished(timeout=WAIT_S)
    log = [str(line) for line in item.logs()]
    assert run.state == "finished", log
    (file,) = run.files()
    assert json.loads(file.read()) == expected
    commit = tree.git("rev-parse", "HEAD")
    assert log == [f"COMMIT {commit}", "BRANCH trunk", f"REMOTE {REMOTE}"]
    source = item.to_json()["spec"]["source"]
    assert source["git"]["is_dirty"] is True
    assert source["files"] == len(expected)


def make_dirty(tree: WorkTree) -> None:
    """Leave a tree in every state that a file can be in."""
    tree.write("unpushed.txt", b"committed, never pushed\n")
    tree.git("add", "unpushed.txt")
    tree.git("commit", "-q", "-m", "Second")
    tree.write("staged.txt", b"as staged\n")
    tree.write("new-staged.bin", bytes(range(256)) * 33)
    tree.write("both.txt", b"as staged first\n")
    tree.git("mv", "moved.txt", "moved-to.txt")
    tree.git("add", "staged.txt", "new-staged.bin", "both.txt")
    tree.write("both.txt", b"then changed on disk\r\n")
    tree.write("unstaged.txt", b"changed on disk only\r\nwith both\nline ends\r")
    (tree.root / "deleted.txt").unlink()
    tree.write("untracked.txt", b"no commit has it, nor its last line end")
    tree.write("shout.filtered", b"no filter of git's may touch this\n")
    tree.write("empty", b"")
    tree.write("run.sh", b"#!/bin/sh\necho run\n", mode=0o755)
    tree.write("package/main.py", b"print('below')\n")
    tree.write("package/tool", b"\x7fELF not really", mode=0o755)
    tree.write("データ/größe é.txt", "naïve\n".encode())
    tree.write("with space\tand tab.txt", b"1\n")
    tree.write(os.fsdecode(b"not-utf8-\xff\xfe.bin"), b"\x00\x01")
    tree.write("-dash.txt", b"no option\n")
    (tree.root / "link").symlink_to("データ/größe é.txt")
    (tree.root / "package" / "up").symlink_to("../kept.txt")
    (tree.root / "folder-link").symlink_to("package")
    tree.git("add", "link")
    tree.write("ignored/cache.bin", b"not sent")
    tree.write("package/train.log", b"not sent either")
    states = {line[:2] for line in tree.git("status", "--porcelain").splitlines()}
    assert states >= {"A ", "M ", " M", "MM", " D", "R ", "??"}


def is_left_out(name: bytes) -> bool:
    """Tell whether a file of the tree must not arrive."""
    return name.startswith((b".git/", b"ignored/")) or name.endswith(b".log")


@pytest.mark.slow
def test_forty_gigabytes_are_refused_with_the_line_that_leaves_them_out(
    shipway: Embedded, tree: WorkTree
) -> None:
    """Earns: a data set beside the code costs a sentence, not an hour of reading and sending."""
    (tree.root / "data").mkdir()
    for number in range(12):
        with (tree.root / "data" / f"part-{number:02}.bin").open("wb") as file:
            file.truncate(40 * GB // 12 + number)
    error = refused(shipway, tree)
    assert "is too large to be sent" in str(error)
    assert "40 GB in all, over the limit of 200 MB" in str(error)
    assert "12 over the limit of 50 MB a file" in str(error)
    names = [f"data/part-{number:02}.bin" for number in range(11, 1, -1)]
    assert [row["path"] for row in error.details["largest"]] == names, "the ten largest"
    assert all(name in str(error) for name in names)
    check_that_it_is_mended(shipway, tree, error)


@pytest.mark.slow
def test_an_untracked_env_file_is_refused_until_somebody_says_what_to_do(
    shipway: Embedded, tree: WorkTree
) -> None:
    """Earns: no secret leaves a machine by accident."""
    tree.write("config/.env", b"TOKEN=hush-hush-hush\n")
    error = refused(shipway, tree)
    assert error.details["secrets"] == ["config/.env"]
    assert "config/.env" in str(error)
    assert "hush" not in str(error)
    sent = arrived(launch_add(uri=tree.root, include=error.details["include"]))
    assert b"config/.env".hex() in sent, "sent on purpose"
    check_that_it_is_mended(shipway, tree, error)


def refused(shipway: Embedded, tree: WorkTree) -> LaunchError:
    """Launch a tree that must not be sent; nothing may be stored."""
    before = stored(shipway)
    with pytest.raises(LaunchError) as caught:
        launch_add(uri=tree.root)
    assert stored(shipway) == before
    assert (caught.value.code, caught.value.details["field"]) == ("invalid", "uri")
    return caught.value


def check_that_it_is_mended(shipway: Embedded, tree: WorkTree, error: LaunchError) -> None:
    """Do as the error says, and see that the rest is sent."""
    added = error.details["add"]
    lines = [added] if isinstance(added, str) else added
    assert all(line in str(error) for line in lines)
    assert f"{tree.root}/.shipwayignore" in str(error)
    tree.write(".shipwayignore", "".join(f"{line}\n" for line in lines).encode())
    sent = {bytes.fromhex(name).decode() for name in arrived(launch_add(uri=tree.root))}
    assert "main.py" in sent
    assert not {name for name in sent if name.startswith(("data/", "config/"))}


def arrived(item: QueuedRun) -> dict[str, Any]:
    """Return what a launched tree looked like where it ran."""
    run = item.wait_until_finished(timeout=WAIT_S)
    assert run.state == "finished", [str(line) for line in item.logs()]
    (file,) = run.files()
    found: dict[str, Any] = json.loads(file.read())
    return found


def stored(shipway: Embedded) -> tuple[int, set[str]]:
    """Return how many items there are, and the blobs."""
    return sum(1 for _ in Api().items()), stored_blobs(shipway)


def stored_blobs(shipway: Embedded) -> set[str]:
    """Return the names of all stored blobs."""
    folder = shipway.home / "data" / "blobs"
    return {path.name for path in folder.rglob("*") if path.is_file()}
