"""Which scripts an entry point names, and whether a source has them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

PYTHON_SUFFIXES = (".py", ".ipynb")  # what needs an environment
SUFFIXES = (*PYTHON_SUFFIXES, ".sh")
_PLAIN = ("100644", "100755")  # git's modes of files; others (links, submodules) may lead anywhere


def scripts_of(entry_point: Sequence[str]) -> list[str]:
    """Return the words of an entry point that are scripts of the source."""
    return [
        word
        for word in entry_point
        if word.endswith(SUFFIXES) and not word.startswith(("-", "/", "~"))
    ]


def missing_script(
    entry_point: Sequence[str], subdirectory: str, modes: Mapping[bytes, str]
) -> str | None:
    """Return the first script that a tree, given as path → mode, does not have.

    It is looked for in the program's directory, then in those above it, up to the root. A path
    through a link or a submodule cannot be judged here and counts as there.
    """
    for script in scripts_of(entry_point):
        if not any(_may_be_there(path, modes) for path in candidates(script, subdirectory)):
            return script
    return None


def candidates(script: str, subdirectory: str) -> Iterator[str]:
    """Yield where a script may lie, in the order in which it is looked for."""
    folder = subdirectory
    while True:
        path = posixpath.normpath(posixpath.join(folder, script))
        if not path.startswith("../"):
            yield path
        if not folder:
            return
        folder = posixpath.dirname(folder)


def _may_be_there(path: str, modes: Mapping[bytes, str]) -> bool:
    raw = path.encode("utf-8", "surrogateescape")
    if raw in modes:
        return True
    at = raw.rfind(b"/")
    while at > 0:
        mode = modes.get(raw[:at])
        if mode is not None:
            return mode not in _PLAIN
        at = raw.rfind(b"/", 0, at)
    return False
