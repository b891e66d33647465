"""Compares Python versions with what is asked of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, ...]

_CLAUSE = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*v?(\d+(?:\.\d+)*)(\.\*)?\S*")
_PLAIN = re.compile(
    r"(?:(?P<name>cpython|pypy|python)[@-]?)?(?P<version>\d+(?:\.\d+){0,2})?"
    r"(?P<free>t|\+freethreaded)?(?:-.+)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A Python that somebody asks for, and who does."""

    text: str
    origin: str
    specifiers: str = ""
    implementation: str | None = None  # None: any, CPython first
    is_free_threaded: bool = False


def parse(text: str, origin: str) -> Wanted | None:
    """Read "3.11", "pypy@3.9", "cpython3.12", "3.13t" or ">=3.10,<3.13"; None: not understood."""
    plain = text.strip().lower()
    if not plain:
        return None
    if plain[0] in "<>=!~":
        clauses = [part.strip() for part in plain.split(",") if part.strip()]
        if not all(_CLAUSE.fullmatch(clause) for clause in clauses):
            return None
        return Wanted(text=text.strip(), origin=origin, specifiers=plain)
    found = _PLAIN.fullmatch(plain)
    if found is None or not (found["name"] or found["version"]):
        return None
    name, version = found["name"], found["version"]
    exact = version is not None and version.count(".") == 2
    return Wanted(
        text=text.strip(),
        origin=origin,
        specifiers="" if version is None else f"=={version}" + ("" if exact else ".*"),
        implementation={"python": None}.get(name, name) if name else "cpython",
        is_free_threaded=found["free"] is not None,
    )


def allows(specifiers: str, version: Version) -> bool:
    """Tell whether a release fits all clauses; a clause that is not understood allows it."""
    found = (_CLAUSE.fullmatch(clause.strip()) for clause in specifiers.split(","))
    return all(_fits(clause, version) for clause in found if clause is not None)


def _fits(clause: re.Match[str], version: Version) -> bool:
    operator, bound = clause[1], tuple(int(part) for part in clause[2].split("."))
    if operator == "~=":
        return version >= bound and version[: len(bound) - 1] == bound[:-1]
    if clause[3]:
        matches = version[: len(bound)] == bound
        return matches if operator in {"==", "==="} else not matches
    length = max(len(bound), len(version))
    ours = version + (0,) * (length - len(version))
    theirs = bound + (0,) * (length - len(bound))
    return {
        "==": ours == theirs,
        "===": ours == theirs,
        "!=": ours != theirs,
        "<=": ours <= theirs,
        ">=": ours >= theirs,
        "<": ours < theirs,
        ">": ours > theirs,
    }[operator]
