"""Decides by `.dockerignore` rules, as docker reads them, which files of a tree are left out."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Self

from shipway.plugins.errors import PermanentError

LINES_LIMIT = 10_000
PATTERN_LIMIT = 1_000  # characters of one pattern
INSIDE_LIMIT = 2  # `**` inside a name, `a**b`: each may cost the square of a path's length
_ANY_FOLDERS = re.compile(r"(?<!\\)(?:\*\*+/?)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One line: what it matches, and whether that comes back or goes."""

    regex: re.Pattern[str]  # of the whole path
    is_exception: bool  # `!`


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerIgnore:
    """A file's patterns; the last one that matches a path, or a folder above it, decides."""

    patterns: tuple[Pattern, ...] = ()

    @classmethod
    def parse(cls, text: str, *, name: str = ".dockerignore") -> Self:
        """Read a file; raise `PermanentError` that names a line which docker would not take."""
        lines = text.removeprefix("\ufeff").split("\n")
        if len(lines) > LINES_LIMIT:
            raise PermanentError(f"{name} has more than {LINES_LIMIT} lines")
        patterns = []
        for number, line in enumerate(lines, 1):
            try:
                pattern = _parse(line)
            except (ValueError, re.error) as error:
                raise PermanentError(f"{name}, line {number}, {line[:80]!r}: {error}") from error
            if pattern is not None:
                patterns.append(pattern)
        return cls(patterns=tuple(patterns))

    def leaves_out(self, path: str) -> bool:
        """Tell whether a path, relative to the context and with slashes, stays out of it."""
        is_out = False
        for pattern in self.patterns:
            if pattern.is_exception == is_out and _matches(pattern.regex, path):
                is_out = not pattern.is_exception
        return is_out

    @property
    def may_bring_back(self) -> bool:
        """Whether below a folder that is left out something may still be in."""
        return any(pattern.is_exception for pattern in self.patterns)


def _matches(regex: re.Pattern[str], path: str) -> bool:
    """Tell whether a path or a folder above it matches."""
    if regex.fullmatch(path):
        return True
    at = path.find("/")
    while at > 0:
        if regex.fullmatch(path[:at]):
            return True
        at = path.find("/", at + 1)
    return False


def _parse(line: str) -> Pattern | None:
    if line.startswith("#"):
        return None
    text = line.strip()
    is_exception = text.startswith("!")
    text = text.removeprefix("!").strip()
    if not text:
        if is_exception:
            raise ValueError("'!' alone brings nothing back")
        return None
    if len(text) > PATTERN_LIMIT:
        raise ValueError(f"a pattern has at most {PATTERN_LIMIT} characters")
    cleaned = posixpath.normpath(text).lstrip("/") or "."
    return Pattern(
        regex=re.compile(_translate(cleaned), re.DOTALL),
        is_exception=is_exception,
    )


def _translate(glob: str) -> str:
    """Return a pattern as a regular expression that takes no more than a square of its input.

    A star takes as little as lets what follows match, up to the next star of its kind: had that
    been in vain, so would be more. That is what the atomic groups say; without them, a line of
    stars would keep an agent busy for hours.
    """
    first, *rest = _ANY_FOLDERS.split(glob)
    out, before, inside = _chunk(first, is_last=not rest), first, 0
    for place, part in enumerate(rest, 1):
        is_last = place == len(rest)
        if is_last and not part:
            return out + ".*"
        is_inside = before != "" and not before.endswith("/")
        inside += is_inside
        mark = "(?:" if is_last or is_inside else "(?>"
        out += f"{mark}(?:.*?/)??{_chunk(part, is_last=is_last)})"
        before = part
    if inside > INSIDE_LIMIT:
        raise ValueError(f"it has more than {INSIDE_LIMIT} times `**` inside a name")
    return out


def _chunk(glob: str, *, is_last: bool) -> str:
    """Return what stands between two `**`, whose stars do not pass a slash."""
    parts, at = [""], 0
    while at < len(glob):
        if glob[at] == "*":
            parts.append("")
            at += 1
        else:
            piece, at = _one(glob, at)
            parts[-1] += piece
    first, *rest = parts
    held = rest.pop() if rest and is_last else None
    out = first + "".join(f"(?>[^/]*?{part})" for part in rest)
    return out if held is None else f"{out}[^/]*?{held}"


def _one(glob: str, at: int) -> tuple[str, int]:
    char = glob[at]
    if char == "?":
        return "[^/]", at + 1
    if char == "[":
        end = glob.find("]", at + 2)
        if end < 0:
            raise ValueError("a '[' has no ']'")
        body = glob[at + 1 : end]
        sign = "^" if body.startswith("^") else ""
        chars = body.removeprefix("^").replace("[", r"\[").replace("^", r"\^")
        chars = chars.replace("&&", r"&\&").replace("||", r"|\|").replace("~~", r"~\~")
        return f"(?!/)[{sign}{chars}]", end + 1
    if char == "\\":
        if at + 1 == len(glob):
            raise ValueError("a '\\' stands before nothing")
        return re.escape(glob[at + 1]), at + 2
    return re.escape(char), at + 1
