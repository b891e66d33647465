"""Where a project's packages are, and what an overlay makes of it."""

from __future__ import annotations

import stat
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from shipway.builders.needs.layout import Layout, NotThin, read_layout
from shipway.builders.needs.overlay import Layer
from shipway.plugins.errors import PermanentError

NAMED = '[project]\nname = "My.Pkg"\nversion = "1.2"\n'


def backend(name: str) -> str:
    return f'[build-system]\nrequires = []\nbuild-backend = "{name}"\n'


def layout_of(folder: Path, files: dict[str, str]) -> Layout:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return read_layout(folder)


HATCH, SETUPTOOLS = backend("hatchling.build"), backend("setuptools.build_meta")
SRC = {"src/my_pkg/__init__.py": ""}
FLAT = {"my_pkg/__init__.py": ""}


@pytest.mark.parametrize(
    ("text", "files", "roots", "links"),
    [
        (HATCH, SRC, ("src",), {}),
        (HATCH, FLAT, ("",), {}),
        (HATCH + '[tool.hatch.build.targets.wheel]\npackages = ["lib/foo"]\n', {}, ("lib",), {}),
        (HATCH + '[tool.hatch.build]\ndev-mode-dirs = ["code"]\n', {}, ("code",), {}),
        (
            HATCH + '[tool.hatch.build.targets.wheel.sources]\n"lib" = "foo"\n',
            {},
            (),
            {"foo": "lib"},
        ),
        (SETUPTOOLS, SRC, ("src",), {}),
        (SETUPTOOLS, FLAT, ("",), {}),
        (SETUPTOOLS + '[tool.setuptools.packages.find]\nwhere = ["lib"]\n', {}, ("lib",), {}),
        (SETUPTOOLS + '[tool.setuptools]\npackage-dir = {foo = "a/b"}\n', {}, (), {"foo": "a/b"}),
        (
            SETUPTOOLS,
            {"setup.cfg": "[options]\npackage_dir =\n    = python\npackages = find:\n"},
            ("python",),
            {},
        ),
        ("", SRC, ("src",), {}),
        (
            backend("flit_core.buildapi") + '[tool.flit.module]\nname = "my_pkg"\n',
            SRC,
            ("src",),
            {},
        ),
        (backend("flit_core.buildapi"), {"my_pkg.py": ""}, ("",), {}),
        (backend("uv_build"), SRC, ("src",), {}),
        (
            backend("uv_build") + '[tool.uv.build-backend]\nmodule-root = ""\n',
            FLAT,
            ("",),
            {},
        ),
        (
            backend("poetry.core.masonry.api")
            + '[tool.poetry]\npackages = [{include = "foo", from = "lib"}]\n',
            {},
            ("lib",),
            {},
        ),
        (backend("pdm.backend"), SRC, ("src",), {}),
    ],
)
def test_common_backends_are_laid_thinly(
    tmp_path: Path, text: str, files: dict[str, str], roots: tuple[str, ...], links: dict[str, str]
) -> None:
    found = layout_of(tmp_path, {"pyproject.toml": NAMED + text, **files})
    assert (found.roots, found.links) == (roots, links)
    assert (found.name, found.version) == ("My.Pkg", "1.2")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"pyproject.toml": NAMED + backend("maturin")}, "maturin"),
        ({"pyproject.toml": NAMED + backend("scikit_build_core.build")}, "scikit_build_core"),
        ({"pyproject.toml": NAMED + backend("mesonpy")}, "mesonpy"),
        ({"setup.py": "setup(ext_modules=cythonize('a.pyx'))"}, "extension modules"),
        ({"setup.py": "setup(cmdclass={})"}, "cmdclass"),
        ({"setup.py": "setup(**read())"}, "computed"),
        ({"setup.py": "setup(packages=find_packages(where=HERE))"}, "computes where"),
        (
            {"pyproject.toml": NAMED + HATCH + "[tool.hatch.build.hooks.custom]\n"},
            "runs hooks: custom",
        ),
    ],
)
def test_what_needs_its_backend_is_not_thin(
    tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    with pytest.raises(NotThin, match=reason):
        layout_of(tmp_path, files)


def test_setup_py_is_read_but_never_run(tmp_path: Path) -> None:
    text = """
from setuptools import setup, find_packages
open("ran", "w")
setup(name="old", version="2", package_dir={"": "lib"}, packages=find_packages("lib"),
      long_description=open("README").read(),
      entry_points={"console_scripts": ["old = old.cli:main"]})
"""
    found = layout_of(tmp_path, {"setup.py": text})
    assert (found.name, found.version, found.roots) == ("old", "2", ("lib",))
    assert found.entry_points == {"console_scripts": {"old": "old.cli:main"}}
    assert not (tmp_path / "ran").exists()


def test_a_dynamic_version_is_looked_up(tmp_path: Path) -> None:
    text = '[project]\nname = "my_pkg"\ndynamic = ["version"]\n' + HATCH
    files = {"pyproject.toml": text, "src/my_pkg/__init__.py": '__version__ = "3.4"\n'}
    assert layout_of(tmp_path, files).version == "3.4"


def test_a_place_outside_of_the_project_is_refused(tmp_path: Path) -> None:
    text = NAMED + SETUPTOOLS + '[tool.setuptools]\npackage-dir = {"" = "../../etc"}\n'
    with pytest.raises(PermanentError, match="outside of it"):
        layout_of(tmp_path, {"pyproject.toml": text})


def laid(tmp_path: Path, layout: Layout, python: str = "/envs/1/bin/python") -> Path:
    project = tmp_path / "work"
    project.mkdir()
    layer = Layer(site=tmp_path / "site", scripts=tmp_path / "bin", python=Path(python))
    layer.lay(layout, project)
    layer.close()
    return tmp_path / "site"


def a_layout(**changes: object) -> Layout:
    facts: dict[str, object] = {"name": "My.Pkg", "version": "1.2", "roots": ("src",)}
    return Layout(**{**facts, **changes})  # type: ignore[arg-type] # a test's own facts


def test_an_overlay_tells_of_its_project(tmp_path: Path) -> None:
    points = {"console_scripts": {"go": "my.cli:main"}, "plugs": {"a": "my:plug"}}
    layout = a_layout(
        entry_points=points,
        requires=("six", "toml ; python_version < '4'"),
        extras={"x": ("tqdm ; sys_platform == 'linux'",)},
    )
    site = laid(tmp_path, layout)
    found = PathDistribution(site / "my_pkg-1.2.dist-info")
    assert (found.metadata["Name"], found.version) == ("My.Pkg", "1.2")
    assert {(p.group, p.name, p.value) for p in found.entry_points} == {
        ("console_scripts", "go", "my.cli:main"),
        ("plugs", "a", "my:plug"),
    }
    assert found.requires is not None
    assert "tqdm ; (sys_platform == 'linux') and extra == \"x\"" in found.requires
    assert found.files is not None
    assert all(file.locate().exists() for file in found.files)
    assert (site / "shipway_projects.pth").read_text() == f"{tmp_path}/work/src\n"


def test_a_script_starts_the_environments_python(tmp_path: Path) -> None:
    layout = a_layout(entry_points={"console_scripts": {"go": "my.cli:App.main [extra]"}})
    laid(tmp_path, layout)
    script = tmp_path / "bin" / "go"
    assert script.stat().st_mode & stat.S_IXUSR
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/envs/1/bin/python"
    assert "from my.cli import App" in lines
    assert "    sys.exit(App.main())" in lines


def test_a_long_place_is_started_through_sh(tmp_path: Path) -> None:
    layout = a_layout(entry_points={"gui_scripts": {"go": "my:main"}})
    laid(tmp_path, layout, python=f"/{'x' * 200}/bin/python")
    assert (tmp_path / "bin" / "go").read_text().startswith("#!/bin/sh\n'''exec' \"/xxx")


@pytest.mark.parametrize("point", [("../up", "a:b"), ("go", "a b:c"), ("go", "a")])
def test_a_script_that_is_none_is_refused(tmp_path: Path, point: tuple[str, str]) -> None:
    with pytest.raises(PermanentError, match="module:function"):
        laid(tmp_path, a_layout(entry_points={"console_scripts": dict([point])}))


def test_an_attempt_may_be_laid_twice(tmp_path: Path) -> None:
    layout = a_layout(links={"foo": "lib"})
    laid(tmp_path, layout)
    (tmp_path / "work").rmdir()
    assert (laid(tmp_path, layout) / "foo").readlink() == tmp_path / "work/lib"
