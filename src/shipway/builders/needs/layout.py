"""Works out where a project keeps its packages, without running its build backend."""

from __future__ import annotations

import ast
import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shipway.builders.needs.inputs import read, read_toml
from shipway.builders.needs.locks import normal
from shipway.plugins.errors import PermanentError

UNKNOWN_VERSION = "0+unknown"
COMPILED = re.compile(rb"\b(ext_modules|Extension\s*\(|cythonize|cffi_modules|rust_extensions)\b")
_VERSION = re.compile(r"""(?m)^__version__\s*(?::[^=]+)?=\s*['"]([^'"]+)['"]""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What an overlay must do to make a project importable, as if it were installed."""

    name: str
    version: str
    roots: tuple[str, ...]  # folders of the project for sys.path, '' for its own
    links: Mapping[str, str] = field(default_factory=dict)  # import name to a path in the project
    entry_points: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by group
    requires: tuple[str, ...] = ()
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    requires_python: str = ""


class NotThin(Exception):
    """A project that only its own build backend can lay out; the text says why."""


def read_layout(folder: Path) -> Layout:
    """Return a project's layout; raise `NotThin` where it has to be built."""
    content: dict[str, Any] = {}
    if folder.is_file():
        raise NotThin("it is an archive")
    if (folder / "pyproject.toml").is_file():
        content = read_toml(folder / "pyproject.toml")
    for name in ("setup.py", "setup.cfg"):
        if (folder / name).is_file() and COMPILED.search(read(folder / name)):
            raise NotThin(f"{name} builds extension modules")
    backend = str(content.get("build-system", {}).get("build-backend", ""))
    project = content.get("project", {})
    tool = content.get("tool", {})
    family = re.split("[.:]", backend)[0]
    if family in {"", "setuptools"} and "backend-path" not in content.get("build-system", {}):
        return _setuptools(folder, project, tool)
    if family not in _BACKENDS:
        raise NotThin(f"its build backend is {backend}")
    roots, links = _BACKENDS[family](folder, project, tool)
    if family == "poetry" and "name" not in project:
        project = _from_poetry(tool.get("poetry", {}))
    if set(project.get("dynamic", [])) & {"scripts", "gui-scripts", "entry-points"}:
        raise NotThin("its entry points are made by its build backend")
    return _layout(folder, project, roots, links, _dynamic_version(folder, project, tool))


def _layout(
    folder: Path,
    project: Mapping[str, Any],
    roots: tuple[str, ...],
    links: Mapping[str, str],
    version: str | None,
) -> Layout:
    for place in (*roots, *links.values()):
        inside = os.path.normpath(place or ".")
        if inside.startswith("..") or os.path.isabs(inside):  # noqa: PTH117 - text, not a file
            raise PermanentError(f"the project in {folder.name} names {place!r}, outside of it")
    points = {name: dict(values) for name, values in project.get("entry-points", {}).items()}
    for group, key in (("console_scripts", "scripts"), ("gui_scripts", "gui-scripts")):
        if project.get(key):
            points[group] = dict(project[key])
    extras = project.get("optional-dependencies", {})
    return Layout(
        name=str(project.get("name") or folder.name),
        version=str(project.get("version") or version or UNKNOWN_VERSION),
        roots=tuple(dict.fromkeys("" if root in {".", "./"} else root for root in roots)),
        links=links,
        entry_points=points,
        requires=tuple(project.get("dependencies", ())),
        extras={name: tuple(values) for name, values in extras.items()},
        requires_python=str(project.get("requires-python", "")),
    )


Places = tuple[tuple[str, ...], dict[str, str]]


def _src_or_flat(folder: Path, project: Mapping[str, Any], _: Mapping[str, Any]) -> Places:
    del project
    return (("src",) if (folder / "src").is_dir() else ("",)), {}


def _hatch(folder: Path, project: Mapping[str, Any], tool: Mapping[str, Any]) -> Places:
    build = tool.get("hatch", {}).get("build", {})
    wheel = {**build, **build.get("targets", {}).get("wheel", {})}
    hooks = {**build.get("hooks", {}), **wheel.get("hooks", {})}
    made = hooks.keys() - {"vcs", "version"}
    if made:
        raise NotThin(f"its build runs hooks: {', '.join(sorted(made))}")
    if build.get("dev-mode-dirs"):
        return tuple(build["dev-mode-dirs"]), {}
    links = dict(_linked(wheel.get("force-include", {})))
    sources = wheel.get("sources", [])
    if isinstance(sources, dict):
        moved = {place: name for place, name in sources.items() if name}
        links.update(_linked(moved))
        roots = tuple(place for place, name in sources.items() if not name)
        return (roots or (() if moved else ("",))), links
    if sources:
        return tuple(sources), links
    if wheel.get("packages"):
        return tuple(os.path.dirname(one.rstrip("/")) for one in wheel["packages"]), links  # noqa: PTH120 - text, not a file
    name = normal(str(project.get("name", ""))).replace("-", "_")
    is_src = (folder / "src" / name).is_dir() and not (folder / name).is_dir()
    return (("src",) if is_src else ("",)), links


def _flit(folder: Path, project: Mapping[str, Any], tool: Mapping[str, Any]) -> Places:
    module = tool.get("flit", {}).get("module", {}).get("name") or project.get("name", "")
    top = str(module).split(".")[0].replace("-", "_")
    in_src = (folder / "src" / top).is_dir() or (folder / "src" / f"{top}.py").is_file()
    return (("src",) if in_src else ("",)), {}


def _uv(folder: Path, project: Mapping[str, Any], tool: Mapping[str, Any]) -> Places:
    del folder, project
    return (str(tool.get("uv", {}).get("build-backend", {}).get("module-root", "src")),), {}


def _poetry(folder: Path, project: Mapping[str, Any], tool: Mapping[str, Any]) -> Places:
    poetry = tool.get("poetry", {})
    if "build" in poetry:
        raise NotThin("its poetry build runs a script")
    packages = poetry.get("packages", [])
    if not packages:
        return _src_or_flat(folder, project, tool)
    links = {
        f"{one['to']}/{one['include']}": f"{one.get('from', '.')}/{one['include']}"
        for one in packages
        if "to" in one
    }
    plain = [one for one in packages if "to" not in one]
    return tuple(str(one.get("from", "")) for one in plain), dict(_linked_back(links))


def _pdm(folder: Path, project: Mapping[str, Any], tool: Mapping[str, Any]) -> Places:
    build = tool.get("pdm", {}).get("build", {})
    if build.get("custom-hook") or build.get("run-setuptools"):
        raise NotThin("its build runs a hook")
    if "package-dir" in build:
        return (str(build["package-dir"]),), {}
    return _src_or_flat(folder, project, tool)


_BACKENDS = {
    "hatchling": _hatch,
    "flit_core": _flit,
    "uv_build": _uv,
    "poetry": _poetry,
    "pdm": _pdm,
}


def _linked(places: Mapping[str, str]) -> dict[str, str]:
    """Turn place → name into links; only whole top-level packages and modules can be linked."""
    return _linked_back({name: place for place, name in places.items()})


def _linked_back(names: Mapping[str, str]) -> dict[str, str]:
    links: dict[str, str] = {}
    for name, place in names.items():
        top = name.strip("/")
        if "/" in top:
            raise NotThin(f"it puts {place} at {name}")
        links[top] = place
    return links


def _from_poetry(poetry: Mapping[str, Any]) -> dict[str, Any]:
    scripts = poetry.get("scripts", {})
    if not all(isinstance(value, str) for value in scripts.values()):
        raise NotThin("its scripts are files")
    return {
        "name": poetry.get("name"),
        "version": poetry.get("version"),
        "scripts": scripts,
        "entry-points": poetry.get("plugins", {}),
    }


def _dynamic_version(
    folder: Path, project: Mapping[str, Any], tool: Mapping[str, Any]
) -> str | None:
    """Look where the common backends look; what they make of a tag is not known here."""
    hatch = tool.get("hatch", {}).get("version", {}).get("path")
    top = normal(str(project.get("name", ""))).replace("-", "_")
    places = [hatch] if hatch else [f"{root}{top}/__init__.py" for root in ("src/", "")]
    for place in places:
        if (folder / place).is_file():
            found = _VERSION.search(read(folder / place).decode("utf-8", "replace"))
            if found:
                return found[1]
    return None


def _setuptools(folder: Path, project: Mapping[str, Any], tool: Mapping[str, Any]) -> Layout:
    settings = tool.get("setuptools", {})
    if settings.get("ext-modules"):
        raise NotThin("it has extension modules")
    config = _setup_cfg(folder)
    script = _setup_py(folder)
    package_dir = {
        **script.get("package_dir", {}),
        **config.get("package_dir", {}),
        **settings.get("package-dir", {}),
    }
    where = settings.get("packages", {})
    where = where.get("find", {}).get("where", []) if isinstance(where, dict) else []
    roots = [*where, *config.get("where", []), *script.get("where", [])]
    links = {name: place for name, place in package_dir.items() if name and "." not in name}
    if "" in package_dir:
        roots.append(package_dir[""])
    if not roots and not links:
        roots = ["src"] if (folder / "src").is_dir() else [""]
    merged = {**script.get("project", {}), **config.get("project", {}), **project}
    version = _dynamic_version(folder, merged, tool)
    if set(project.get("dynamic", [])) & {"scripts", "gui-scripts", "entry-points"}:
        merged["entry-points"] = {
            **script.get("project", {}).get("entry-points", {}),
            **config.get("project", {}).get("entry-points", {}),
        }
    return _layout(folder, merged, tuple(roots), links, version)


def _setup_cfg(folder: Path) -> dict[str, Any]:
    if not (folder / "setup.cfg").is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(read(folder / "setup.cfg").decode("utf-8", "replace"))
    except configparser.Error as error:
        raise PermanentError(f"setup.cfg cannot be read: {error}") from error
    metadata = dict(parser["metadata"]) if parser.has_section("metadata") else {}
    version = metadata.get("version", "")
    project = {
        "name": metadata.get("name"),
        "version": None if version.startswith(("attr:", "file:")) else version or None,
        "dependencies": _words(parser.get("options", "install_requires", fallback="")),
        "entry-points": {
            group: _pairs(text)
            for group, text in (
                parser.items("options.entry_points")
                if parser.has_section("options.entry_points")
                else ()
            )
        },
    }
    return {
        "project": {key: value for key, value in project.items() if value},
        "package_dir": _pairs(parser.get("options", "package_dir", fallback="")),
        "where": _words(parser.get("options.packages.find", "where", fallback="")),
    }


def _setup_py(folder: Path) -> dict[str, Any]:
    """Read the literal arguments of `setup(…)`; one that is computed means a real build."""
    if not (folder / "setup.py").is_file():
        return {}
    try:
        module = ast.parse(read(folder / "setup.py"))
    except (SyntaxError, ValueError) as error:
        raise NotThin(f"setup.py cannot be read: {error}") from error
    calls = [
        node for node in ast.walk(module) if isinstance(node, ast.Call) and _called(node) == "setup"
    ]
    if len(calls) != 1 or calls[0].args:
        raise NotThin("setup.py does more than call setup() once")
    given: dict[str, Any] = {}
    where: list[str] = []
    for keyword in calls[0].keywords:
        if keyword.arg in {None, "cmdclass", "distclass", "ext_package"}:
            raise NotThin(f"setup.py passes {keyword.arg or 'computed arguments'}")
        if isinstance(keyword.value, ast.Call) and _called(keyword.value).startswith("find_"):
            where += _find_where(keyword.value)
        elif keyword.arg in {"name", "version", "package_dir", "entry_points"}:
            given[keyword.arg] = _literal(keyword)
    points = given.get("entry_points") or {}
    project = {
        "name": given.get("name"),
        "version": given.get("version"),
        "entry-points": {
            group: _pairs("\n".join([lines] if isinstance(lines, str) else lines))
            for group, lines in points.items()
        },
    }
    return {
        "project": {key: value for key, value in project.items() if value},
        "package_dir": given.get("package_dir") or {},
        "where": where,
    }


def _literal(keyword: ast.keyword) -> Any:
    try:
        return ast.literal_eval(keyword.value)
    except ValueError:
        if keyword.arg == "version":
            return None
        raise NotThin(f"setup.py computes {keyword.arg}") from None


def _find_where(call: ast.Call) -> list[str]:
    values = [*call.args[:1], *(one.value for one in call.keywords if one.arg == "where")]
    try:
        found = [ast.literal_eval(value) for value in values]
    except ValueError:
        raise NotThin("setup.py computes where its packages are") from None
    return [str(value) for value in found]


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _words(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _pairs(text: str) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, value in pairs}
