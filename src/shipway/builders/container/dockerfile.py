"""Finds the Dockerfile that a source brings, and reads which images it begins with."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shipway.domain.entry_point import scripts_of
from shipway.domain.errors import Invalid
from shipway.domain.image_ref import ImageRef
from shipway.plugins.errors import PermanentError
from shipway.plugins.image_builder import ImageRequest

BESIDE = ("Dockerfile.shipway", "Dockerfile.wandb")  # looked for beside the entry point
SIZE_LIMIT = 1 << 20  # bytes of a Dockerfile
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(\S.*?)\s*")
_FROM = re.compile(r"(?is)FROM\s+((?:--\S+\s+)*)(\S+)(?:\s+AS\s+(\S+))?\s*")
_COPIED = re.compile(r"(?i)--from=(\S+)")
_MOUNTED = re.compile(r"(?i)--mount=\S*?\bfrom=([^\s,]+)")
_HEREDOC = re.compile(r"<<-?\s*([\"']?)([A-Za-z_]\w*)\1")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:[-+])([^}]*))?\})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A Dockerfile of the source's own; it runs as it is."""

    text: str
    name: str  # as an error shows it: relative to the tree
    file: Path
    context: Path  # the folder whose files it can copy


def brought(request: ImageRequest) -> Brought | None:
    """Return the Dockerfile that was asked for, or that lies beside the entry point."""
    tree = request.tree
    if request.dockerfile is not None:
        file = tree / _relative(request.dockerfile)
        if not file.is_file():
            raise PermanentError(f"the source has no Dockerfile at {request.dockerfile[:200]!r}")
        return _read(file, tree, context=tree)
    scripts = scripts_of(request.entry_point)
    folders = [(request.start / script).parent for script in scripts[:1]]
    for folder in dict.fromkeys([*folders, request.start]):
        clean = Path(os.path.normpath(folder))
        if clean != tree and tree not in clean.parents:
            continue
        for name in BESIDE:
            if (clean / name).is_file():
                return _read(clean / name, tree, context=clean)
    return None


def images_of(text: str, *, name: str, known: Mapping[str, str]) -> list[ImageRef]:
    """Return every image that a Dockerfile names, each once; `known` are build arguments.

    Raises `PermanentError` with the line of a name that is none: its image could not be pinned.
    """
    found: list[ImageRef] = []
    stages: set[str] = set()
    values = dict(known)
    is_before_stages = True
    for number, line in _instructions(text):
        word = line.split(None, 1)[0].upper()
        is_before_stages = is_before_stages and word != "FROM"
        if word == "ARG" and is_before_stages:
            values = _with_defaults(line, values, known)
        try:
            found += [
                ImageRef.parse(image, field="image")
                for image in _named(word, line, values)
                if image.lower() not in stages and image != "scratch" and not image.isdecimal()
            ]
        except (Invalid, ValueError) as error:
            raise PermanentError(f"{name}, line {number}: {error}") from None
        if word == "FROM":
            stages |= {stage.lower() for stage in _FROM.findall(line)[0][2:] if stage}
    return list(dict.fromkeys(found))


def _named(word: str, line: str, values: Mapping[str, str]) -> list[str]:
    """Return the names in an instruction that may be images'."""
    if word == "#SYNTAX":
        return [line.split(None, 1)[1]]
    if word == "FROM":
        read = _FROM.fullmatch(line)
        if read is None:
            raise ValueError(f"{line[:120]!r} names no image")
        return [_expand(read[2], values)]
    if word in {"COPY", "ADD"}:
        return [_expand(name, values) for name in _COPIED.findall(line)]
    return _MOUNTED.findall(line) if word == "RUN" else []


def _relative(path: str) -> str:
    """Return a path in the tree without `..`; raise `PermanentError` for any other."""
    clean = posixpath.normpath(path)
    if not path or "\0" in path or path.startswith("/") or ".." in path.split("/"):
        raise PermanentError(
            f"dockerfile {path[:200]!r} must be a path inside the source, without '..'"
        )
    return clean


def _read(file: Path, tree: Path, *, context: Path) -> Brought:
    name = file.relative_to(tree).as_posix()
    real = file.resolve()
    if tree.resolve() not in real.parents:
        raise PermanentError(f"the Dockerfile {name!r} is a link out of the source")
    with real.open("rb") as opened:
        data = opened.read(SIZE_LIMIT + 1)
    if len(data) > SIZE_LIMIT:
        raise PermanentError(f"the Dockerfile {name!r} is larger than {SIZE_LIMIT >> 20} MiB")
    try:
        return Brought(text=data.decode(), name=name, file=file, context=context)
    except UnicodeDecodeError:
        raise PermanentError(f"the Dockerfile {name!r} is not text") from None


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    """Yield each instruction as one line, with its number; a syntax directive as `#SYNTAX`."""
    lines = text.removeprefix("\ufeff").splitlines()
    escape, at = "\\", 0
    while at < len(lines) and (found := _DIRECTIVE.fullmatch(lines[at].strip())):
        at += 1
        if found[1].lower() == "escape":
            escape = found[2]
        elif found[1].lower() == "syntax":
            yield at, f"#SYNTAX {found[2]}"
    while at < len(lines):
        number = at + 1
        whole, at = _joined(lines, at, escape)
        if whole:
            if whole.split(None, 1)[0].upper() in {"RUN", "COPY", "ADD"}:
                at = _past_heredocs(whole, lines, at)
            yield number, whole


def _joined(lines: list[str], at: int, escape: str) -> tuple[str, int]:
    """Return an instruction's lines as one, and where the next begins; comments are left out."""
    whole = ""
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if line.startswith("#") or not line:
            if whole:
                continue
            break
        whole += line.removesuffix(escape) + " "
        if not line.endswith(escape):
            break
    return whole.strip(), at


def _past_heredocs(line: str, lines: list[str], at: int) -> int:
    for _, mark in _HEREDOC.findall(line):
        for end in range(at, len(lines)):
            if lines[end].strip("\t") == mark:
                at = end + 1
                break
    return at


def _with_defaults(
    line: str, values: Mapping[str, str], known: Mapping[str, str]
) -> dict[str, str]:
    read = dict(values)
    for word in line.split()[1:]:
        arg, equals, default = word.partition("=")
        if equals and arg not in known:
            read[arg] = _expand(default.strip("\"'"), read)
    return read


def _expand(text: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        held = values.get(found[1] or found[2], "")
        if found[3] == ":-":
            return held or found[4]
        if found[3] == ":+":
            return found[4] if held else ""
        return held

    return _VARIABLE.sub(value, text)
