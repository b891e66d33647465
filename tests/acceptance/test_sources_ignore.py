"""Our reading of ignore files is git's own: both judge the same paths.

Slow for a unit test because it asks the real git; it earns that every pattern form agrees.
"""

from __future__ import annotations

import subprocess
from itertools import product
from pathlib import Path

import pytest

from shipway.sdk.ignore import GITIGNORE, IgnoreRules, pattern_for

PATTERNS = [
    "*.log",
    "build/",
    "/build",
    "a/b",
    "a/**/c",
    "**/c",
    "a/**",
    "**",
    "*",
    "*\n!a\n!a/keep.txt",
    "a/*\n!a/keep.txt",
    "!x\nx",
    "x\n!x",
    "[ab].txt",
    "[!a].txt",
    "[^a].txt",
    "[a-c]*",
    "[]-]x",
    "[[:digit:]].txt",
    "[a",
    "a?c",
    "a*c",
    "a**c",
    "\\!bang",
    "\\#hash",
    "#hash",
    "space\\ ",
    "space ",
    "trail   ",
    "\\*",
    "a\\/b",
    "a/",
    "/",
    "//",
    "/a/b/",
    "**/b/**",
    "b/**/",
    "crlf\r",
    "\ufeffbom",
    "foo/**/bar/*.txt",
    "é*",
    "?",
    ".*",
]
PATHS = [
    *("/".join(parts) for size in (1, 2, 3) for parts in product("abc", repeat=size)),
    "x.log",
    "a/x.log",
    "build/x",
    "a/build/x",
    "build",
    "a/keep.txt",
    "a.txt",
    "b.txt",
    "1.txt",
    "]x",
    "-x",
    "abc",
    "ac",
    "a/x/y/c",
    "!bang",
    "#hash",
    "space ",
    "space",
    "trail",
    "*",
    "[a",
    "crlf",
    "bom",
    "foo/bar/x.txt",
    "foo/a/b/bar/x.txt",
    "élan",
    ".hidden",
    "x",
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ignore")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def ignored_by_git(repository: Path, paths: list[str]) -> set[str]:
    done = subprocess.run(
        ["git", "-c", "core.excludesFile=/dev/null", "check-ignore", "--stdin", "-z", "--no-index"],
        cwd=repository,
        input="\0".join(paths).encode(),
        capture_output=True,
        check=False,
    )
    return {path for path in done.stdout.decode().split("\0") if path}


@pytest.mark.parametrize("patterns", PATTERNS, ids=repr)
def test_every_form_of_pattern_means_what_it_means_to_git(repository: Path, patterns: str) -> None:
    (repository / ".gitignore").write_bytes(patterns.encode() + b"\n")
    rules = IgnoreRules(
        lambda path: (repository / path.decode()).read_bytes() if path == GITIGNORE else b"",
        (GITIGNORE,),
    )
    ours = {path for path in PATHS if rules.is_ignored(path.encode())}
    assert ours == ignored_by_git(repository, PATHS)


def test_deeper_files_win_over_higher_ones() -> None:
    files = {b".gitignore": b"*.txt\n", b"a/.gitignore": b"!keep.txt\nlocal\n"}
    rules = IgnoreRules(lambda path: files.get(path, b""), (GITIGNORE,))
    assert rules.is_ignored(b"x.txt")
    assert rules.is_ignored(b"b/keep.txt")
    assert not rules.is_ignored(b"a/keep.txt")
    assert not rules.is_ignored(b"a/b/keep.txt")
    assert rules.is_ignored(b"a/b/local")
    assert not rules.is_ignored(b"local")


@pytest.mark.parametrize("path", [b"a b ", b"x*y", b"[z]", b"q?", b"b\\c", b"!n", b"#h", b"d/e"])
def test_the_line_that_an_error_names_leaves_out_that_path_alone(path: bytes) -> None:
    line = pattern_for(path).encode() + b"\n"
    rules = IgnoreRules(lambda name: line if name == GITIGNORE else b"", (GITIGNORE,))
    assert rules.is_ignored(path)
    assert not rules.is_ignored(path + b"x")
    assert not rules.is_ignored(b"other/" + path)
