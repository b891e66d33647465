"""Finds the files that say what packages are needed, those that they include too."""

from __future__ import annotations

import re
from pathlib import Path

from shipway.builders.needs.inputs import Input, Kind, read, read_toml, workspace_members
from shipway.builders.needs.local import check_place, local_places
from shipway.plugins.errors import PermanentError

NESTED_LIMIT = 50  # requirement files that include one another
_INCLUDE = re.compile(r"^(?:-r|--requirement|-c|--constraint)[ =]?\s*(\S+)")
LOCAL = re.compile(
    r"^(?:(?:-e|--editable)[ =]?\s*)?(\.{1,2}(?:/|$|\[)|/|file:)|^\S+ @ (\.|/|file:)"
)
PLACE = re.compile(r"^(?:(?:-e|--editable)[ =]?\s*|[^@\s]+ @ )?(?:file://)?([^\s;\[]+)")


def files_of(chosen: Input, tree: Path) -> list[Path]:
    """Return the files that a resolution reads, the chosen one first."""
    if chosen.file is None:
        return []
    if chosen.kind is Kind.REQUIREMENTS:
        return _nested(chosen.file, tree)
    found = [chosen.file]
    places: list[Path] = []
    if chosen.kind is Kind.SCRIPT:
        found.append(chosen.file.with_name(f"{chosen.file.name}.lock"))
    elif chosen.kind is Kind.PROJECT:
        members = workspace_members(chosen.folder, read_toml(chosen.file))
        places += [chosen.folder, chosen.member, *members]
    if chosen.kind in {Kind.SCRIPT, Kind.PROJECT}:
        places += local_places(chosen, tree)
    for place in dict.fromkeys(places):
        for pattern in ("*.toml", "*.cfg", "setup.py", "requirements*.txt"):
            found += sorted(place.glob(pattern)) if place.is_dir() else [place]
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _nested(file: Path, tree: Path) -> list[Path]:
    seen: list[Path] = []
    waiting = [file]
    while waiting:
        path = waiting.pop(0)
        if path in seen or not path.is_file():
            continue
        seen.append(path)
        if len(seen) > NESTED_LIMIT:
            raise PermanentError(f"{file.name} includes more than {NESTED_LIMIT} files")
        for line in lines_of(read(path).decode("utf-8", "replace")):
            found = _INCLUDE.match(line)
            if found and "://" not in found[1]:
                waiting.append(path.parent / found[1])
            where = PLACE.match(line) if LOCAL.match(line) else None
            if where:
                place = check_place(path.parent / where[1], named=path, tree=tree)
                waiting += [place / name for name in ("pyproject.toml", "setup.py")]
    return seen


def lines_of(text: str) -> list[str]:
    """Return a requirements file's lines, continued ones joined, without comments."""
    joined = text.replace("\\\n", " ").splitlines()
    return [line for one in joined if (line := re.sub(r"(^|\s)#.*", "", one).strip())]
