"""The uv builder with the real uv and small packages from the package index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shipway.builders.uv import UvBuilder
from shipway.plugins.builder import Environment
from shipway.plugins.errors import PermanentError, TemporaryError
from tests.support.uv_bench import HATCH, Bench, uv

APP = """
[project]
name = "my-app"
version = "1.0"
requires-python = ">=3.9"
dependencies = ["six"]
[project.optional-dependencies]
more = ["toml"]
[dependency-groups]
checks = ["iniconfig"]
"""
# Builds in a process of its own, saying each line of the build log.
BUILDING = """
import os, sys
from functools import partial
from pathlib import Path
from shipway.builders.uv import UvBuilder
from shipway.plugins.builder import BuildRequest
tree = Path(sys.argv[1])
made = UvBuilder().build(BuildRequest(
    tree=tree, start=tree, entry_point=("main.py",), cache=Path(sys.argv[2]),
    env=dict(os.environ), print=partial(print, flush=True),
))
print(made.is_cached, made.path)
"""
AWAY = "http://127.0.0.1:1"  # nobody listens there


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


def inputs() -> Iterator[Any]:
    """Yield every kind of input, each of which needs `six`."""
    header = '# /// script\n# dependencies = ["six"]\n# ///\nimport six\nprint(six.__name__)\n'
    main = "import six\nprint(six.__name__)\n"
    yield pytest.param({"main.py": header}, "main.py", id="script")
    yield pytest.param({"main.py": main, "pyproject.toml": APP}, "uv.lock", id="uv.lock")
    yield pytest.param({"main.py": main, "in.txt": "six\n"}, "pylock.toml", id="pylock")
    yield pytest.param(
        {"main.py": main, "requirements.txt": "-r more.txt\n", "more.txt": "six\n"},
        "requirements.txt",
        id="requirements",
    )
    yield pytest.param({"main.py": main, "pyproject.toml": APP}, "pyproject.toml", id="project")


@pytest.mark.parametrize(("files", "chosen"), list(inputs()))
def test_each_kind_of_input_gives_an_environment(
    bench: Bench, files: dict[str, str], chosen: str
) -> None:
    tree = bench.tree(files)
    if chosen == "uv.lock":
        uv("lock", cwd=tree)
    if chosen == "pylock.toml":
        uv("pip", "compile", "in.txt", "--format", "pylock.toml", "-o", chosen, cwd=tree)
    made = bench.build(tree)
    assert bench.run(made, tree, "python", "main.py") == "six"
    assert made.facts["input"] == chosen
    assert any(line.startswith(f"environment from {chosen}: ") for line in bench.said)
    is_locked = chosen in {"uv.lock", "pylock.toml"}
    assert (made.lock is None) is is_locked
    again = UvBuilder().build(bench.request(tree))
    assert (again.digest, again.path, again.is_cached) == (made.digest, made.path, True)


def test_without_an_input_there_is_still_a_python(bench: Bench) -> None:
    tree = bench.tree({"main.py": "import sys\nprint(len(sys.path) > 1)\n"})
    made = bench.build(tree)
    assert bench.run(made, tree, "python", "main.py") == "True"
    assert made.lock is None


def test_the_agents_interpreter_and_packages_are_never_seen(bench: Bench) -> None:
    text = """
import importlib.util, sys
for name in ("click", "fastapi", "pytest", "shipway.agent", "pip"):
    try:
        assert importlib.util.find_spec(name) is None, name
    except ModuleNotFoundError:
        pass
import shipway
print(sys.prefix, sys.path[-1], shipway.__file__)
"""
    tree = bench.tree({"main.py": text})
    short = ".".join(map(str, sys.version_info[:3]))
    made = bench.build(tree, python=short)
    prefix, last, ours = bench.run(made, tree, "python", "main.py").split()
    assert prefix == str(made.path)
    assert prefix != sys.prefix
    assert last == str(bench.root / "runside")
    assert ours.startswith(last)
    assert made.python is not None
    assert not made.python.resolve().is_relative_to(sys.prefix) or sys.prefix == sys.base_prefix


def test_many_at_once_build_it_once(bench: Bench) -> None:
    tree = bench.tree({"requirements.txt": "six\n"})
    env = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    argv = [sys.executable, "-c", BUILDING, str(tree), str(bench.cache)]
    other = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)
    found: list[Environment] = []
    try:
        threads = [
            threading.Thread(target=lambda: found.append(bench.builder.build(bench.request(tree))))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        out, _ = other.communicate(timeout=120)
    finally:
        other.kill()
        other.wait()
    cached, path = out.splitlines()[-1].split()
    built = [not made.is_cached for made in found] + [cached == "False"]
    assert built.count(True) == 1
    assert {str(made.path) for made in found} == {path}


def test_offline_works_when_the_cache_has_all(bench: Bench) -> None:
    tree = bench.tree({"requirements.txt": "six\n"})
    bench.build(tree)
    shutil.rmtree(bench.cache / "envs")
    shutil.rmtree(bench.cache / "resolved")
    away = {"HTTPS_PROXY": AWAY, "HTTP_PROXY": AWAY, "UV_HTTP_RETRIES": "0"}
    env = {**bench.request(tree).env, **away}
    bench.builder = UvBuilder()
    made = bench.build(tree, env=env)
    assert not made.is_cached
    assert bench.run(made, tree, "python", "-c", "import six; print(1)") == "1"


def test_offline_without_a_cache_says_what_is_away_and_lacking(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    tree = bench.tree({"requirements.txt": "six\n"})
    away = {"HTTPS_PROXY": AWAY, "HTTP_PROXY": AWAY, "UV_HTTP_RETRIES": "0"}
    with pytest.raises(TemporaryError, match=r"could not be reached, and uv's cache .* lacks six"):
        bench.build(tree, env={**bench.request(tree).env, **away})


def test_a_lock_that_does_not_resolve_fails_with_uvs_words(bench: Bench) -> None:
    tree = bench.tree({"requirements.txt": "six==99.1\n"})
    with pytest.raises(PermanentError, match=r"no version of six==99\.1"):
        bench.build(tree)
    tree = bench.tree({"pyproject.toml": APP.replace('"six"', '"six==99.1"')})
    with pytest.raises(PermanentError, match=r"six==99\.1"):
        bench.build(tree)


def test_a_python_that_is_not_there_fails_naming_those_found(bench: Bench) -> None:
    tree = bench.tree({".python-version": "3.99\n"})
    with pytest.raises(PermanentError, match=r"no Python '3\.99' .*\(found: .*CPython 3"):
        bench.build(tree)


def test_an_unlocked_input_is_resolved_once_and_pinned(bench: Bench) -> None:
    tree = bench.tree({"requirements.txt": "six\n"})
    first = bench.build(tree)
    assert first.lock is not None
    resolving = [line for line in bench.said if "pip compile" in line]
    bench.builder = UvBuilder()
    bench.said.clear()
    assert bench.build(tree).lock == first.lock
    assert not any("pip compile" in line for line in bench.said)
    refreshed = bench.build(tree, refresh=True)
    assert any("pip compile" in line and "--refresh" in line for line in bench.said)
    assert refreshed.lock == first.lock
    assert resolving
    older = first.lock.replace(b"six==1.17.0", b"six==1.16.0").split(b" \\")[0] + b"\n"
    pinned = bench.build(tree, lock=older, refresh=True)
    assert pinned.lock is None
    text = "import importlib.metadata as m; print(m.version('six'))"
    version = bench.run(pinned, tree, "python", "-c", text)
    assert version in older.decode()


def test_damage_is_noticed_and_never_handed_on(bench: Bench) -> None:
    tree = bench.tree({"requirements.txt": "six\n"})
    made = bench.build(tree)
    six = next(made.path.glob("lib/*/site-packages/six.py"))
    with six.open("a") as file:  # in place: through the hard link, into uv's cache too
        file.write("\nraise SystemExit('damaged')\n")
    other = bench.tree({"requirements.txt": "six\ntoml\n"})
    fresh = bench.build(other)
    assert any("damaged in uv's cache, fetched anew: six" in line for line in bench.said)
    assert bench.run(fresh, other, "python", "-c", "import six; print(1)") == "1"
    bench.builder = UvBuilder()
    mended = bench.build(tree)
    assert not mended.is_cached
    assert mended.path != made.path
    assert any("was changed since it was built" in line for line in bench.said)
    assert bench.run(mended, tree, "python", "-c", "import six; print(1)") == "1"


def test_what_a_program_installs_into_it_is_noticed(bench: Bench) -> None:
    tree = bench.tree({"requirements.txt": "six\n"})
    made = bench.build(tree)
    site = next(made.path.glob("lib/*/site-packages"))
    (site / "sneaked.py").write_text("")
    mended = UvBuilder().build(bench.request(tree))
    assert mended.path != made.path
    assert not next(mended.path.glob("lib/*/site-packages")).joinpath("sneaked.py").exists()


def test_a_half_built_environment_is_removed(bench: Bench) -> None:
    tree = bench.tree({"requirements.txt": "six\n"})
    made = bench.build(tree)
    generation = made.path.parent
    (generation / "seal.json").unlink()  # as a kill in the middle of a build leaves it
    (generation / "rest").write_text("")
    again = UvBuilder().build(bench.request(tree))
    assert not again.is_cached
    assert not generation.joinpath("rest").exists()
    assert bench.run(again, tree, "python", "-c", "import six; print(1)") == "1"


def test_a_builder_that_is_killed_leaves_nothing_in_the_way(bench: Bench) -> None:
    tree = bench.tree({"requirements.txt": "six\n"})
    bench.build(tree)  # so that the killed one is not stopped while it resolves
    shutil.rmtree(bench.cache / "envs")
    process = subprocess.Popen(
        [sys.executable, "-c", BUILDING, str(tree), str(bench.cache)],
        env={name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        while "uv pip install" not in (line := process.stdout.readline()):
            assert line, "it ended by itself"
    finally:
        process.kill()
        process.communicate()
    made = UvBuilder().build(bench.request(tree))
    assert not made.is_cached
    assert bench.run(made, tree, "python", "-c", "import six; print(1)") == "1"


def test_an_old_lock_is_said_to_be_old(bench: Bench) -> None:
    tree = bench.tree({"pyproject.toml": APP})
    uv("lock", cwd=tree)
    (tree / "pyproject.toml").write_text(APP.replace('"six"', '"six", "tqdm>=4"'))
    bench.build(tree)
    assert any("lacks tqdm" in line for line in bench.said)


def test_an_environment_is_compiled_and_names_no_source(bench: Bench) -> None:
    tree = bench.tree({"pyproject.toml": APP + HATCH, "src/my_app/__init__.py": ""})
    made = bench.build(tree)
    site = next(made.path.glob("lib/*/site-packages"))
    assert list(site.glob("__pycache__/six*.pyc"))
    assert list(site.glob("__pycache__/_shipway_path*.pyc"))
    for path in made.path.rglob("*"):
        if path.is_file():
            assert str(tree).encode() not in path.read_bytes(), path


def test_extras_and_groups_are_asked_for(bench: Bench) -> None:
    tree = bench.tree({"pyproject.toml": APP})
    text = (
        "import importlib.util as u\n"
        "print(*[n for n in ('six', 'toml', 'iniconfig') if u.find_spec(n)])"
    )
    plain = bench.build(tree)
    more = bench.build(tree, extras=("more",), groups=("checks",))
    assert plain.digest != more.digest
    assert bench.run(plain, tree, "python", "-c", text) == "six"
    assert bench.run(more, tree, "python", "-c", text) == "six toml iniconfig"
    with pytest.raises(PermanentError, match="nothere"):
        bench.build(tree, extras=("nothere",))


@pytest.mark.parametrize("python", [None, "pypy3"])
def test_a_src_project_runs_by_its_console_script(bench: Bench, python: str | None) -> None:
    if python == "pypy3" and shutil.which("pypy3") is None:
        pytest.skip("pypy3 is not installed")
    text = APP + '[project.scripts]\ngo = "my_app.cli:main"\n' + HATCH
    main = (
        "import importlib.metadata as m, platform, sys\n"
        "def main():\n"
        "    import six\n"
        "    print(m.version('my-app'), platform.python_implementation(), sys.argv[1:])\n"
    )
    files = {"pyproject.toml": text, "src/my_app/__init__.py": "", "src/my_app/cli.py": main}
    tree = bench.tree(files)
    made = bench.build(tree, entry_point=("go",), python=python)
    assert made.project == Path()
    kind = "PyPy" if python else "CPython"
    assert bench.run(made, tree, "go", "--x") == f"1.0 {kind} ['--x']"
    # another attempt of other code shares the environment
    newer = bench.tree({**files, "src/my_app/cli.py": "def main():\n    print('new')\n"})
    again = bench.build(newer, entry_point=("go",), python=python)
    assert again.path == made.path
    assert bench.run(again, newer, "go") == "new"


def test_scripts_of_dependencies_see_the_project(bench: Bench) -> None:
    files = {
        "pyproject.toml": APP.replace('"six"', '"pytest"') + HATCH,
        "src/my_app/__init__.py": "value = 3\n",
        "test_it.py": "import my_app\ndef test_it():\n    assert my_app.value == 3\n",
    }
    tree = bench.tree(files)
    made = bench.build(tree, entry_point=("pytest",))
    assert "1 passed" in bench.run(made, tree, "pytest", "-q", "-p", "no:cacheprovider")


def test_folders_that_a_requirements_file_names_are_laid_over(bench: Bench) -> None:
    files = {
        "requirements.txt": "-e .\n./lib\n",
        "pyproject.toml": APP + HATCH,
        "my_app/__init__.py": "",
        "lib/setup.py": (
            "from setuptools import setup, find_packages\n"
            "setup(name='thelib', version='2', packages=find_packages(),"
            " install_requires=['toml'])\n"
        ),
        "lib/thelib/__init__.py": "",
        "main.py": (
            "import my_app, thelib, six, toml, importlib.metadata as m\n"
            "print(m.version('thelib'), m.version('my-app'))\n"
        ),
    }
    tree = bench.tree(files)
    made = bench.build(tree)
    assert bench.run(made, tree, "python", "main.py") == "2 1.0"


def test_what_was_evicted_is_built_again(tmp_path: Path) -> None:
    """Earns its downloads: uv itself must find its own cache whole without what was removed."""
    bench = Bench(tmp_path)
    tree = bench.tree({"pyproject.toml": APP})
    made = bench.build(tree)
    kept = bench.builder.kept(bench.cache)
    names = {one.path.relative_to(bench.cache).parts[0] for one in kept}
    assert names >= {"envs", "uv"}
    assert all(bench.builder.evict(bench.cache, one) for one in kept)
    assert not made.path.exists()
    again = bench.build(tree)
    assert not again.is_cached
    assert bench.run(again, tree, "python", "-c", "import six; print(six.__name__)") == "six"


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_compiled_project_is_built_by_its_backend_once(bench: Bench) -> None:
    """Earns its compiler: the one way to see that an extension module is importable."""
    files = {
        "pyproject.toml": (
            '[project]\nname = "cx"\nversion = "1"\nrequires-python = ">=3.9"\n[build-system]\n'
            'requires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        ),
        "setup.py": (
            "from setuptools import setup, Extension\n"
            "setup(ext_modules=[Extension('cx._c', ['src/cx/_c.c'])])\n"
        ),
        "src/cx/__init__.py": "from cx._c import f\n",
        "src/cx/_c.c": (
            "#include <Python.h>\n"
            "static PyObject *f(PyObject *s, PyObject *a) { return PyLong_FromLong(42); }\n"
            'static PyMethodDef m[] = {{"f", f, METH_NOARGS, ""}, {0}};\n'
            'static struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "_c", 0, -1, m};\n'
            "PyMODINIT_FUNC PyInit__c(void) { return PyModule_Create(&d); }\n"
        ),
        "main.py": "import cx\nprint(cx.f())\n",
    }
    tree = bench.tree(files)
    made = bench.build(tree, python=f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert bench.run(made, tree, "python", "main.py") == "42"
    assert any("not laid over thinly: setup.py builds extension" in line for line in bench.said)
    bench.said.clear()
    bench.builder = UvBuilder()
    bench.build(tree, python=f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert any("found as it was built before" in line for line in bench.said)
