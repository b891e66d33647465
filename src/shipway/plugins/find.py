"""Finds installed plugins by their entry points; nothing imports one by name."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from shipway.plugins.errors import PermanentError

GROUPS = (
    "shipway.sources",
    "shipway.builders",
    "shipway.runners",
    "shipway.registries",
    "shipway.search",
    "shipway.devices",
)


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, in order of name."""
    assert group in GROUPS
    found = {point.name: point for point in entry_points(group=group)}
    return dict(sorted(found.items()))


def find(group: str, name: str) -> Any:
    """Load the plugin class of that name; raise `PermanentError` that lists those installed."""
    points = installed(group)
    if name not in points:
        kind = group.removeprefix("shipway.").removesuffix("s")
        known = ", ".join(points) or "none"
        raise PermanentError(f"no {kind} named {name!r} is installed (installed: {known})")
    return points[name].load()
