"""Tells what a `uri` is: a directory, a run of this server, or a git repository."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shipway.domain.errors import Invalid
from shipway.domain.git_address import (
    PROTOCOLS,
    GitAddress,
    check_subdirectory,
    is_remote,
    parse_git_address,
)

URI_LIMIT = 4096
_RUN = re.compile(r"/?([^/]+)/([^/]+)/runs/([^/]+)/?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryAddress:
    """A directory on this machine."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAddress:
    """A run of the configured server, to be launched again."""

    entity: str
    project: str
    run_id: str


def classify(
    uri: str, base_url: str | None = None, *, protocols: Collection[str] = PROTOCOLS
) -> DirectoryAddress | RunAddress | GitAddress:
    """Return what a uri means; a directory that exists comes first. `Invalid` for nonsense."""
    if not uri.strip() or len(uri) > URI_LIMIT:
        raise _invalid(uri, f"it must be text of 1 to {URI_LIMIT} characters")
    if uri.startswith("-"):
        raise _invalid(uri, "it begins with '-'")
    if uri.lower().startswith("file://"):
        return DirectoryAddress(path=_from_file_url(uri))
    path = Path(uri).expanduser() if uri.startswith("~") else Path(uri)
    if _is_folder(path):
        return DirectoryAddress(path=path)
    return _run_of(uri, base_url) or _of_text(uri, path, protocols)


def _of_text(uri: str, path: Path, protocols: Collection[str]) -> DirectoryAddress | GitAddress:
    if is_remote(uri) and not uri.startswith((".", "/", "~")):
        return parse_git_address(uri, protocols=protocols)
    plain, mark, fragment = uri.partition("#subdirectory=")
    if mark and _is_folder(Path(plain)):
        return DirectoryAddress(path=_below(Path(plain), fragment))
    return DirectoryAddress(path=_missing(path, uri))


def _run_of(uri: str, base_url: str | None) -> RunAddress | None:
    text = uri.partition("#")[0].partition("?")[0]
    if base_url is not None and text.startswith(base_url.rstrip("/") + "/"):
        found = _RUN.match(text[len(base_url.rstrip("/")) :])
        if found is None:
            raise _invalid(uri, f"under {base_url} only ENTITY/PROJECT/runs/ID can be launched")
    else:
        found = None if "://" in text or text.startswith((".", "~")) else _RUN.match(text)
    if found is None:
        return None
    entity, project, run_id = (unquote(part) for part in found.groups())
    return RunAddress(entity=entity, project=project, run_id=run_id)


def _from_file_url(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise _invalid(uri, f"a file address is of this machine, not of {parts.netloc!r}")
    path = Path(unquote(parts.path, errors="surrogateescape"))
    if not _is_folder(path):
        _missing(path, uri)
    if not parts.fragment:
        return path
    name, _, value = parts.fragment.partition("=")
    if name != "subdirectory":
        raise _invalid(uri, "only '#subdirectory=DIR' may follow")
    return _below(path, value)


def _below(path: Path, subdirectory: str) -> Path:
    folder = path / check_subdirectory(subdirectory)
    if not _is_folder(folder):
        raise _invalid(f"{path}#subdirectory={subdirectory}", "it has no such directory")
    return folder


def _missing(path: Path, uri: str) -> Path:
    if os.path.lexists(path):
        hint = f"give its directory, and entry_point=[{path.name!r}]"
        raise _invalid(uri, f"it is not a directory: {hint}")
    raise _invalid(
        uri,
        "there is no such directory, and it is neither a git address (https://HOST/PATH, "
        "ssh://HOST/PATH, USER@HOST:PATH) nor a run's",
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name too long, or with a null byte
        return False


def _invalid(uri: object, why: str) -> Invalid:
    return Invalid(f"uri {str(uri)[:200]!r} cannot be launched: {why}", field="uri", value=uri)
