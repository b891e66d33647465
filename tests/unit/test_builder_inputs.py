"""What an environment is built from."""

from __future__ import annotations

from pathlib import Path

import pytest

from shipway.builders.needs.inputs import Input, Kind, choose
from shipway.plugins.errors import PermanentError

HATCH = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
PROJECT = '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.10"\n'
HEADER = '# /// script\n# dependencies = ["six"]\n# requires-python = ">=3.9"\n# ///\n'


def chosen(tree: Path, files: dict[str, str], start: str = "", **changes: str | None) -> Input:
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    (tree / start).mkdir(parents=True, exist_ok=True)
    entry = (changes.get("entry") or "main.py",)
    return choose(tree, tree / start, entry, changes.get("python"))


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"main.py": HEADER, "uv.lock": "", "pyproject.toml": PROJECT}, Kind.SCRIPT),
        (
            {"uv.lock": "", "pyproject.toml": PROJECT, "pylock.toml": "", "requirements.txt": ""},
            Kind.UV_LOCK,
        ),
        ({"pyproject.toml": PROJECT, "pylock.toml": "", "requirements.txt": ""}, Kind.PYLOCK),
        ({"pyproject.toml": PROJECT, "requirements.txt": ""}, Kind.REQUIREMENTS),
        ({"pyproject.toml": PROJECT}, Kind.PROJECT),
        ({"pyproject.toml": "[tool.ruff]\n"}, Kind.NONE),
        ({"uv.lock": ""}, Kind.NONE),
        ({"main.py": "print(1)\n"}, Kind.NONE),
    ],
)
def test_inputs_have_an_order(tmp_path: Path, files: dict[str, str], kind: Kind) -> None:
    assert chosen(tmp_path, files).kind is kind


def test_the_nearest_input_wins(tmp_path: Path) -> None:
    files = {"uv.lock": "", "pyproject.toml": PROJECT, "sub/requirements.txt": "six\n"}
    found = chosen(tmp_path, files, "sub")
    assert (found.kind, found.file) == (Kind.REQUIREMENTS, tmp_path / "sub/requirements.txt")


def test_the_search_goes_up_to_the_root_and_no_further(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tmp_path / "requirements.txt").write_text("six\n")
    assert chosen(tree, {"a/b/c.py": ""}, "a/b").kind is Kind.NONE
    assert chosen(tree, {"requirements.txt": "six\n"}, "a/b").folder == tree


def test_a_member_uses_the_lock_of_its_workspace(tmp_path: Path) -> None:
    root = PROJECT + '[tool.uv.workspace]\nmembers = ["packages/*"]\nexclude = ["packages/old"]\n'
    files = {
        "uv.lock": "",
        "pyproject.toml": root,
        "packages/a/pyproject.toml": PROJECT + HATCH,
        "packages/old/pyproject.toml": PROJECT,
    }
    found = chosen(tmp_path, files, "packages/a")
    assert (found.kind, found.folder) == (Kind.UV_LOCK, tmp_path)
    assert found.member == found.project == tmp_path / "packages/a"
    assert chosen(tmp_path, {}, "packages/old").kind is Kind.PROJECT


def test_python_is_asked_for_in_an_order(tmp_path: Path) -> None:
    files = {"pyproject.toml": PROJECT, ".python-version": "# ours\n3.11\n3.12\n"}
    assert [w.text for w in chosen(tmp_path, files).wanted] == ["3.11", "3.12"]
    assert [w.text for w in chosen(tmp_path, {}, python="pypy3").wanted] == ["pypy3"]
    (tmp_path / ".python-version").unlink()
    assert [w.text for w in chosen(tmp_path, {}).wanted] == [">=3.10"]
    assert chosen(tmp_path / "other", {}).wanted == ()


def test_a_scripts_header_brings_its_python(tmp_path: Path) -> None:
    found = chosen(tmp_path, {"train.py": HEADER, "pyproject.toml": PROJECT}, entry="train.py")
    assert [w.text for w in found.wanted] == [">=3.9"]
    assert found.project is None


def test_a_script_outside_of_the_tree_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(HEADER)
    assert chosen(tmp_path / "tree", {"a": ""}, entry="../evil.py").kind is Kind.NONE


@pytest.mark.parametrize(
    ("files", "is_project"),
    [
        ({"pyproject.toml": PROJECT + HATCH}, True),
        ({"pyproject.toml": PROJECT}, False),
        ({"pyproject.toml": PROJECT + '[project.scripts]\na = "b:c"\n'}, True),
        ({"pyproject.toml": PROJECT, "src/x/__init__.py": ""}, True),
        ({"pyproject.toml": PROJECT + HATCH + "[tool.uv]\npackage = false\n"}, False),
        ({"setup.py": "from setuptools import setup\nsetup()\n"}, True),
        ({"setup.cfg": "[flake8]\n"}, False),
        ({"setup.cfg": "[options]\npackages = find:\n"}, True),
    ],
)
def test_a_project_is_what_can_be_installed(
    tmp_path: Path, files: dict[str, str], *, is_project: bool
) -> None:
    assert (chosen(tmp_path, files).project is not None) is is_project


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"pyproject\.toml is not valid TOML"):
        chosen(tmp_path, {"pyproject.toml": "[project\n"})


def test_a_python_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="names no Python"):
        chosen(tmp_path, {}, python="/usr/bin/python3")
