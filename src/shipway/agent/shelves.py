"""Finds the caches of an agent's home, each with the plugin that keeps it."""

from __future__ import annotations

from shipway.agent.cleaning import Kind, Shelf
from shipway.agent.home import Home
from shipway.plugins.find import find, installed
from shipway.plugins.kept import Keeper

BUILDER = "uv"
IMAGE_BUILDER = "container"


def shelves_of(home: Home) -> list[Shelf]:
    """Return the caches of all installed plugins that say what they keep."""
    places = [
        (Kind.SOURCES, "shipway.sources", name, home.sources / name)
        for name in installed("shipway.sources")
    ]
    places.append((Kind.ENVIRONMENTS, "shipway.builders", BUILDER, home.environments))
    places.append((Kind.ENVIRONMENTS, "shipway.builders", IMAGE_BUILDER, home.path / "images"))
    found = []
    for kind, group, name, cache in places:
        keeper = find(group, name)()
        if isinstance(keeper, Keeper):
            found.append(Shelf(kind=kind, cache=cache, keeper=keeper))
    return found
