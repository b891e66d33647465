"""Decides what a generated image installs: which files that needs, and which commands of uv."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from shipway.builders.container.context import Context
from shipway.builders.needs import locks
from shipway.builders.needs.files import LOCAL, PLACE, files_of, lines_of
from shipway.builders.needs.inputs import (
    HEADER,
    Input,
    Kind,
    choose,
    read,
    read_toml,
    workspace_members,
)
from shipway.builders.needs.layout import NotThin, read_layout
from shipway.builders.needs.local import check_place, local_places
from shipway.builders.needs.locks import Form, Lock
from shipway.plugins.errors import PermanentError
from shipway.plugins.image_builder import ImageRequest

ENV = "/opt/shipway/env"  # the environment inside an image
Command = tuple[str, ...]
_FIND_LINKS = re.compile(r"^(?:-f|--find-links)[ =]\s*(\S+)")
_SETTINGS = ("pyproject.toml", "uv.toml")
_PIP = ("uv", "pip", "install", "--python", f"{ENV}/bin/python")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What goes into the layer of the lock, and what is left for that of the code."""

    why: str  # a sentence for the build log
    files: Mapping[str, bytes] = field(default_factory=dict)  # written, by path in the tree
    copied: frozenset[str] = frozenset()  # of the context, by path
    folder: str = "."  # where the commands run, in the tree
    commands: tuple[Command, ...] = ()
    laid: tuple[str, ...] = ()  # projects of the tree that are put on the path
    python: str = ""  # what uv is asked for; "" for the one of the base image
    has_environment: bool = False

    def digest(self, context: Context) -> str:
        """Return the name of all that decides what is installed."""
        held = {path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()}
        copied = self.part(context).digest() if self.copied else ""
        facts = [held, copied, self.folder, self.commands, self.python, self.has_environment]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def part(self, context: Context) -> Context:
        """Return what of the context the commands need."""
        entries = tuple(one for one in context.entries if one.path in self.copied)
        return Context(folder=context.folder, entries=entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    files: Mapping[str, bytes] = field(default_factory=dict)
    places: tuple[str, ...] = ()  # folders and files of the tree, whole
    commands: tuple[Command, ...] = ()
    laid: tuple[str, ...] = ()
    folder: str = "."


def chosen_of(request: ImageRequest) -> Input:
    """Return what the source declares; `runtime.txt` names the Python where nothing else does."""
    found = choose(request.tree, request.start, request.entry_point, request.python)
    for folder in (request.start, request.tree):
        file = folder / "runtime.txt"
        if not any(one.origin != "requires-python" for one in found.wanted) and file.is_file():
            named = read(file).decode("utf-8", "replace").strip()
            return choose(request.tree, request.start, request.entry_point, named)
    return found


def packages_of(request: ImageRequest, chosen: Input, context: Context) -> Packages:
    """Return what to install for a source, and how."""
    step = _STEPS[chosen.kind](request, chosen)
    settings = {name: data for name, data in step.files.items() if name.endswith(_SETTINGS)}
    step = replace(step, places=(*step.places, *_places(_indexes(settings, request), request)))
    project = chosen.project.relative_to(request.tree).as_posix() if chosen.project else None
    laid, whole = [], []
    for place in dict.fromkeys([*([project] if project else []), *step.laid]):
        try:
            read_layout(request.tree / place)
            laid.append(place)
        except NotThin:
            whole.append(place)
    build = [(*_PIP, "--no-deps", f"/app/{place}") for place in whole]
    copied = _below([*step.places, *whole], context)
    _all_there(step.files, [*step.places, *whole], context, request.tree)
    asked = chosen.wanted[0].text if chosen.wanted else ""
    has_environment = bool(step.commands or laid or whole or (request.base_image and asked))
    name = chosen.file.relative_to(request.tree).as_posix() if chosen.file else "nothing"
    return Packages(
        why=f"packages from {name}: {chosen.why}",
        files=step.files,
        copied=copied,
        folder=step.folder,
        commands=(*step.commands, *build),
        laid=tuple(laid),
        python=asked if has_environment else "",
        has_environment=has_environment,
    )


def _none(request: ImageRequest, chosen: Input) -> _Step:
    del request, chosen
    return _Step()


def _script(request: ImageRequest, chosen: Input) -> _Step:
    assert chosen.file is not None
    name, folder = chosen.file.name, _in_tree(chosen.folder, request)
    path = _join(folder, name)
    lock = chosen.file.with_name(f"{name}.lock")
    places = _places(local_places(chosen, request.tree), request)
    if lock.is_file():
        listed = "/tmp/shipway-list.txt"  # noqa: S108 - inside a build's container
        commands: tuple[Command, ...] = (
            ("uv", "export", "--quiet", "--script", name, "--frozen", "-o", listed),
            (*_PIP, "-r", listed),
        )
        files = {path: read(chosen.file), f"{path}.lock": read(lock)}
    else:
        # The header alone: what else changes in a script does not change what it needs.
        header = HEADER.search(read(chosen.file).decode("utf-8", "replace"))
        assert header is not None
        files = {path: f"{header.group(0)}\n".encode()}
        commands = ((*_PIP, "-r", name),)
    return _Step(files=files, places=places, commands=commands, folder=folder)


def _uv_lock(request: ImageRequest, chosen: Input) -> _Step:
    assert chosen.file is not None
    content = read_toml(chosen.member / "pyproject.toml")
    base = _in_tree(chosen.folder, request)
    lock = Lock(form=Form.UV, content=read(chosen.file))
    member = content.get("project", {}).get("name")
    words = [*_each("--extra", request.extras), *_each("--group", request.groups)]
    sync = (
        *("uv", "sync", "--frozen", "--no-install-project", "--no-install-workspace"),
        *("--no-install-local", "--inexact", *words),
        *(() if "project" in content else ("--all-packages",)),
    )
    return _Step(
        files={**_settings(chosen, request), _join(base, "uv.lock"): lock.content},
        commands=(sync,),
        laid=locks.local_packages(lock, member, extras=request.extras, base=base),
        folder=_in_tree(chosen.member, request),
    )


def _pylock(request: ImageRequest, chosen: Input) -> _Step:
    assert chosen.file is not None
    base = _in_tree(chosen.folder, request)
    lock = Lock(form=Form.PYLOCK, content=read(chosen.file))
    content, local = locks.without_local(lock, base)
    words = [*_each("--extra", request.extras), *_each("--group", request.groups)]
    return _Step(
        files={**_settings(chosen, request), _join(base, "pylock.toml"): content},
        commands=(("uv", "pip", "sync", "--python", f"{ENV}/bin/python", *words, "pylock.toml"),),
        laid=local,
        folder=base,
    )


def _requirements(request: ImageRequest, chosen: Input) -> _Step:
    assert chosen.file is not None
    listed = files_of(chosen, request.tree)
    files = {}
    places: list[Path] = []
    for file in listed:
        if file.name in {"pyproject.toml", "setup.py"}:
            continue  # of a folder that is copied whole
        where = check_place(file, named=chosen.file, tree=request.tree)
        data = read(where)
        files[_in_tree(where, request)] = data
        for line in lines_of(data.decode("utf-8", "replace")):
            named = _FIND_LINKS.match(line) or (PLACE.match(line) if LOCAL.match(line) else None)
            if named and "://" not in named[1]:
                places.append(check_place(file.parent / named[1], named=file, tree=request.tree))
    return _Step(
        files={**_settings(chosen, request), **files},
        places=_places(places, request),
        commands=((*_PIP, "-r", chosen.file.name),),
        folder=_in_tree(chosen.folder, request),
    )


def _project(request: ImageRequest, chosen: Input) -> _Step:
    assert chosen.file is not None
    content = read_toml(chosen.file)
    project = content.get("project", {})
    folder = _in_tree(chosen.member, request)
    words = [*_each("--extra", request.extras), *_each("--group", request.groups)]
    if "project" not in content or "dependencies" in project.get("dynamic", ()):
        # Only its build backend knows what it needs, and that may read any file of it.
        return _Step(places=(folder,), commands=((*_PIP, *words, "-r", "pyproject.toml"),),
                     folder=folder)  # fmt: skip
    return _Step(
        files=_settings(chosen, request),
        places=_places(local_places(chosen, request.tree), request),
        commands=((*_PIP, *words, "-r", "pyproject.toml"),),
        folder=folder,
    )


_STEPS = {
    Kind.SCRIPT: _script,
    Kind.UV_LOCK: _uv_lock,
    Kind.PYLOCK: _pylock,
    Kind.REQUIREMENTS: _requirements,
    Kind.PROJECT: _project,
    Kind.NONE: _none,
}


def _settings(chosen: Input, request: ImageRequest) -> dict[str, bytes]:
    """Return the files in which uv finds its settings, members of a workspace included."""
    folders = [chosen.folder, chosen.member]
    if (chosen.folder / "pyproject.toml").is_file():
        members = workspace_members(chosen.folder, read_toml(chosen.folder / "pyproject.toml"))
        folders += members
    return {
        _in_tree(folder / name, request): read(folder / name)
        for folder in dict.fromkeys(folders)
        for name in _SETTINGS
        if (folder / name).is_file()
    }


def _indexes(settings: Mapping[str, bytes], request: ImageRequest) -> list[Path]:
    """Return the folders of the tree in which uv's settings look for packages."""
    found: list[Path] = []
    for path in settings:
        file = request.tree / path
        content = read_toml(file)
        uv = content.get("tool", {}).get("uv", {}) if file.name == "pyproject.toml" else content
        named = [*uv.get("find-links", ()), *(one.get("url", "") for one in uv.get("index", ()))]
        found += [
            check_place(file.parent / place, named=file, tree=request.tree)
            for place in named
            if place and "://" not in place
        ]
    return found


def _places(places: Iterable[Path], request: ImageRequest) -> tuple[str, ...]:
    return tuple(_in_tree(place, request) for place in dict.fromkeys(places))


def _in_tree(path: Path, request: ImageRequest) -> str:
    return path.relative_to(request.tree).as_posix()


def _join(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _below(places: Iterable[str], context: Context) -> frozenset[str]:
    """Return the paths of the context that are these, are in them, or lead to them."""
    wanted = set(places)
    found = set()
    for one in context.entries:
        above = {".", one.path, *map(str, Path(one.path).parents)}
        if above & wanted:
            found |= above - {"."}
    return frozenset(found)


def _all_there(files: Iterable[str], places: Iterable[str], context: Context, tree: Path) -> None:
    """Raise `PermanentError` for what is left out of the context, and for links out of the tree."""
    paths = {one.path: one for one in context.entries}
    for path in [*files, *places]:
        if path == ".":
            continue
        if path not in paths:
            raise PermanentError(
                f"the image needs {path} to install its packages, and the ignore file leaves it out"
            )
        if stat.S_ISLNK(paths[path].mode) and tree.resolve() not in (tree / path).resolve().parents:
            raise PermanentError(f"{path} is a link out of the source")


def _each(flag: str, values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield f"{flag}={value}"
