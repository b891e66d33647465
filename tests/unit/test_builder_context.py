"""What is sent to an engine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shipway.builders.container.context import read_context, settle
from shipway.plugins.errors import PermanentError


def write(tree: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    return tree


def paths(tree: Path, dockerfile: Path | None = None) -> list[str]:
    return [one.path for one in read_context(tree, dockerfile=dockerfile).entries]


def test_folders_come_before_what_is_in_them(tmp_path: Path) -> None:
    write(tmp_path, {"b/c/d": "1", "a": "22"})
    context = read_context(tmp_path)
    assert [one.path for one in context.entries] == ["a", "b", "b/c", "b/c/d"]
    assert (context.files, context.size) == (2, 3)


def test_what_comes_back_brings_its_folders(tmp_path: Path) -> None:
    write(tmp_path, {".dockerignore": "d\n!d/e/keep\n", "d/e/keep": "", "d/e/no": "", "d/f/no": ""})
    assert paths(tmp_path) == ["d", "d/e", "d/e/keep"]


def test_the_ignore_file_of_the_dockerfile_counts_first(tmp_path: Path) -> None:
    files = {".dockerignore": "a", ".containerignore": "b", "a": "", "b": "", "own": ""}
    write(tmp_path, {**files, "own.dockerignore": "b\n"})
    assert paths(tmp_path) == ["b", "own", "own.dockerignore"]
    assert paths(tmp_path, tmp_path / "own") == ["a", "own", "own.dockerignore"]
    (tmp_path / ".dockerignore").unlink()
    assert paths(tmp_path) == ["a", "own", "own.dockerignore"]


def test_the_name_of_a_context_is_that_of_its_content(tmp_path: Path) -> None:
    write(tmp_path, {"a": "1", "d/b": "2"})
    (tmp_path / "link").symlink_to("a")
    known = {read_context(tmp_path).digest()}
    os.utime(tmp_path / "a", (1, 1))
    assert read_context(tmp_path).digest() in known
    for change in (
        lambda: (tmp_path / "a").write_text("3"),
        lambda: (tmp_path / "a").chmod(0o755),
        lambda: (tmp_path / "a").rename(tmp_path / "c"),
        lambda: ((tmp_path / "link").unlink(), (tmp_path / "link").symlink_to("c")),
        (tmp_path / "empty").mkdir,
    ):
        change()
        assert read_context(tmp_path).digest() not in known
        known.add(read_context(tmp_path).digest())


def test_modes_and_links_are_laid_out_as_they_are(tmp_path: Path) -> None:
    tree = write(tmp_path / "tree", {"run.sh": "x", "d/f": "y"})
    (tree / "run.sh").chmod(0o755)
    (tree / "out").symlink_to("/etc/hostname")
    os.mkfifo(tree / "pipe")
    read_context(tree).lay_out(tmp_path / "laid")
    settle(tmp_path / "laid")
    laid = tmp_path / "laid"
    assert stat.S_IMODE((laid / "run.sh").stat().st_mode) == 0o755
    assert (laid / "out").readlink() == Path("/etc/hostname")
    assert not (laid / "pipe").exists()
    assert {(laid / name).stat().st_mtime for name in ("run.sh", "d", "d/f")} == {315_619_200}
    assert read_context(laid).digest() == read_context(tree).digest()


def test_an_ignore_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").symlink_to("/etc/passwd")
    with pytest.raises(PermanentError, match=r"\.dockerignore is a link"):
        read_context(tmp_path)
