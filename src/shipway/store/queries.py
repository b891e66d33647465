"""Reads the named statements out of the .sql files, in the words of each database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_HEAD = re.compile(r"^-- (name|fragment): (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
_FRAGMENT = re.compile(r"\{(\w+)\}")


def sqlite_queries() -> dict[str, str]:
    """Return the statements by name, with parameters as `:x`."""
    return parse(_text("queries.sql"))


def postgres_queries() -> dict[str, str]:
    """Return the statements by name, for psycopg: parameters as `%(x)s`."""
    shared, override = _text("queries.sql"), _text("postgres.sql")
    fragments = _fragments(shared) | _fragments(override)
    own = parse(override, fragments=fragments)
    all_of_them = parse(shared, fragments=fragments)
    unknown = own.keys() - all_of_them.keys()
    assert not unknown, f"postgres.sql overrides statements that are not there: {unknown}"
    return {name: to_psycopg(text) for name, text in (all_of_them | own).items()}


def parse(text: str, *, fragments: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a file's statements by name, with fragments put in; each must say why it is there.

    Fragments that are given go before the file's own.
    """
    known = {**_fragments(text), **(fragments or {})}
    statements: dict[str, str] = {}
    for kind, name, body in _blocks(text):
        if kind == "fragment":
            continue
        assert name not in statements, f"two statements are named {name}"
        assert _COMMENT.match(body), f"statement {name} has no comment that says why"
        bare = _COMMENT.sub("", body).strip()
        statements[name] = _FRAGMENT.sub(lambda found: known[found[1]], bare)
    return statements


def to_psycopg(text: str) -> str:
    """Turn `:x` into `%(x)s`."""
    return _PARAMETER.sub(r"%(\1)s", text.replace("%", "%%"))


def to_numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """Turn `:x` into `?1`, and name the parameters in that order: sqlite3 binds these faster."""
    names: dict[str, int] = {}
    numbered = _PARAMETER.sub(lambda found: f"?{names.setdefault(found[1], len(names) + 1)}", text)
    return numbered, tuple(names)


def _fragments(text: str) -> dict[str, str]:
    return {
        name: _COMMENT.sub("", body).strip()
        for kind, name, body in _blocks(text)
        if kind == "fragment"
    }


def _blocks(text: str) -> list[tuple[str, str, str]]:
    parts = _HEAD.split(text)
    return list(zip(parts[1::3], parts[2::3], parts[3::3], strict=True))


def _text(name: str) -> str:
    return files("shipway.store").joinpath(name).read_text(encoding="utf-8")
