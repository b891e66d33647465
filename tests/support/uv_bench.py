"""A cache, a uv builder and sources to build from, for its tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shipway.builders.uv import UvBuilder
from shipway.builders.uv_settings import find_uv
from shipway.plugins.builder import BuildRequest, Environment

HATCH = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'


@dataclass
class Bench:
    """A cache, a builder and sources to build from."""

    root: Path
    builder: UvBuilder = field(default_factory=UvBuilder)
    said: list[str] = field(default_factory=list)
    count: int = 0

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def tree(self, files: Mapping[str, str]) -> Path:
        self.count += 1
        folder = self.root / f"tree{self.count}"
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    def request(self, tree: Path, start: str = "", **changes: Any) -> BuildRequest:
        env = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
        facts: dict[str, Any] = {
            "tree": tree,
            "start": tree / start,
            "entry_point": ("main.py",),
            "cache": self.cache,
            "env": env,
            "print": self.said.append,
        }
        return BuildRequest(**{**facts, **changes})

    def build(self, tree: Path, start: str = "", **changes: Any) -> Environment:
        before = snapshot(tree)
        try:
            return self.builder.build(self.request(tree, start, **changes))
        finally:
            assert snapshot(tree) == before, "the source was written to"

    def run(self, made: Environment, tree: Path, *argv: str, start: str = "") -> str:
        """Run a program as an attempt does: from a copy of the source."""
        self.count += 1
        attempt = self.root / f"attempt{self.count}"
        shutil.copytree(tree, attempt / "work", symlinks=True)
        runside = self.root / "runside"
        (runside / "shipway").mkdir(parents=True, exist_ok=True)
        (runside / "shipway/__init__.py").write_text("")
        overlay = self.builder.overlay(
            made,
            work=attempt / "work",
            start=attempt / "work" / start,
            folder=attempt / "overlay",
            runside=runside,
        )
        path = os.pathsep.join([*map(str, overlay.path), "/usr/bin:/bin"])
        done = subprocess.run(
            argv,
            cwd=attempt / "work" / start,
            env={"PATH": path, **overlay.env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


def snapshot(tree: Path) -> dict[str, tuple[int, int]]:
    stats = {str(path): path.lstat() for path in [tree, *tree.rglob("*")]}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def uv(*argv: str, cwd: Path) -> None:
    binary = find_uv(os.environ.get("PATH", os.defpath))
    subprocess.run(
        [binary, *argv, "--no-python-downloads", "--python", sys.executable],
        cwd=cwd,
        check=True,
        capture_output=True,
        timeout=120,
    )
