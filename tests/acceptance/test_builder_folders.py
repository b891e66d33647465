"""Members of workspaces and folders beside a project are part of each attempt's own code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shipway.plugins.errors import PermanentError
from tests.support.uv_bench import HATCH, Bench, uv

APP = """
[project]
name = "my-app"
version = "1.0"
requires-python = ">=3.9"
dependencies = ["six"]
"""
MEMBER = '[project]\nname = "{}"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = {}\n'
APP_WITH_LIB = {
    "app/pyproject.toml": MEMBER.format("app", '["lib", "toml"]')
    + '[tool.uv.sources]\nlib = { path = "../lib", editable = true }\n',
    "app/main.py": "import lib, deep, six, toml\nprint(lib.x, deep.y)\n",
    "lib/pyproject.toml": MEMBER.format("lib", '["deep"]')
    + '[tool.uv.sources]\ndeep = { path = "deep" }\n'
    + HATCH,
    "lib/src/lib/__init__.py": "x = 5\n",
    "lib/deep/pyproject.toml": MEMBER.format("deep", '["six"]') + HATCH,
    "lib/deep/deep.py": "y = 6\n",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builder")


@pytest.fixture
def bench(tmp_path: Path, shared: Path) -> Bench:
    """Give a bench of its own, whose package cache is shared by this file's tests."""
    bench = Bench(tmp_path)
    bench.cache.mkdir()
    (shared / "uv").mkdir(exist_ok=True)
    (bench.cache / "uv").symlink_to(shared / "uv")
    return bench


@pytest.mark.parametrize("is_locked", [True, False])
def test_a_member_of_a_workspace_gets_its_own_dependencies(
    bench: Bench, *, is_locked: bool
) -> None:
    member = '[project]\nname = "{}"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = {}\n'
    files = {
        "pyproject.toml": APP + '[tool.uv.workspace]\nmembers = ["packages/*"]\n',
        "packages/a/pyproject.toml": member.format("aa", '["bb", "toml"]')
        + "[tool.uv.sources]\nbb = { workspace = true }\n"
        + HATCH,
        "packages/a/src/aa/__init__.py": "",
        "packages/b/pyproject.toml": member.format("bb", '["iniconfig"]') + HATCH,
        "packages/b/bb/__init__.py": "x = 7\n",
        "packages/a/main.py": (
            "import aa, bb, toml, iniconfig, importlib.util as u\nprint(bb.x, u.find_spec('six'))\n"
        ),
    }
    tree = bench.tree(files)
    if is_locked:
        uv("lock", cwd=tree)
    made = bench.build(tree, "packages/a")
    assert made.facts["kind"] == ("uv.lock" if is_locked else "pyproject.toml")
    assert bench.run(made, tree, "python", "main.py", start="packages/a") == "7 None"


@pytest.mark.parametrize("is_locked", [True, False])
def test_folders_beside_the_project_come_with_each_attempt(
    bench: Bench, *, is_locked: bool
) -> None:
    tree = bench.tree(APP_WITH_LIB)
    if is_locked:
        uv("lock", cwd=tree / "app")
    made = bench.build(tree, "app")
    assert bench.run(made, tree, "python", "main.py", start="app") == "5 6"
    assert not list(made.path.rglob("deep.py")), "the environment is shared: no code of a source"
    newer = bench.tree({**APP_WITH_LIB, "lib/deep/deep.py": "y = 7\n"})
    if is_locked:
        uv("lock", cwd=newer / "app")
    again = bench.build(newer, "app")
    assert again.path == made.path
    assert bench.run(again, newer, "python", "main.py", start="app") == "5 7"


def test_a_folder_s_new_dependency_is_resolved(bench: Bench) -> None:
    bench.build(bench.tree(APP_WITH_LIB), "app")
    needs = MEMBER.format("deep", '["six", "iniconfig"]') + HATCH
    files = {
        **APP_WITH_LIB,
        "lib/deep/pyproject.toml": needs,
        "app/main.py": "import lib, iniconfig\nprint(lib.x)\n",
    }
    tree = bench.tree(files)
    made = bench.build(tree, "app")
    assert bench.run(made, tree, "python", "main.py", start="app") == "5"


@pytest.mark.parametrize("is_locked", [True, False])
def test_a_workspace_without_a_project_of_its_own_gives_all_its_members(
    bench: Bench, *, is_locked: bool
) -> None:
    files = {
        "pyproject.toml": '[tool.uv.workspace]\nmembers = ["packages/*"]\n',
        "packages/a/pyproject.toml": MEMBER.format("aa", '["bb", "toml"]')
        + "[tool.uv.sources]\nbb = { workspace = true }\n"
        + HATCH,
        "packages/a/src/aa/__init__.py": "",
        "packages/b/pyproject.toml": MEMBER.format("bb", '["six"]') + HATCH,
        "packages/b/src/bb/__init__.py": "x = 7\n",
        "experiments/main.py": "import aa, bb, toml, six\nprint(bb.x)\n",
    }
    tree = bench.tree(files)
    if is_locked:
        uv("lock", cwd=tree)
    made = bench.build(tree, "experiments")
    assert bench.run(made, tree, "python", "main.py", start="experiments") == "7"


def test_a_script_s_header_may_name_a_folder(bench: Bench) -> None:
    header = (
        '# /// script\n# dependencies = ["lib"]\n# [tool.uv.sources]\n'
        '# lib = { path = "./lib" }\n# ///\n'
    )
    files = {
        "main.py": header + "import lib, six\nprint(lib.x)\n",
        "lib/pyproject.toml": MEMBER.format("lib", '["six"]') + HATCH,
        "lib/lib.py": "x = 5\n",
    }
    tree = bench.tree(files)
    made = bench.build(tree)
    assert bench.run(made, tree, "python", "main.py") == "5"


OUTSIDE = '[tool.uv.sources]\nlib = { path = "../../lib" }\n'


@pytest.mark.parametrize("is_locked", [True, False])
def test_a_folder_outside_of_the_source_is_refused(bench: Bench, *, is_locked: bool) -> None:
    lib = bench.root.parent / "lib"
    lib.mkdir(exist_ok=True)
    (lib / "pyproject.toml").write_text(MEMBER.format("lib", "[]") + HATCH)
    (lib / "lib.py").write_text("")
    tree = bench.tree({"pyproject.toml": MEMBER.format("app", '["lib"]') + OUTSIDE})
    if is_locked:
        uv("lock", cwd=tree)
    with pytest.raises(PermanentError, match=r"'../../lib', which lies outside of the source"):
        bench.build(tree)


@pytest.mark.parametrize("is_locked", [True, False])
def test_a_folder_that_was_not_submitted_is_named(bench: Bench, *, is_locked: bool) -> None:
    tree = bench.tree(APP_WITH_LIB)
    if is_locked:
        uv("lock", cwd=tree / "app")
    shutil.rmtree(tree / "lib/deep")
    with pytest.raises(PermanentError, match=r"deep', which is not in the source: if git ignores"):
        bench.build(tree, "app")
