"""`.dockerignore` as docker reads it."""

from __future__ import annotations

import time

import pytest

from shipway.builders.container.ignore import DockerIgnore
from shipway.plugins.errors import PermanentError


@pytest.mark.parametrize(
    ("text", "out", "stays"),
    [
        ("*.pyc", ["a.pyc"], ["d/a.pyc", "a.py"]),
        ("**/*.pyc", ["a.pyc", "d/a.pyc", "d/e/a.pyc"], ["a.py"]),
        ("data", ["data", "data/x", "data/d/x"], ["d/data", "data2"]),
        ("/data/", ["data/x"], ["d/data/x"]),
        ("a/**", ["a/x", "a/d/x"], ["a", "b/x"]),
        ("a/**/b", ["a/b", "a/c/b", "a/c/d/b", "a/b/x"], ["a/bc", "b"]),
        ("**/a*b/c", ["a/x/ab/c", "axb/c", "x/a/a/axb/c"], ["a/x/c"]),
        ("**/a/**/b?c", ["a/bxc", "a/a/x/bxc"], ["a/b/c"]),
        ("a**b", ["ab", "a/b", "a/c/b"], ["a/bc"]),
        ("foo**", ["foo", "foobar", "foobar/x"], ["fo"]),
        ("x[0-9]", ["x1"], ["xa", "x/"]),
        ("x[^0-9]", ["xa"], ["x1"]),
        (r"\*", ["*"], ["a"]),
        (r"\!a", ["!a"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("# no\n\n  a  \n", ["a"], ["# no"]),
        ("*\n!keep", ["x", "d/x"], ["keep", "keep/x"]),
        ("d\n!d/keep\n", ["d/x", "d"], ["d/keep", "d/keep/x"]),
        ("!a\na", ["a"], []),
        ("a\n!a\na", ["a"], []),
        (".", [], ["a"]),
        ("d/../a", ["a"], ["d"]),
        ("\ufeffa", ["a"], []),
        ("a\r\nb\r\n", ["a", "b"], []),
    ],
)
def test_patterns_are_read_as_docker_reads_them(
    text: str, out: list[str], stays: list[str]
) -> None:
    rules = DockerIgnore.parse(text)
    assert [path for path in [*out, *stays] if rules.leaves_out(path)] == out


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ok\n!", r"\.dockerignore, line 2, '!': '!' alone"),
        ("a[b", "has no"),
        ("[z-a]", "bad character range"),
        ("a\\", "stands before nothing"),
        ("a" * 1001, "at most 1000 characters"),
        ("a**b**c**d**e", r"more than 2 times"),
    ],
)
def test_a_line_that_docker_would_not_take_is_named(text: str, why: str) -> None:
    with pytest.raises(PermanentError, match=why):
        DockerIgnore.parse(text)


@pytest.mark.parametrize(
    "line", ["*a" * 400 + "b", "**/a/" * 150 + "b", "**/*a*a*a*b", "**/a/" * 100 + "*a*a/b"]
)
def test_no_pattern_keeps_anybody_busy(line: str) -> None:
    rules = DockerIgnore.parse(line)
    before = time.process_time()
    assert not rules.leaves_out("a/" * 400 + "a" * 400)
    assert time.process_time() - before < 0.1
