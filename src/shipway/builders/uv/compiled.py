"""Builds the projects that cannot be laid thinly, once for each content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from shipway.builders.build_lock import lock, stamp_used
from shipway.builders.uv.tool import Uv, UvFailed, tail
from shipway.plugins.errors import PermanentError

DONE = "built.json"
LEFT_OUT = {".git", ".venv", "__pycache__"}


def obtain(project: Path, *, python: Path, shelf: Path, uv: Uv) -> Path:
    """Return the folder that the project was installed into, by its own build backend.

    It holds no path of the source, so that all attempts of the same content share it.
    """
    key = _key(project, python)
    folder = shelf / key
    if (folder / DONE).exists():
        stamp_used(folder / DONE)
        uv.print(f"{project.name}: found as it was built before")
        return folder
    with lock(shelf / f"{key}.lock", uv.print, uv.deadline):
        if not (folder / DONE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            _build(project, python, folder, uv)
    return folder


def _build(project: Path, python: Path, folder: Path, uv: Uv) -> None:
    source = project
    with TemporaryDirectory(dir=_scratch(uv)) as scratch:
        if project.is_dir():
            # Backends write beside the source, and the tree stays as it was submitted.
            source = Path(scratch) / project.name
            ignore = shutil.ignore_patterns(*LEFT_OUT)
            shutil.copytree(project, source, symlinks=True, ignore=ignore)
        try:
            uv.run(
                *("pip", "install", "--no-deps", "--no-config", "--link-mode", "copy"),
                *("--python", python, "--target", folder, source),
                cwd=Path(scratch),
            )
        except UvFailed as failed:
            shutil.rmtree(folder, ignore_errors=True)
            raise PermanentError(
                f"the project in {project.name} could not be built; uv says:\n{tail(failed.words)}"
            ) from failed
    (folder / DONE).write_text(json.dumps({"project": project.name}))


def _scratch(uv: Uv) -> Path:
    folder = uv.cache.parent / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _key(project: Path, python: Path) -> str:
    digest = hashlib.sha256(f"{python}\n".encode())
    files = [project] if project.is_file() else _files(project)
    for path in files:
        name = path.relative_to(project).as_posix()
        data = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        mode = path.lstat().st_mode
        digest.update(f"{name}\n{mode:o} {len(data)}\n".encode("utf-8", "surrogateescape") + data)
    return digest.hexdigest()[:32]


def _files(project: Path) -> list[Path]:
    found: list[Path] = []
    for folder, folders, names in os.walk(project):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        found += [Path(folder) / name for name in sorted(names)]
    return found
