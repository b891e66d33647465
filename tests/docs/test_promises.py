"""Every promise names tests that are there, and every seeded bug stands behind its promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/explanation/promises.md"
ENTRY = re.compile(r"^- \*\*(I\d+)\*\* (.*?)(?=^- \*\*I|^## )", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"\[(test_\w+)\]\((\S+?\.py)\)")
SEEDED = re.compile(r"`([a-z0-9-]+-[a-z0-9-]+)`")
PROMISES = [f"I{number}" for number in range(1, 26)]
NOT_YET = "*Not yet.*"


def entries() -> dict[str, str]:
    return {promise: " ".join(text.split()) for promise, text in ENTRY.findall(PAGE.read_text())}


def test_every_promise_has_a_line() -> None:
    assert list(entries()) == PROMISES


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_is_guarded_by_tests_that_are_there(promise: str) -> None:
    text = entries()[promise]
    tests = TEST.findall(text)
    assert bool(tests) is (NOT_YET not in text)
    for name, path in tests:
        assert f"def {name}(" in (PAGE.parent / path).read_text(), f"{path} has no {name}"


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_names_its_seeded_bugs(promise: str) -> None:
    _, _, said = entries()[promise].partition("; seeded: ")
    seeded = (ROOT / "tests/seeded").glob(f"I{int(promise[1:]):02d}-*.patch")
    assert sorted(SEEDED.findall(said)) == sorted(path.stem.split("-", 1)[1] for path in seeded)
