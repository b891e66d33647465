"""Which Python a wish means."""

from __future__ import annotations

import pytest

from shipway.builders.needs.versions import Wanted, allows, parse
from shipway.builders.uv.pythons import Python, choose
from shipway.plugins.errors import PermanentError


def a_python(version: str, implementation: str = "cpython", **changes: object) -> Python:
    facts = {
        "path": f"/opt/{implementation}-{version}/bin/python",
        "implementation": implementation,
        "version": tuple(int(part) for part in version.split(".")),
        "is_final": True,
        "is_free_threaded": False,
        "build": "b",
        "platform": "linux-x86_64",
    }
    return Python(**{**facts, **changes})  # type: ignore[arg-type] # a test's own facts


FOUND = [a_python("3.13.0"), a_python("3.11.7"), a_python("3.11.2"), a_python("3.9.16", "pypy")]


def wish(text: str) -> Wanted:
    found = parse(text, "a test")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3.11", "CPython 3.11.7"),
        ("3.11.2", "CPython 3.11.2"),
        ("3", "CPython 3.13.0"),
        ("python3.11", "CPython 3.11.7"),
        ("cpython@3.13", "CPython 3.13.0"),
        ("pypy3", "PyPy 3.9.16"),
        ("pypy@3.9", "PyPy 3.9.16"),
        ("pypy3.9-7.3.11", "PyPy 3.9.16"),
        (">=3.10,<3.13", "CPython 3.11.7"),
        ("~=3.11.3", "CPython 3.11.7"),
        (">=3.8,!=3.13.*", "CPython 3.11.7"),
    ],
)
def test_a_wish_finds_the_best_interpreter(text: str, expected: str) -> None:
    assert str(choose(FOUND, [wish(text)])) == expected


def test_without_a_wish_it_is_the_newest() -> None:
    assert str(choose(FOUND, [])) == "CPython 3.13.0"


def test_the_first_wish_that_can_be_met_counts() -> None:
    assert str(choose(FOUND, [wish("3.12"), wish("3.11.2")])) == "CPython 3.11.2"


def test_one_that_is_not_there_names_those_found() -> None:
    with pytest.raises(PermanentError) as caught:
        choose(FOUND, [wish("3.14")])
    assert "'3.14'" in str(caught.value)
    assert "CPython 3.13.0" in str(caught.value)
    assert "PyPy 3.9.16" in str(caught.value)


def test_a_free_threaded_build_is_never_taken_unasked() -> None:
    free = a_python("3.13.1", is_free_threaded=True)
    assert choose([free, *FOUND], [wish("3.13")]) == FOUND[0]
    assert choose([free, *FOUND], [wish("3.13t")]) == free


@pytest.mark.parametrize("text", ["", "three", "3.11; rm", "/usr/bin/python", ">=x"])
def test_what_names_no_python_is_not_understood(text: str) -> None:
    assert parse(text, "a test") is None


@pytest.mark.parametrize(
    ("specifiers", "version", "expected"),
    [
        ("==3.11.*", (3, 11, 7), True),
        ("==3.11", (3, 11, 0), True),
        ("==3.11", (3, 11, 7), False),
        (">3.11", (3, 11, 7), True),
        ("<=3.11.7", (3, 11, 7), True),
        ("~=3.11", (3, 13, 0), True),
        ("~=3.11", (4, 0, 0), False),
        ("~=3.11.4", (3, 12, 0), False),
        ("", (3, 8, 0), True),
    ],
)
def test_specifiers_compare_as_releases_do(
    specifiers: str, version: tuple[int, ...], *, expected: bool
) -> None:
    assert allows(specifiers, version) is expected
