"""Refuses what a capsule must not carry, each time with the line that mends it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from shipway.domain.capsule import LIMITS, Limits, leads_out, show
from shipway.domain.errors import Invalid
from shipway.sdk.ignore import pattern_for
from shipway.sdk.secret_files import HEAD_BYTES, looks_secret, may_be_secret
from shipway.sdk.work_tree import Found, parents

SHOWN = 10  # paths that an error names
_HEAVY = 0.8  # share of the whole that makes a folder the one to leave out


def check_limits(root: str, sizes: Mapping[bytes, int], limits: Limits = LIMITS) -> None:
    """Raise `Invalid` for too many files, too large a file or too much in all."""
    total = sum(sizes.values())
    large = [path for path, size in sizes.items() if size > limits.file_size]
    why = []
    if len(sizes) > limits.files:
        why.append(f"{len(sizes)} files, over the limit of {limits.files}")
    if total > limits.size:
        why.append(f"{_amount(total)} in all, over the limit of {_amount(limits.size)}")
    if large:
        why.append(f"{len(large)} over the limit of {_amount(limits.file_size)} a file")
    if not why:
        return
    largest = sorted(sizes, key=lambda path: (-sizes[path], path))[:SHOWN]
    if len(sizes) > limits.files:
        line = _heaviest(dict.fromkeys(sizes, 1), largest[0])
    else:
        line = _heaviest(sizes, largest[0])
    named = "; ".join(f"{show(path)} ({_amount(sizes[path])})" for path in largest)
    error = Invalid(
        f"{root} is too large to be sent: {'; '.join(why)}. The largest: {named}. Leave out what "
        f"the program does not need: add a line such as {line} to {root}/.shipwayignore",
        field="uri",
        value=root,
    )
    error.details |= {
        "largest": [{"path": show(path), "size": sizes[path]} for path in largest],
        "size": total,
        "files": len(sizes),
        "add": line,
        "to": f"{root}/.shipwayignore",
    }
    raise error


def check_links(root: str, links: Mapping[bytes, bytes]) -> None:
    """Raise `Invalid` for links that would lead somewhere else on another machine."""
    out = sorted(path for path in links if leads_out(path, links))
    if not out:
        return
    named = ", ".join(f"{show(path)} -> {show(links[path])}" for path in out[:SHOWN])
    lines = [pattern_for(path) for path in out]
    error = Invalid(
        f"{root} has links that lead out of it and cannot be sent: {named}. Put the files "
        f"themselves there, or add to {root}/.shipwayignore: {' '.join(lines[:SHOWN])}",
        field="uri",
        value=root,
    )
    error.details |= {"links": [show(path) for path in out], "add": lines}
    raise error


def check_secrets(root: str, found: Sequence[Found], start: str) -> None:
    """Raise `Invalid` for untracked files that look like secrets and were not asked for."""
    secrets = [
        row.path
        for row in found
        if not row.is_tracked and not row.is_included and _is_secret(root, row)
    ]
    if not secrets:
        return
    lines = [pattern_for(path) for path in secrets]
    names = [os.path.relpath(show(path), start or ".") for path in secrets]
    error = Invalid(
        f"{', '.join(show(path) for path in secrets[:SHOWN])} in {root} "
        f"{'looks like a secret' if len(secrets) == 1 else 'look like secrets'}: nothing was sent. "
        f"Leave out: add to {root}/.shipwayignore: {' '.join(lines[:SHOWN])}. Or send on purpose: "
        f"include={json.dumps(names[:SHOWN])} (--include {names[0]})",
        field="uri",
        value=root,
    )
    error.details |= {
        "secrets": [show(path) for path in secrets],
        "add": lines,
        "include": names,
    }
    raise error


def _is_secret(root: str, row: Found) -> bool:
    if not may_be_secret(row.path):
        return False
    head = b""
    if not row.is_link:
        full = os.path.join(os.fsencode(root), row.path)
        try:
            with os.fdopen(os.open(full, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
                head = file.read(HEAD_BYTES)
        except OSError:
            head = b""  # gone or not readable: packing it will tell
    return looks_secret(row.path, head)


def _heaviest(weights: Mapping[bytes, int], largest: bytes) -> str:
    """Return the line for the deepest folder that has most of the weight, or for the largest."""
    below: dict[bytes, int] = {}
    for path, weight in weights.items():
        for folder in parents(path):
            below[folder] = below.get(folder, 0) + weight
    enough = sum(weights.values()) * _HEAVY
    heavy = [folder for folder, weight in below.items() if weight >= enough]
    if heavy:
        return pattern_for(max(heavy, key=lambda folder: folder.count(b"/")), is_folder=True)
    top = max(below, key=lambda folder: below[folder], default=b"")
    if below.get(top, 0) > weights[largest]:
        return pattern_for(top, is_folder=True)
    return pattern_for(largest)


def _amount(size: int) -> str:
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}".replace(".0 ", " ")
    return f"{size} bytes"
