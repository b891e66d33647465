"""Remembers which images were built here, and removes from their engine what nobody uses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from shipway.builders.build_lock import alone, stamp_used
from shipway.engines.engine import Engine, named
from shipway.engines.images import ImageFacts, find_image
from shipway.plugins.errors import PluginError
from shipway.plugins.kept import Kept, measure

# Where an engine is: what says so in the environment of whoever built.
_PLACES = ("DOCKER_HOST", "CONTAINER_HOST", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF")


def remember(cache: Path, key: str, engine: Engine, name: str, facts: ImageFacts) -> None:
    """Note an image that was built."""
    note = {
        "name": name,
        "program": engine.program,
        "places": {place: engine.env[place] for place in _PLACES if place in engine.env},
        "size": facts.size,
        "id": facts.id,
    }
    file = _file(cache, key)
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(note))
    fresh.replace(file)


def built(cache: Path, key: str) -> str:
    """Return the id of the image that was built from a key here, or nothing."""
    try:
        return str(json.loads(_file(cache, key).read_bytes()).get("id"))
    except (OSError, ValueError):
        return ""


def stamp(cache: Path, key: str) -> None:
    """Note a use of it."""
    if _file(cache, key).exists():
        stamp_used(_file(cache, key))


def kept(cache: Path) -> list[Kept]:
    """Return the images by their last use, and folders that a crash left."""
    found = []
    for file in sorted((cache / "images").glob("*.json")):
        with suppress(OSError, ValueError):
            size = int(json.loads(file.read_text())["size"])
            # Not files of this disk but of the engine's: a number that no inode has stands for it.
            found.append(
                Kept(path=file, used_at=file.stat().st_mtime, files={-_number(file): size})
            )
    for folder in sorted((cache / "tmp").glob("*")):
        with suppress(OSError):
            at = folder.stat().st_mtime
            found.append(Kept(path=folder, used_at=at, files=measure(folder), is_waste=True))
    return found


def evict(cache: Path, gone: Kept, environ: Mapping[str, str]) -> bool:
    """Remove an image unless it was used since, is being built, or a container is made from it."""
    if gone.path.parent == cache / "tmp":
        shutil.rmtree(gone.path, ignore_errors=True)
        return not gone.path.exists()
    (cache / "locks").mkdir(parents=True, exist_ok=True)
    with alone(cache / "locks" / gone.path.stem) as is_ours:
        if not is_ours or gone.path.stat().st_mtime > gone.used_at:
            return False
        note = json.loads(gone.path.read_text())
        try:
            engine = named({**environ, **note["places"]}, note["program"])
            if find_image(engine, note["name"]) is not None:
                engine.run("rmi", note["name"])
        except PluginError:
            return False
        gone.path.unlink(missing_ok=True)
        return True


def _file(cache: Path, key: str) -> Path:
    return cache / "images" / f"{key}.json"


def _number(file: Path) -> int:
    return int(file.stem[:15], 16)
