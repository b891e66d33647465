"""Folders that a project depends on by path are found, and must be in its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from shipway.builders.needs.inputs import Input, choose
from shipway.builders.needs.local import local_places
from shipway.plugins.errors import PermanentError

PROJECT = '[project]\nname = "{}"\nversion = "1"\ndependencies = {}\n'
SOURCES = "[tool.uv.sources]\n"


def chosen(tree: Path, files: dict[str, str], start: str = "") -> Input:
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    return choose(tree, tree / start, ("main.py",), None)


def places(tree: Path, files: dict[str, str], start: str = "") -> list[str]:
    found = local_places(chosen(tree, files, start), tree)
    return [place.relative_to(tree).as_posix() for place in found]


def test_folders_of_folders_are_found_once(tmp_path: Path) -> None:
    files = {
        "app/pyproject.toml": PROJECT.format("app", '["a", "b"]')
        + SOURCES
        + 'a = { path = "../a" }\nb = [{ path = "../b", marker = "os_name == \'nt\'" }]\n',
        "a/pyproject.toml": PROJECT.format("a", '["b"]') + SOURCES + 'b = { path = "../b" }\n',
        "b/pyproject.toml": PROJECT.format("b", '["a"]') + SOURCES + 'a = { path = "../a" }\n',
    }
    assert places(tmp_path, files, "app") == ["a", "b"]


def test_members_and_a_script_s_header_name_folders_too(tmp_path: Path) -> None:
    member = PROJECT.format("m", '["c @ file:../../c"]')
    files = {
        "pyproject.toml": '[tool.uv.workspace]\nmembers = ["packages/*"]\n',
        "packages/m/pyproject.toml": member,
        "c/setup.py": "",
    }
    assert places(tmp_path, files) == ["c"]
    header = '# /// script\n# dependencies = ["c"]\n# [tool.uv.sources]\n# c.path = "c"\n# ///\n'
    assert places(tmp_path, {"main.py": header}) == ["c"]


def test_a_source_that_nothing_depends_on_is_not_looked_at(tmp_path: Path) -> None:
    text = PROJECT.format("app", '["Other_name"]') + SOURCES
    text += 'gone = { path = "../gone" }\nother-name = { path = "here" }\n'
    assert places(tmp_path, {"pyproject.toml": text, "here/setup.py": ""}) == ["here"]


@pytest.mark.parametrize(
    "place",
    ["../lib", "lib/../../lib", "/lib", "../{tree}-more/lib"],
    ids=["up", "by", "abs", "as"],
)
def test_a_place_outside_of_the_source_is_refused(tmp_path: Path, place: str) -> None:
    named = place.format(tree=tmp_path.name)
    text = PROJECT.format("app", '["lib"]') + SOURCES + f'lib = {{ path = "{named}" }}\n'
    with pytest.raises(PermanentError, match=r"pyproject.toml depends on .* lies outside"):
        places(tmp_path, {"pyproject.toml": text})


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    text = PROJECT.format("app", '["lib @ file:lib.whl"]')
    with pytest.raises(PermanentError, match=r"'lib.whl', which is not in the source"):
        places(tmp_path, {"pyproject.toml": text})
