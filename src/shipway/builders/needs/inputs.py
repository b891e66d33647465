"""Decides what an environment is built from."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from shipway.builders.needs.versions import Wanted, parse
from shipway.plugins.errors import PermanentError

REQUIRES = "requires-python"
SIZE_LIMIT = 64 << 20  # bytes of one file that is read whole
HEADER = re.compile(r"(?m)^# /// script\r?$\s(?P<content>(^#(| .*)\r?$\s)+)^# ///\r?$")
_PYTHON = re.compile(r"python3?(\.\d+)?|pypy3?(\.\d+)?")


class Kind(StrEnum):
    """What an environment can be built from; the order is that of precedence."""

    SCRIPT = "script"  # a PEP 723 header in the entry point's script
    UV_LOCK = "uv.lock"  # beside its pyproject.toml
    PYLOCK = "pylock.toml"  # PEP 751
    REQUIREMENTS = "requirements.txt"  # resolved once, unless all of it is hashed
    PROJECT = "pyproject.toml"  # resolved once
    NONE = "none"  # no dependencies are declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What was chosen, and the Python that goes with it."""

    kind: Kind
    folder: Path  # where the file lies; of a workspace, its root
    member: Path  # of a workspace, the member that the program starts in; else the folder
    file: Path | None  # None for NONE
    why: str  # a sentence for the build log
    wanted: tuple[Wanted, ...]  # Pythons, any of which will do; empty: any
    requires_python: str  # the specifiers found, also where something else decided
    project: Path | None  # the folder of the project to lay over the environment


def choose(tree: Path, start: Path, entry_point: tuple[str, ...], python: str | None) -> Input:
    """Return what to build from: the nearest input, searched from `start` up to `tree`."""
    folders = _up(start, tree)
    script = _script(tree, start, entry_point)
    if script is not None:
        return _with_python(
            folders,
            python,
            kind=Kind.SCRIPT,
            folder=script.parent,
            file=script,
            why=f"{_name(script, tree)} has a PEP 723 header",
            requires=str(script_header(script).get("requires-python", "")),
            project=None,
        )
    project = next((folder for folder in folders if is_project(folder)), None)
    for folder in folders:
        kind, root, why = _in_folder(folder, tree)
        if kind is None:
            continue
        return _with_python(
            folders,
            python,
            kind=kind,
            folder=root,
            file=root / kind.value,
            why=why,
            requires=_requires(folder, kind, root),
            project=project,
            member=folder,
        )
    return _with_python(
        folders,
        python,
        kind=Kind.NONE,
        folder=start,
        file=None,
        why="no script header, uv.lock, pylock.toml, requirements.txt or pyproject.toml was found",
        requires="",
        project=project,
    )


def read_toml(path: Path) -> dict[str, Any]:
    """Return a file's content; raise `PermanentError` that says where it is wrong."""
    try:
        return tomllib.loads(read(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PermanentError(f"{path.name} is not valid TOML: {error}") from error


def read(path: Path) -> bytes:
    """Return a file's bytes, up to a limit."""
    with path.open("rb") as file:
        data = file.read(SIZE_LIMIT + 1)
    if len(data) > SIZE_LIMIT:
        raise PermanentError(f"{path.name} is larger than {SIZE_LIMIT >> 20} MiB")
    return data


def is_project(folder: Path) -> bool:
    """Tell whether a folder holds a project that can be laid over, or could be built."""
    if (folder / "pyproject.toml").is_file():
        content = read_toml(folder / "pyproject.toml")
        if content.get("tool", {}).get("uv", {}).get("package") is False:
            return False
        named = "project" in content or "poetry" in content.get("tool", {})
        if "build-system" in content or (named and _looks_packaged(folder, content)):
            return True
    if (folder / "setup.py").is_file():
        return True
    config = folder / "setup.cfg"  # often there for the settings of some linter only
    return config.is_file() and b"[options" in read(config)


def workspace_members(root: Path, content: Mapping[str, Any]) -> list[Path]:
    """Return the folders of a workspace's members, the root itself left out."""
    workspace = content.get("tool", {}).get("uv", {}).get("workspace", {})
    found: list[Path] = []
    for pattern in workspace.get("members", []):
        found += sorted(
            folder
            for folder in root.glob(pattern)
            if (folder / "pyproject.toml").is_file()
            and not any(
                fnmatch(folder.relative_to(root).as_posix(), out)
                for out in workspace.get("exclude", [])
            )
        )
    return list(dict.fromkeys(found))


def script_header(path: Path) -> dict[str, Any]:
    """Return what a script's PEP 723 header says; {} where it has none."""
    found = HEADER.search(read(path).decode("utf-8", "replace"))
    if found is None:
        return {}
    lines = found["content"].splitlines()
    text = "\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PermanentError(f"the header of {path.name} is not valid TOML: {error}") from error


def _up(start: Path, tree: Path) -> list[Path]:
    assert start == tree or tree in start.parents, f"{start} is not in {tree}"
    return [start, *(one for one in start.parents if one == tree or tree in one.parents)]


def _script(tree: Path, start: Path, entry_point: tuple[str, ...]) -> Path | None:
    names = entry_point[:1]
    if len(entry_point) > 1 and _PYTHON.fullmatch(entry_point[0]):
        names = entry_point[1:2]
    if not names or not names[0].endswith(".py"):
        return None
    path = Path(os.path.normpath(start / names[0]))
    if tree not in path.parents or not path.is_file():
        return None
    return path if b"# /// script" in read(path) and script_header(path) else None


def _in_folder(folder: Path, tree: Path) -> tuple[Kind | None, Path, str]:
    """Return the input that lies in a folder, or in the workspace that this folder belongs to."""
    has_project = (folder / "pyproject.toml").is_file()
    if has_project:
        root = _workspace_root(folder, tree)
        if (root / "uv.lock").is_file():
            where = _name(root / "uv.lock", tree)
            if root == folder:
                return Kind.UV_LOCK, root, f"{where} is there"
            member = _name(folder, tree)
            return Kind.UV_LOCK, root, f"{member} is a member of the workspace of {where}"
    for kind in (Kind.PYLOCK, Kind.REQUIREMENTS):
        if (folder / kind.value).is_file():
            return kind, folder, f"{_name(folder / kind.value, tree)} is there"
    if has_project:
        content = read_toml(folder / "pyproject.toml")
        tool = content.get("tool", {})
        is_workspace = "workspace" in tool.get("uv", {})
        if {"project", "build-system"} & content.keys() or "poetry" in tool or is_workspace:
            why = f"{_name(folder / 'pyproject.toml', tree)} is there, without a lock"
            return Kind.PROJECT, root, why
    return None, folder, ""


def _workspace_root(folder: Path, tree: Path) -> Path:
    for above in _up(folder, tree):
        if above != folder and (above / "pyproject.toml").is_file():
            content = read_toml(above / "pyproject.toml")
            if folder in workspace_members(above, content):
                return above
    return folder


def _looks_packaged(folder: Path, content: Mapping[str, Any]) -> bool:
    project = content.get("project", {})
    return bool(
        project.get("scripts")
        or project.get("gui-scripts")
        or project.get("entry-points")
        or (folder / "src").is_dir()
        or "poetry" in content.get("tool", {})
    )


def _requires(project: Path, kind: Kind, root: Path) -> str:
    clauses: list[str] = []
    if (project / "pyproject.toml").is_file():
        content = read_toml(project / "pyproject.toml")
        clauses.append(str(content.get("project", {}).get("requires-python", "")))
    if kind in {Kind.UV_LOCK, Kind.PYLOCK}:
        # The first lines are enough, and a lock of a thousand packages takes a while to parse.
        head = read(root / kind.value)[:4096].decode("utf-8", "replace")
        found = re.search(r'(?m)^requires-python = "([^"]*)"', head)
        clauses.append(found[1] if found else "")
    return ",".join(clause for clause in dict.fromkeys(clauses) if clause)


def _with_python(
    folders: list[Path],
    python: str | None,
    *,
    kind: Kind,
    folder: Path,
    file: Path | None,
    why: str,
    requires: str,
    project: Path | None,
    member: Path | None = None,
) -> Input:
    return Input(
        kind=kind,
        folder=folder,
        member=member or folder,
        file=file,
        why=why,
        wanted=_wanted(folders, python, requires),
        requires_python=requires,
        project=project,
    )


def _wanted(folders: list[Path], python: str | None, requires: str) -> tuple[Wanted, ...]:
    if python:
        wish = parse(python, "asked for by this launch")
        if wish is None:
            raise PermanentError(
                f"{python!r} names no Python; say a version or a kind: 3.11, 3.12.1, pypy3"
            )
        return (wish,)
    for folder in folders:
        file = folder / ".python-version"
        if file.is_file():
            lines = read(file).decode("utf-8", "replace").splitlines()
            named = [line.split("#")[0].strip() for line in lines]
            found = [parse(line, "asked for by .python-version") for line in named if line]
            wishes = tuple(wish for wish in found if wish is not None)
            if wishes:
                return wishes
    if requires:
        return (Wanted(text=requires, origin=REQUIRES, specifiers=requires),)
    return ()


def _name(path: Path, tree: Path) -> str:
    return path.relative_to(tree).as_posix()
