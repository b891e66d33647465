"""Lays a project thinly over a shared environment: paths, metadata and scripts, no copies."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shipway.builders.needs.layout import Layout
from shipway.builders.needs.locks import normal
from shipway.plugins.errors import PermanentError

SHEBANG_LIMIT = 127  # bytes that every kernel reads of a first line
_SCRIPT_NAME = re.compile(r"[\w.+-]+")
_TARGET = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<object>[\w.]+))?\s*(?:\[.*\])?")

_SCRIPT = """\
{shebang}
import sys

from {module} import {first}

if __name__ == "__main__":
    sys.exit({object}())
"""


@dataclass(slots=True, kw_only=True)
class Layer:
    """One attempt's own site folder and scripts, written as projects are laid into it."""

    site: Path
    scripts: Path
    python: Path  # the environment's
    _paths: list[str] = field(default_factory=list)

    def lay(self, layout: Layout, project: Path) -> None:
        """Make the project in `project` importable and its scripts callable."""
        self.site.mkdir(parents=True, exist_ok=True)
        self._paths += [str(project / root) if root else str(project) for root in layout.roots]
        for name, place in layout.links.items():
            link = self.site / name
            link.unlink(missing_ok=True)  # an attempt that is prepared again
            link.symlink_to(project / place)
        scripts = [
            self._script(name, target)
            for group in ("console_scripts", "gui_scripts")
            for name, target in layout.entry_points.get(group, {}).items()
        ]
        self._dist_info(layout, project, scripts)

    def close(self) -> None:
        """Write the file that puts the projects' folders on the path."""
        if self._paths:
            lines = "".join(f"{path}\n" for path in dict.fromkeys(self._paths))
            (self.site / "shipway_projects.pth").write_text(lines)

    def _script(self, name: str, target: str) -> Path:
        found = _TARGET.fullmatch(target.strip())
        if found is None or not found["object"] or not _SCRIPT_NAME.fullmatch(name):
            raise PermanentError(
                f"the project's script {name!r} = {target!r} is not of the form"
                " name = module:function"
            )
        self.scripts.mkdir(parents=True, exist_ok=True)
        path = self.scripts / name
        path.write_text(
            _SCRIPT.format(
                shebang=_shebang(self.python),
                module=found["module"],
                first=found["object"].split(".")[0],
                object=found["object"],
            )
        )
        path.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        return path

    def _dist_info(self, layout: Layout, project: Path, scripts: Iterable[Path]) -> None:
        name = normal(layout.name).replace("-", "_")
        version = re.sub(r"[^\w.+!]+", "_", layout.version)
        info = self.site / f"{name}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        files = {
            "METADATA": _metadata(layout),
            "INSTALLER": "shipway\n",
            "direct_url.json": f'{{"dir_info":{{"editable":true}},"url":"{project.as_uri()}"}}\n',
        }
        if layout.entry_points:
            files["entry_points.txt"] = _entry_points(layout.entry_points)
        for file, text in files.items():
            (info / file).write_text(text)
        written = [*(info / file for file in files), *scripts]
        rows = [f"{os.path.relpath(path, self.site)},{_sum(path)}" for path in written]
        (info / "RECORD").write_text("\n".join([*rows, f"{info.name}/RECORD,,"]) + "\n")


def _shebang(python: Path) -> str:
    line = f"#!{python}"
    if len(line.encode()) <= SHEBANG_LIMIT and " " not in line:
        return line
    # A longer one is cut by some kernels: sh starts it instead, and Python skips the string.
    return f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''"


def _metadata(layout: Layout) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {layout.name}", f"Version: {layout.version}"]
    if layout.requires_python:
        lines.append(f"Requires-Python: {layout.requires_python}")
    lines += [f"Requires-Dist: {_one_line(need)}" for need in layout.requires]
    for extra, needs in layout.extras.items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {_with_extra(need, extra)}" for need in needs]
    return "\n".join(lines) + "\n"


def _with_extra(need: str, extra: str) -> str:
    text, _, marker = _one_line(need).partition(";")
    condition = f'extra == "{extra}"'
    joined = f"({marker.strip()}) and {condition}" if marker.strip() else condition
    return f"{text.strip()} ; {joined}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _entry_points(groups: Mapping[str, Mapping[str, str]]) -> str:
    parts = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in groups.items()
    ]
    return "\n".join(parts)


def _sum(path: Path) -> str:
    data = path.read_bytes()
    text = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={text},{len(data)}"
