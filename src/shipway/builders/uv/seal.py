"""Tells whether a built environment is still what it was when it was sealed."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SEAL = "seal.json"
VERSION = 1
BYTECODE = "__pycache__"
# What would change an import, or what pip would leave, where it was not before. Anything else
# that a program adds deep inside a package is that package's own cache.
TELLING = (".py", ".pth", ".so", ".pyd", ".dist-info", ".egg-link")

Stamp = tuple[int, int]  # size, mtime in ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The files of an environment, bytecode left out, and where their hashes are."""

    files: Mapping[str, Stamp]  # by path relative to the environment
    folders: Mapping[str, int]  # mtime in ns
    hashes: Mapping[str, str]  # hex SHA-256; of files that no RECORD vouches for, and of RECORDs
    links: Mapping[str, str]  # symbolic links and what they say


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found: damaged paths, and the stamps of those that only look changed."""

    damaged: tuple[str, ...] = ()
    restamped: bool = False  # the seal's stamps are old, its contents are right


def make(root: Path) -> Seal:
    """Look at all of an environment; what a RECORD vouches for was hashed by its builder."""
    files: dict[str, Stamp] = {}
    links: dict[str, str] = {}
    folders: dict[str, int] = {}
    for folder, stamp, entries in _walk(root):
        folders[folder] = stamp
        for entry in entries:
            path = _joined(folder, entry.name)
            if entry.is_symlink():
                links[path] = os.readlink(entry.path)  # noqa: PTH115 - hot path, plain text
            elif not entry.is_dir():
                stat = entry.stat(follow_symlinks=False)
                files[path] = (stat.st_size, stat.st_mtime_ns)
    vouched = recorded(root, files)
    hashes = {path: digest(root / path) for path in files if path not in vouched}
    return Seal(files=files, folders=folders, hashes=hashes, links=links)


def write(seal: Seal, file: Path) -> None:
    """Write a seal so that it is there whole, or not at all."""
    content = {
        "version": VERSION,
        "files": seal.files,
        "folders": seal.folders,
        "hashes": seal.hashes,
        "links": seal.links,
    }
    fresh = file.with_suffix(".new")
    with fresh.open("w") as stream:
        json.dump(content, stream, separators=(",", ":"))
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)


def load(file: Path) -> Seal | None:
    """Read a seal; None where there is none, or one of another version."""
    try:
        content = json.loads(file.read_bytes())
        if content["version"] != VERSION:
            return None
        return Seal(
            files={path: (size, mtime) for path, (size, mtime) in content["files"].items()},
            folders=content["folders"],
            hashes=content["hashes"],
            links=content["links"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check(root: Path, seal: Seal) -> Finding:
    """Compare sizes and times with the seal, and contents only where those differ."""
    place = f"{root}/"  # joined as text: this runs for tens of thousands of files
    suspects = [path for path, stamp in seal.files.items() if _stamp(place + path) != stamp]
    gone = [path for path, target in seal.links.items() if not _still_links(place + path, target)]
    added: list[str] = []
    is_touched = False
    for folder, mtime in seal.folders.items():
        stamp = _stamp(place + folder)
        if stamp is None:
            gone.append(folder)
        elif stamp[1] != mtime:
            is_touched = True
            added += _added(root, folder, seal)
    if not suspects:
        return Finding(damaged=(*gone, *added), restamped=is_touched)
    vouched = recorded(root, seal.files)
    damaged = [
        path
        for path in suspects
        if _hash_or_none(root / path) != (seal.hashes.get(path) or vouched.get(path))
    ]
    return Finding(damaged=(*gone, *added, *damaged), restamped=True)


def recorded(root: Path, files: Mapping[str, Stamp]) -> dict[str, str]:
    """Return the hashes that the installed distributions' RECORD files give, by path."""
    found: dict[str, str] = {}
    for path in files:
        if path.endswith(".dist-info/RECORD"):
            site = os.path.dirname(os.path.dirname(path))  # noqa: PTH120 - text in a hot path
            with (root / path).open(newline="", encoding="utf-8") as stream:
                for row in csv.reader(stream):
                    if len(row) == 3 and row[1].startswith("sha256="):
                        name = os.path.normpath(f"{site}/{row[0]}")
                        found[name] = _hexadecimal(row[1].removeprefix("sha256="))
    return {path: value for path, value in found.items() if path in files}


def mismatches(root: Path, files: Mapping[str, Stamp]) -> dict[str, str]:
    """Hash all that RECORDs vouch for; return the files that differ, with their owners' names."""
    claims = recorded(root, files)
    paths = list(claims)
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        hashes = list(pool.map(lambda path: digest(root / path), paths))
    wrong = {path for path, value in zip(paths, hashes, strict=True) if claims[path] != value}
    return {path: name for path, name in owners(root, files).items() if path in wrong}


def owners(root: Path, files: Mapping[str, Stamp]) -> dict[str, str]:
    """Return the distribution that each file belongs to."""
    found: dict[str, str] = {}
    for path in files:
        if path.endswith(".dist-info/RECORD"):
            info = os.path.dirname(path)  # noqa: PTH120 - text in a hot path
            name = os.path.basename(info).split("-")[0]  # noqa: PTH119 - text in a hot path
            site = os.path.dirname(info)  # noqa: PTH120 - text in a hot path
            with (root / path).open(newline="", encoding="utf-8") as stream:
                for row in csv.reader(stream):
                    if row:
                        found[os.path.normpath(f"{site}/{row[0]}")] = name
    return found


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _walk(root: Path) -> Iterator[tuple[str, int, list[os.DirEntry[str]]]]:
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        place = f"{root}/{folder}"
        with os.scandir(place) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        yield folder, os.lstat(place).st_mtime_ns, entries
        waiting += [
            _joined(folder, entry.name)
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and entry.name != BYTECODE
        ]


def _added(root: Path, folder: str, seal: Seal) -> Iterator[str]:
    for entry in os.scandir(root / folder):
        path = _joined(folder, entry.name)
        is_known = path in seal.files or path in seal.folders or path in seal.links
        if not is_known and entry.name != BYTECODE:
            is_package = folder.endswith("site-packages") and entry.is_dir()
            if is_package or entry.name.endswith(TELLING):
                yield path


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _stamp(path: str) -> Stamp | None:
    try:
        stat = os.lstat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _still_links(path: str, target: str) -> bool:
    try:
        return os.readlink(path) == target and os.access(path, os.F_OK)  # noqa: PTH115 - hot path, plain text
    except OSError:
        return False


def _hash_or_none(path: Path) -> str | None:
    try:
        return digest(path)
    except OSError:
        return None


def _hexadecimal(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()
