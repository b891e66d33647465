"""Decides by .gitignore rules, as git reads them, which paths of a tree are left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Read = Callable[[bytes], bytes]  # an ignore file's bytes by its path in the tree, b"" if absent

GITIGNORE = b".gitignore"
SHIPWAYIGNORE = b".shipwayignore"
PATTERN_LIMIT = 10_000  # patterns read of one file


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One line of an ignore file."""

    regex: re.Pattern[bytes]  # of the path below the file's folder, or of the name alone
    is_name: bool
    is_folder: bool  # matches folders only
    is_negated: bool

    def matches(self, path: bytes, *, is_folder: bool) -> bool:
        """Tell whether a path relative to the ignore file's folder is meant."""
        if self.is_folder and not is_folder:
            return False
        subject = path.rpartition(b"/")[2] if self.is_name else path
        return self.regex.match(subject) is not None


class IgnoreRules:
    """The ignore files of one tree, each read when its folder is first asked about.

    Later lines win over earlier ones, deeper files over higher ones, later `names` over earlier
    ones; below a folder that is left out nothing comes back.
    """

    def __init__(self, read: Read, names: Sequence[bytes], defaults: bytes = b"") -> None:
        self._read = read
        self._names = tuple(names)
        self._patterns: dict[bytes, tuple[Pattern, ...]] = {}
        self._folders: dict[bytes, bool] = {b"": False}
        self._defaults = parse_patterns(defaults)

    def is_ignored(self, path: bytes, *, is_folder: bool = False) -> bool:
        """Tell whether a path is left out, by itself or with a folder above it."""
        if is_folder and path in self._folders:
            return self._folders[path]
        parent = path.rpartition(b"/")[0]
        found = self.is_ignored(parent, is_folder=True) or self._matches(path, is_folder)
        if is_folder:
            self._folders[path] = found
        return found

    def _matches(self, path: bytes, is_folder: bool) -> bool:  # noqa: FBT001  private, one caller
        folder = path.rpartition(b"/")[0]
        while True:
            below = path[len(folder) + 1 :] if folder else path
            for pattern in reversed(self._of(folder)):
                if pattern.matches(below, is_folder=is_folder):
                    return not pattern.is_negated
            if not folder:
                return False
            folder = folder.rpartition(b"/")[0]

    def _of(self, folder: bytes) -> tuple[Pattern, ...]:
        known = self._patterns.get(folder)
        if known is None:
            known = () if folder else self._defaults
            for name in self._names:
                known += parse_patterns(self._read(folder + b"/" + name if folder else name))
            self._patterns[folder] = known
        return known


def parse_patterns(data: bytes) -> tuple[Pattern, ...]:
    """Read an ignore file; lines that git would not understand match nothing."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")[:PATTERN_LIMIT]
    parsed = (_parse(line.removesuffix(b"\r")) for line in lines)
    return tuple(pattern for pattern in parsed if pattern is not None)


def pattern_for(path: bytes, *, is_folder: bool = False) -> str:
    """Return the line that leaves out exactly this path of the tree."""
    text = path.decode("utf-8", "backslashreplace")
    escaped = re.sub(r"([\\*?\[])", r"\\\1", text)
    if escaped.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return "/" + escaped + ("/" if is_folder else "")


def _parse(line: bytes) -> Pattern | None:
    if line.startswith(b"#"):
        return None
    stripped = line.rstrip(b" ")
    if stripped.endswith(b"\\") and len(stripped) < len(line):
        stripped += b" "  # an escaped space at the end counts
    is_negated = stripped.startswith(b"!")
    body = stripped[1:] if is_negated else stripped
    is_folder = body.endswith(b"/")
    body = body.rstrip(b"/") if is_folder else body
    if not body:
        return None
    is_name = b"/" not in body
    try:
        regex = re.compile(_translate(body.removeprefix(b"/")) + rb"\Z", re.DOTALL)
    except re.error:
        return None
    return Pattern(regex=regex, is_name=is_name, is_folder=is_folder, is_negated=is_negated)


def _translate(glob: bytes) -> bytes:
    out, at = b"", 0
    while at < len(glob):
        if glob.startswith(b"**/", at) and (at == 0 or glob[at - 1 : at] == b"/"):
            out += rb"(?:[^/]+/)*"
            at += 3
        elif glob[at:] == b"**" and at > 0 and glob[at - 1 : at] == b"/":
            out += rb".+"
            at += 2
        else:
            part, at = _translate_one(glob, at)
            out += part
    return out


def _translate_one(glob: bytes, at: int) -> tuple[bytes, int]:
    char = glob[at : at + 1]
    if char == b"*":
        while glob[at : at + 1] == b"*":
            at += 1
        return rb"[^/]*", at
    if char == b"?":
        return rb"[^/]", at + 1
    if char == b"[":
        return _translate_set(glob, at)
    if char == b"\\" and at + 1 < len(glob):
        return re.escape(glob[at + 1 : at + 2]), at + 2
    return re.escape(char), at + 1


def _translate_set(glob: bytes, start: int) -> tuple[bytes, int]:
    at = start + 1
    is_negated = glob[at : at + 1] in (b"!", b"^")
    at += is_negated
    end = glob.find(b"]", at + 1)
    if end < 0:
        return rb"(?!)", len(glob)  # git: an open set matches nothing
    body = glob[at:end]
    while body.count(b"[:") > body.count(b":]") and glob.find(b"]", end + 1) > 0:
        end = glob.find(b"]", end + 1)
        body = glob[at:end]
    escaped = re.sub(rb"\[:(\w+):\]", lambda found: _CLASSES.get(found.group(1), b""), body)
    escaped = escaped.replace(b"[", rb"\[").replace(b"&&", rb"&\&").replace(b"||", rb"|\|")
    if escaped.startswith((b"]", b"^")):
        escaped = b"\\" + escaped
    return (rb"(?!/)[^" if is_negated else rb"(?!/)[") + escaped + b"]", end + 1


_CLASSES = {
    b"alpha": b"a-zA-Z",
    b"digit": b"0-9",
    b"alnum": b"a-zA-Z0-9",
    b"lower": b"a-z",
    b"upper": b"A-Z",
    b"space": rb"\s",
    b"punct": rb"!-/:-@\[-`{-~",
    b"xdigit": b"0-9a-fA-F",
}
