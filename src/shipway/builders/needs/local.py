"""Finds the folders that a project depends on by path: all of them must be part of its source."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from shipway.builders.needs.inputs import Input, Kind, read_toml, script_header, workspace_members
from shipway.builders.needs.locks import normal
from shipway.plugins.errors import PermanentError

PLACES_LIMIT = 1_000  # folders that depend on one another by path
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_FILE_URL = re.compile(r"@\s*file:(?://(?:localhost)?)?([^\s;#]+)")


def local_places(chosen: Input, tree: Path) -> list[Path]:
    """Return the folders and archives that an unlocked input needs, by way of others too.

    Raises `PermanentError` for one that lies outside of the source, or is not in it.
    """
    if chosen.file is None or chosen.kind is Kind.REQUIREMENTS:
        return []
    found: dict[Path, None] = {}
    waiting = list(_first(chosen))
    while waiting:
        file, content = waiting.pop(0)
        for place in _named(content, file.parent):
            inside = check_place(place, named=file, tree=tree)
            if inside in found:
                continue
            found[inside] = None
            if len(found) > PLACES_LIMIT:
                raise PermanentError(
                    f"{_show(chosen.file, tree)} depends on more than {PLACES_LIMIT} folders"
                )
            settings = inside / "pyproject.toml"
            if settings.is_file():
                waiting.append((settings, read_toml(settings)))
    return list(found)


def check_place(place: Path, *, named: Path, tree: Path) -> Path:
    """Return a place that a file of the source names, without `..`; it must be in the source."""
    inside = Path(os.path.normpath(place))
    if inside != tree and tree not in inside.parents:
        raise PermanentError(
            f"{_show(named, tree)} depends on {_shown(place, named)}, which lies outside of the "
            "source; an agent has only what was submitted: move it inside, or depend on a release "
            "of it"
        )
    if not inside.exists():
        raise PermanentError(
            f"{_show(named, tree)} depends on {_shown(place, named)}, which is not in the source: "
            "if git ignores it, launch with include=[its path]"
        )
    return inside


def _first(chosen: Input) -> Iterator[tuple[Path, dict[str, Any]]]:
    assert chosen.file is not None
    if chosen.kind is Kind.SCRIPT:
        yield chosen.file, script_header(chosen.file)
        return
    root = chosen.folder / "pyproject.toml"
    content = read_toml(root)
    yield root, content
    for folder in dict.fromkeys([*workspace_members(chosen.folder, content), chosen.member]):
        settings = folder / "pyproject.toml"
        if settings != root and settings.is_file():
            yield settings, read_toml(settings)


def _named(content: Mapping[str, Any], base: Path) -> Iterator[Path]:
    """Yield what a pyproject.toml or a script's header names by path."""
    needs = list(_requirements(content))
    for text in needs:
        found = _FILE_URL.search(text)
        if found is not None:
            yield base / unquote(found[1])
    sources = content.get("tool", {}).get("uv", {}).get("sources", {})
    names = {normal(found[0]) for text in needs if (found := _NAME.match(text.strip()))}
    for name, value in sources.items():
        if content.get("project") is not None and normal(name) not in names:
            continue  # uv does not look at it either
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping) and "path" in one:
                yield base / str(one["path"])


def _requirements(content: Mapping[str, Any]) -> Iterator[str]:
    project = content.get("project", {})
    uv = content.get("tool", {}).get("uv", {})
    yield from _texts(project.get("dependencies"))
    yield from _texts(content.get("dependencies"))  # of a script's header
    yield from _texts(uv.get("dev-dependencies"))
    yield from _texts(content.get("build-system", {}).get("requires"))
    for table in (project.get("optional-dependencies"), content.get("dependency-groups")):
        for values in (table or {}).values():
            yield from _texts(values)


def _texts(values: Iterable[object] | None) -> Iterator[str]:
    return (value for value in values or () if isinstance(value, str))


def _shown(place: Path, named: Path) -> str:
    text = str(place)
    return repr(text.removeprefix(f"{named.parent}/"))


def _show(file: Path, tree: Path) -> str:
    return file.relative_to(tree).as_posix()
