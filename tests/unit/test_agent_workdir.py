"""Work directories: each attempt its own, used again only when proven unchanged."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shipway.agent.seal import TICK_NS
from shipway.agent.watcher import Watcher
from shipway.agent.workdir import KEPT, Folders

CONFIG = b"{}"
TREE = "d" * 64


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a.py").write_text("print(1)")
    (tree / "sub" / "run").write_text("#!/bin/sh")
    (tree / "sub" / "run").chmod(0o555)
    (tree / "a.py").chmod(0o444)
    (tree / "link").symlink_to("a.py")
    return tree


@pytest.fixture(params=["by a look", "by ear"])
def folders(tmp_path: Path, request: pytest.FixtureRequest) -> Folders:
    watcher = Watcher()
    if request.param == "by ear":
        watcher.open()
    made = Folders(tmp_path / "attempts", later=lambda call: call(), watcher=watcher)
    made.sweep(())
    return made


def ran(
    folders: Folders, key: str, tree: Path, change: Callable[[Path], None] | None = None
) -> Path:
    """Let an attempt run in a folder that is old enough to prove something."""
    if not folders.take(key, TREE, CONFIG):
        folders.fill(key, TREE, tree, CONFIG)
    end = time.time_ns() + 2 * TICK_NS
    while time.time_ns() < end:
        pass
    folders.start(key)
    path = folders.path(key)
    if change is not None:
        change(path)
    return path


def test_a_copy_has_the_bytes_the_modes_and_the_links_and_shares_nothing(
    folders: Folders, tree: Path
) -> None:
    path = folders.fill("a.1", TREE, tree, CONFIG)
    assert (path / "work" / "a.py").read_text() == "print(1)"
    assert os.access(path / "work" / "sub" / "run", os.X_OK)
    assert (path / "work" / "link").readlink() == Path("a.py")
    (path / "work" / "a.py").write_text("mine")
    assert (tree / "a.py").read_text() == "print(1)"
    assert (path / "tmp").is_dir()
    assert (path / "config.json").read_bytes() == CONFIG


def test_an_untouched_folder_serves_again_under_the_next_name(folders: Folders, tree: Path) -> None:
    path = ran(folders, "a.1", tree)
    inode = path.stat().st_ino
    folders.release("a.1", has_failed=False, may_pool=True)
    assert folders.take("b.1", TREE, CONFIG)
    assert folders.path("b.1").stat().st_ino == inode
    assert not path.exists()


def test_another_config_is_written_into_a_folder_that_serves_again(
    folders: Folders, tree: Path
) -> None:
    ran(folders, "a.1", tree)
    folders.release("a.1", has_failed=False, may_pool=True)
    assert folders.take("b.1", TREE, b'{"lr": 1}')
    assert (folders.path("b.1") / "config.json").read_bytes() == b'{"lr": 1}'


def write_same_size(path: Path) -> None:
    file = path / "work" / "a.py"
    before = file.stat()
    file.write_text("print(2)")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_file(path: Path) -> None:
    other = path / "work" / "other"
    other.write_text("print(2)")
    other.rename(path / "work" / "a.py")


def link_out(path: Path) -> None:
    os.link(path / "work" / "a.py", path / "tmp" / "kept")
    (path / "tmp" / "kept").rename(path.parent / "elsewhere")


def write_through_a_link(path: Path) -> None:
    link_out(path)
    (path.parent / "elsewhere").write_text("print(2)")
    (path.parent / "elsewhere").unlink()


def write_through_a_mapping(path: Path) -> None:
    with (path / "work" / "a.py").open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    mapping[6:7] = b"2"
    mapping.close()


@pytest.mark.parametrize(
    "change",
    [
        write_same_size,
        write_through_a_link,
        write_through_a_mapping,
        replace_file,
        link_out,
        lambda path: (path / "work" / "new").touch(),
        lambda path: (path / "work" / "sub" / "new").touch(),
        lambda path: (path / "work" / "link").unlink(),
        lambda path: (path / "work" / "a.py").chmod(0o600),
        lambda path: (path / "work" / "sub").chmod(0o700),
        lambda path: (path / "tmp" / "left").touch(),
        lambda path: (path / "files" / "0").touch(),
        lambda path: (path / "overlay").mkdir(),
        lambda path: (path / "tmp").rename(path / "temporary"),
        lambda path: replace_by_a_folder(path / "config.json"),
    ],
)
def test_a_changed_folder_never_serves_again(
    folders: Folders, tree: Path, change: Callable[[Path], None]
) -> None:
    path = ran(folders, "a.1", tree, change)
    folders.release("a.1", has_failed=False, may_pool=True)
    assert not folders.take("b.1", TREE, CONFIG)
    assert not path.exists()


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def test_a_changed_config_is_written_again(folders: Folders, tree: Path) -> None:
    ran(folders, "a.1", tree, lambda path: (path / "config.json").write_bytes(b"[]"))
    folders.release("a.1", has_failed=False, may_pool=True)
    assert folders.take("b.1", TREE, CONFIG)
    assert (folders.path("b.1") / "config.json").read_bytes() == CONFIG


def test_temporary_files_that_a_program_removed_are_no_change(folders: Folders, tree: Path) -> None:
    def use_tmp(path: Path) -> None:
        (path / "tmp" / "x").touch()
        (path / "tmp" / "x").unlink()
        (path / "records.jsonl").write_text("{}\n")

    ran(folders, "a.1", tree, use_tmp)
    folders.release("a.1", has_failed=False, may_pool=True)
    assert folders.take("b.1", TREE, CONFIG)
    assert not (folders.path("b.1") / "records.jsonl").exists()


@pytest.mark.parametrize("folders", ["by a look"], indirect=True)
def test_a_folder_too_young_to_prove_anything_is_replaced_by_a_new_copy(
    folders: Folders, tree: Path
) -> None:
    folders.fill("a.1", TREE, tree, CONFIG)
    folders.start("a.1")  # at once: a write of the same size might not show
    folders.release("a.1", has_failed=False, may_pool=True)
    assert not folders.path("a.1").exists()
    assert folders.take("b.1", TREE, CONFIG)
    assert (folders.path("b.1") / "work" / "a.py").read_text() == "print(1)"


@pytest.mark.parametrize("folders", ["by ear"], indirect=True)
def test_a_folder_that_was_listened_to_is_never_too_young(folders: Folders, tree: Path) -> None:
    inode = folders.fill("a.1", TREE, tree, CONFIG).stat().st_ino
    folders.start("a.1")
    folders.release("a.1", has_failed=False, may_pool=True)
    assert folders.take("b.1", TREE, CONFIG)
    assert folders.path("b.1").stat().st_ino == inode


def test_what_was_printed_and_let_go_of_is_no_change(folders: Folders, tree: Path) -> None:
    def use(path: Path) -> None:
        (path / "log.0").write_text("printed")
        (path / "log.0").unlink()

    path = ran(folders, "a.1", tree, use)
    inode = path.stat().st_ino
    for key, following in (("a.1", "b.1"), ("b.1", "c.1")):
        folders.release(key, has_failed=False, may_pool=True)
        assert folders.take(following, TREE, CONFIG)
    assert folders.path("c.1").stat().st_ino == inode


def test_a_change_after_a_look_is_seen_by_the_next_one(folders: Folders, tree: Path) -> None:
    ran(folders, "a.1", tree, lambda path: (path / "records.jsonl").touch())
    folders.release("a.1", has_failed=False, may_pool=True)
    ran(folders, "b.1", tree, write_same_size)
    folders.release("b.1", has_failed=False, may_pool=True)
    assert not folders.take("c.1", TREE, CONFIG)


def test_folders_of_another_tree_are_not_used(folders: Folders, tree: Path) -> None:
    ran(folders, "a.1", tree)
    folders.release("a.1", has_failed=False, may_pool=True)
    assert not folders.take("b.1", "e" * 64, CONFIG)


def test_the_last_failed_folders_are_kept_also_across_a_restart(
    folders: Folders, tree: Path, tmp_path: Path
) -> None:
    for number in range(KEPT + 3):
        folders.fill(f"i{number:02}.1", TREE, tree, CONFIG)
        folders.release(f"i{number:02}.1", has_failed=True, may_pool=False)
    names = sorted(path.name for path in (tmp_path / "attempts").iterdir())
    assert names == [f"i{number:02}.1" for number in range(3, KEPT + 3)]
    again = Folders(tmp_path / "attempts", later=lambda call: call())
    (tmp_path / "attempts" / "gone.1").mkdir()
    (tmp_path / "attempts" / "live.1").mkdir()
    again.sweep(["live.1"])
    left = sorted(path.name for path in (tmp_path / "attempts").iterdir())
    assert left == [*names, "live.1"]


def test_a_folder_whose_program_took_all_rights_away_is_removed(
    folders: Folders, tree: Path
) -> None:
    def lock(path: Path) -> None:
        (path / "work" / "sub").chmod(0)
        (path / "work").chmod(0o500)

    path = ran(folders, "a.1", tree, lock)
    folders.release("a.1", has_failed=False, may_pool=False)
    assert not path.exists()
