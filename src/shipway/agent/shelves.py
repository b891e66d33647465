"""Finds the caches of an agent's home, each with the plugin that keeps it."""

from __future__ import annotations

from shipway.agent.cleaning import Kind, Shelf
from shipway.agent.home import Home
from shipway.plugins.find import find, installed
from shipway.plugins.kept import Keeper

BUILDER = "uv"


def shelves_of(home: Home) -> list[Shelf]:
    """Return the caches of all installed plugins that say what they keep."""
    places = [(Kind.SOURCES, "shipway.sources", n) for n in installed("shipway.sources")]
    places.append((Kind.ENVIRONMENTS, "shipway.builders", BUILDER))
    found = []
    for kind, group, name in places:
        keeper = find(group, name)()
        cache = home.sources / name if kind is Kind.SOURCES else home.environments
        if isinstance(keeper, Keeper):
            found.append(Shelf(kind=kind, cache=cache, keeper=keeper))
    return found
